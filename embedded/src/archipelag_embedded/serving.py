"""An application at a real address, for tests that need a socket between them and it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import uvicorn

START_S: Final = 15.0


@asynccontextmanager
async def served(
    app: Any, listener: socket.socket | None = None, *, hangs_up: bool = False, **settings: Any
) -> AsyncIterator[str]:
    """In this process, at a free port of loopback where no listener is given: `http://127.0.0.1:PORT`.

    `hangs_up`: at the end nobody waits for those who still listen. `settings` are uvicorn's own.
    """
    listener = listener or socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, ws="none", lifespan="off", log_config=None, server_header=False, **settings
    )
    server = uvicorn.Server(config)
    server.force_exit = hangs_up
    # The test's own process: signals are not the server's business.
    task = asyncio.create_task(server._serve([listener]))
    try:
        async with asyncio.timeout(START_S):
            while not server.started and not task.done():  # noqa: ASYNC110 - it has no event for that
                await asyncio.sleep(0.002)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
