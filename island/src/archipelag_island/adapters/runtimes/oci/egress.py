"""The only way out of a sandbox: a proxy on a Unix socket that knows the names a Cargo was granted, and nothing else.

It speaks CONNECT for port 443. It looks names up itself and connects to the very address that it judged, so that a name
whose answer changes leads nowhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

PORT: Final = 443
HEAD_BYTES_MAX: Final = 8 << 10
HEAD_S: Final = 10.0
CONNECT_S: Final = 10.0
IDLE_S: Final = 60.0
CONNECTIONS_MAX: Final = 16
CONNECTION_BYTES_MAX: Final = 256 << 20
PIECE_BYTES: Final = 64 << 10
# Addresses that carry another one in them, past any check of their own.
_CARRIERS: Final = tuple(
    ipaddress.ip_network(n) for n in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)

Resolve = Callable[[str], Awaitable[list[str]]]
Dial = Callable[[str], Awaitable[tuple[StreamReader, StreamWriter]]]


class Refused(Exception):
    """With the status line's number and reason."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def public(address: str) -> bool:
    """Whether anybody on the internet could be meant, and nobody near."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return public(str(ip.ipv4_mapped))
        if any(ip in carrier for carrier in _CARRIERS):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


async def look_up(name: str) -> list[str]:
    """Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, PORT, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def connect(address: str) -> tuple[StreamReader, StreamWriter]:
    return await asyncio.open_connection(address, PORT, limit=PIECE_BYTES)


class Egress:
    """One Cargo's way out. `close` it when the Cargo is gone."""

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        resolve: Resolve = look_up,
        dial: Dial = connect,
        connection_bytes_max: int = CONNECTION_BYTES_MAX,
    ) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._resolve = resolve
        self._dial = dial
        self._connection_bytes_max = connection_bytes_max
        self._server: asyncio.Server | None = None
        self._folder = -1
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self, path: Path) -> None:
        """Raises OSError."""
        # A socket's path is at most 107 bytes long; by a handle of its folder any will do.
        self._folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        short = f"/proc/self/fd/{self._folder}/{path.name}"
        self._server = await asyncio.start_unix_server(self._accept, short, limit=HEAD_BYTES_MAX)
        # Whoever sees the socket may use it: only the Cargo does.
        await asyncio.to_thread(path.chmod, 0o666)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if len(self._running) >= CONNECTIONS_MAX:
            writer.close()
            return
        task = asyncio.create_task(self._serve_one(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve_one(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            try:
                far_reader, far_writer = await self._open(reader)
            except Refused as refused:
                log.info("egress_refused why=%s", refused)
                writer.write(f"HTTP/1.1 {refused.status} {refused}\r\n\r\n".encode())
                await writer.drain()
                return
            try:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await self._relay((reader, far_writer), (far_reader, writer))
            finally:
                far_writer.close()
        except (OSError, TimeoutError):
            return
        finally:
            writer.close()

    async def _open(self, reader: StreamReader) -> tuple[StreamReader, StreamWriter]:
        """Raises Refused."""
        name = _name_in(await _head(reader))
        if name not in self._hosts:
            raise Refused(403, f"{name[:100]} is not among the hosts that this Cargo was granted")
        try:
            async with asyncio.timeout(CONNECT_S):
                addresses = [a for a in await self._resolve(name) if public(a)]
                if not addresses:
                    raise Refused(403, f"{name} has no public address")
                # This address, not the name: a second look-up might say something else.
                return await self._dial(addresses[0])
        except TimeoutError:
            raise Refused(504, f"{name} did not answer") from None
        except OSError:
            raise Refused(502, f"{name} could not be reached") from None

    async def _relay(self, *ways: tuple[StreamReader, StreamWriter]) -> None:
        """Both ways, until one side ends, nothing comes for a while or the bytes are used up."""
        left = self._connection_bytes_max

        async def one_way(source: StreamReader, sink: StreamWriter) -> None:
            nonlocal left
            while True:
                async with asyncio.timeout(IDLE_S):
                    piece = await source.read(PIECE_BYTES)
                left -= len(piece)
                if not piece or left < 0:
                    return
                sink.write(piece)
                await sink.drain()

        tasks = [asyncio.create_task(one_way(*way)) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _head(reader: StreamReader) -> bytes:
    """Raises Refused."""
    with suppress(TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(HEAD_S):
            return await reader.readuntil(b"\r\n\r\n")
    raise Refused(400, "no request came")


def _name_in(head: bytes) -> str:
    """Raises Refused."""
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or words[0] != b"CONNECT":
        raise Refused(405, "only CONNECT is spoken here")
    name, colon, port = words[1].decode("ascii", errors="replace").rpartition(":")
    if not colon or port != str(PORT):
        raise Refused(403, f"only port {PORT} may be reached")
    if not all(c.isascii() and (c.isalnum() or c in "-.") for c in name):
        raise Refused(400, "that is no name of a host")
    return name.lower().removesuffix(".")
