"""An end to waiting for a server that does not answer: its connection is cut, and whoever waits on it hears an error.

Cancelling would do as well where the network is whole; where it is not, the driver asks the server to stop and waits
for that in turn, twice five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

log = logging.getLogger(__name__)

# A server that is gone without a word is noticed by the kernel, once it no longer acknowledges what was sent.
KEEPALIVE: Final = {
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "connect_timeout": "5",
}


async def connected(conninfo: str) -> AsyncConnection[TupleRow]:
    """A connection that commits each statement. Whoever is cancelled meanwhile waits until it stands or has failed,
    which `connect_timeout` bounds: what is broken off in the middle leaves its half open, at the server too."""
    trying = asyncio.create_task(AsyncConnection.connect(conninfo, autocommit=True))
    try:
        return await asyncio.shield(trying)
    except asyncio.CancelledError:
        with contextlib.suppress(psycopg.Error, TimeoutError):
            await (await trying).close()
        raise


@contextlib.contextmanager
def patience(connection: AsyncConnection[Any], seconds: float) -> Iterator[None]:
    """After so long, whatever waits on this connection raises psycopg.OperationalError."""
    timer = asyncio.get_running_loop().call_later(seconds, hang_up, connection)
    try:
        yield
    finally:
        timer.cancel()


def hang_up(connection: AsyncConnection[Any]) -> None:
    """Ends the connection under whoever uses it."""
    with contextlib.suppress(psycopg.Error, OSError):
        # A copy of the descriptor: closing ours would leave the driver with one that may name another file by now.
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
        log.warning("database_hung_up pid=%s", connection.info.backend_pid)
