"""The HTTP server, which says when it begins to stop: while its last streams go on there is something to do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import uvicorn


class LeavingServer(uvicorn.Server):
    """uvicorn's own; `on_leaving` runs once no new connection is taken any more, beside what is still answered."""

    def __init__(self, config: uvicorn.Config, on_leaving: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._on_leaving = on_leaving

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leave())
            group.create_task(super().shutdown(sockets))

    async def _leave(self) -> None:
        await self._on_leaving()
