"""The HTTP server, and how it stops: first a word to others, then one stream after another is cut off."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import uvicorn

HAND_ON_MAX_S: Final = 10.0
"""How long streams go on while others are told; on a busy machine that takes seconds."""
LOOK_S: Final = 0.1
CUT_OFF_S: Final = 1.0
"""What is not over so long after the last connection was closed is cancelled: a client that reads nothing."""


def bind(host: str, port: int, setting: str, *, shared: bool = False) -> socket.socket:
    """A socket that is ours and does not listen yet. `shared`: beside those of other workers. Raises OSError, naming
    the setting: somebody has the port, or there is no such address here."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        why = "another program does" if error.errno == errno.EADDRINUSE else str(error.strerror)
        raise OSError(
            f"cannot listen at {host}:{port}: {why.lower()}; ARCHIPELAG_HTTP_HOST and {setting} name another"
        ) from None
    return listener


class LeavingServer(uvicorn.Server):
    """uvicorn's own, which takes no new connection from SIGTERM on and then runs `on_leaving`.

    Open streams go on meanwhile, and for `streams_end_s` seconds after that, or after `HAND_ON_MAX_S`. In the second
    half of that their connections are closed one after another, so that their readers do not all come back elsewhere in
    the same moment, nor before others know what they ask for.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        on_leaving: Callable[[], Awaitable[None]],
        streams_end_s: float,
    ) -> None:
        config.timeout_graceful_shutdown = round(streams_end_s + CUT_OFF_S)
        super().__init__(config)
        self._on_leaving = on_leaving
        self._streams_end_s = streams_end_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(self._leave())
            await self._over(leaving)
            cutting = group.create_task(self._cut_off())
            await super().shutdown(sockets)
            cutting.cancel()

    async def _leave(self) -> None:
        await self._on_leaving()

    async def _over(self, leaving: asyncio.Task[None]) -> None:
        """The word is said, or takes too long, or whoever stops us does not want to wait."""
        loop = asyncio.get_running_loop()
        until = loop.time() + HAND_ON_MAX_S
        while not leaving.done() and not self.force_exit and loop.time() < until:
            await asyncio.wait([leaving], timeout=LOOK_S)

    async def _cut_off(self) -> None:
        half_s, loop = self._streams_end_s / 2, asyncio.get_running_loop()
        await asyncio.sleep(half_s)
        left = list(self.server_state.connections)
        began = loop.time()
        for number, connection in enumerate(left, start=1):
            # By the clock: on a busy machine each sleep takes longer, and who is late is cancelled with an error.
            early_s = began + half_s * number / len(left) - loop.time()
            if early_s > 0:
                await asyncio.sleep(early_s)
            # What was written to it is still sent; the answer has no end, so that nobody takes it for whole.
            connection.transport.close()
