"""The way to the network, each step apart: the Coordinator and its clock; the broker's name, port, TLS and welcome."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from archipelag_contracts.findings import Finding, looked_at
from archipelag_contracts.signing import SigningKey

from archipelag_island.adapters.enrolment import GrpcEnrolment
from archipelag_island.adapters.link import NONCE
from archipelag_island.clock import Clock
from archipelag_island.config import Settings
from archipelag_island.errors import IslandError

CONNECT_S: Final = 5.0
BROKER_PORT: Final = 4222
LINE_BYTES_MAX: Final = 64 << 10
SKEW_MAX_S: Final = 5.0
"""More than this is worth mending."""
SKEW_BAD_S: Final = 300.0
"""More than this makes credentials and catalogues look expired, or not valid yet."""
CLOCK_ADVICE: Final = "set this machine's clock by the network: `timedatectl set-ntp true`"
OUTWARD_ADVICE: Final = (
    "check that outgoing connections to it are allowed; nothing incoming is needed"
)


async def coordinator(settings: Settings, key: SigningKey, clock: Clock) -> list[Finding]:
    where = settings.coordinator
    if not where:
        advice = (
            "set ARCHIPELAG_COORDINATOR=host:port, or `archipelag-island join host:port CODE`; without it broker "
            "credentials cannot be renewed"
        )
        return [looked_at("Coordinator", False, "not named", advice)]
    before = clock.now()
    try:
        there = await GrpcEnrolment(where, key).reachable(CONNECT_S)
    except IslandError as error:
        return [looked_at("Coordinator", False, where, str(error))]
    found = [looked_at("Coordinator", True, f"{where} answers")]
    if there is None:
        return [*found, looked_at("clock", True, "this Coordinator does not tell its own")]
    after = clock.now()
    # Of the moment when it answered we know that it lay between these two.
    ahead_s = (before - there).total_seconds()
    behind_s = (there - after).total_seconds()
    return [*found, skew(max(ahead_s, 0.0) - max(behind_s, 0.0))]


def skew(ahead_s: float) -> Finding:
    """By how much this machine's clock is ahead of the Coordinator's."""
    if abs(ahead_s) <= SKEW_MAX_S:
        return looked_at("clock", True, "agrees with the Coordinator's")
    which = "ahead of" if ahead_s > 0 else "behind"
    found = f"{abs(ahead_s):.0f} s {which} the Coordinator's"
    return looked_at("clock", abs(ahead_s) < SKEW_BAD_S, found, CLOCK_ADVICE)


async def broker(url: str, token: str, key: SigningKey | None) -> list[Finding]:
    """Stops at the first step that fails: the later ones cannot be told. `key` None: nobody logs in."""
    parts = urlsplit(url if "//" in url else f"nats://{url}")
    host, port = parts.hostname or "", parts.port or BROKER_PORT
    found = [await _name(host, port)]
    if not found[-1].well:
        return found
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES_MAX)
    except (OSError, TimeoutError) as error:
        why = _why(error)
        return [*found, looked_at("broker port", False, f"{host}:{port}: {why}", OUTWARD_ADVICE)]
    found.append(looked_at("broker port", True, f"{host}:{port} can be reached"))
    try:
        async with asyncio.timeout(CONNECT_S):
            return [*found, *await _talk(reader, writer, parts, token, key)]
    except (OSError, TimeoutError, ValueError) as error:
        advice = (
            "something else listens there, or something in between breaks the line; check the address with the "
            "network's operator"
        )
        return [*found, looked_at("broker", False, f"{host}:{port}: {_why(error)}", advice)]
    finally:
        writer.close()


async def _name(host: str, port: int) -> Finding:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S):
            told = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        advice = "check this machine's DNS (`resolvectl query`), and the name with the network's operator"
        return looked_at("broker name", False, f"{host}: {_why(error)}", advice)
    addresses = sorted({str(one[4][0]) for one in told})
    return looked_at("broker name", True, f"{host} is {', '.join(addresses)}")


async def _talk(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    parts: SplitResult,
    token: str,
    key: SigningKey | None,
) -> list[Finding]:
    """A NATS server speaks first, in plain text; TLS begins after its first line."""
    line = await reader.readline()
    if not line.startswith(b"INFO "):
        raise ValueError("it does not speak as a NATS server does")
    info: dict[str, Any] = json.loads(line[5:])
    found = [looked_at("broker", True, f"NATS {str(info.get('version'))[:40]}")]
    if info.get("tls_required") or parts.scheme in ("tls", "wss"):
        try:
            await writer.start_tls(ssl.create_default_context(), server_hostname=parts.hostname)
        except OSError as error:
            advice = (
                "its certificate must be for this name and by an authority that this machine trusts; check the "
                "clock, too"
            )
            return [*found, looked_at("broker TLS", False, _why(error), advice)]
        found.append(looked_at("broker TLS", True, "its certificate holds"))
    if key is None:
        words = "not tried: the running agent has its own line, see the agent below"
        return [*found, looked_at("broker welcome", True, words)]
    return [*found, await _welcome(reader, writer, info, token, key)]


async def _welcome(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    info: dict[str, Any],
    token: str,
    key: SigningKey,
) -> Finding:
    """Logs in as this Island, and is gone again."""
    asked: dict[str, Any] = {"verbose": False, "pedantic": False, "protocol": 1, "lang": "python"}
    nonce = str(info.get("nonce", ""))
    if nonce:
        # As in the link: a broker that wants something else signed gets nothing.
        if not NONCE.fullmatch(nonce):
            raise ValueError("what it wants signed is not a nonce")
        signature = base64.b64encode(key.sign(b"", nonce.encode())).decode()
        asked |= {"jwt": token, "sig": signature}
    writer.write(b"CONNECT " + json.dumps(asked).encode() + b"\r\nPING\r\n")
    await writer.drain()
    while line := await reader.readline():
        if line.startswith(b"PONG"):
            return looked_at("broker welcome", True, "lets this Island in")
        if line.startswith(b"-ERR"):
            said = line[4:].decode(errors="replace").strip(" '\r\n")[:200]
            advice = (
                "its credentials have ended or the Island was suspended: start the agent, which renews them and says "
                "why not; after that, ask the operator"
            )
            return looked_at("broker welcome", False, f"refuses this Island: {said}", advice)
    raise ValueError("it closed the line")


def _why(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_S:.0f} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
