"""A Coordinator whose port another program has: it says so, and nobody was told that it is there."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from archipelag_coordinator.adapters.nats import credentials
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_embedded.nats import Nats
from archipelag_embedded.process import free_port


@pytest.mark.parametrize("setting", ["ARCHIPELAG_HTTP_PORT", "ARCHIPELAG_GRPC_PORT"])
async def test_who_cannot_be_reached_does_not_say_that_it_is_there(
    tmp_path: Path, postgres_dsn: str, nats_server: Callable[..., Nats], setting: str
) -> None:
    keys = credentials.init_keys(tmp_path / "state")
    broker = nats_server(config=credentials.broker_config(keys, resolver_dir=tmp_path / "jwt"))
    with socket.create_server(("127.0.0.1", 0)) as another:
        taken = another.getsockname()[1]
        environ = os.environ | {
            "ARCHIPELAG_DATABASE_URL": postgres_dsn,
            "ARCHIPELAG_NATS_URL": broker.url,
            "ARCHIPELAG_STATE_DIR": str(tmp_path / "state"),
            "ARCHIPELAG_HTTP_PORT": str(free_port()),
            "ARCHIPELAG_GRPC_PORT": str(free_port()),
            setting: str(taken),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "archipelag_coordinator", "serve"),
            env=environ,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE_S):
            _, told = await process.communicate()

    *_, last = told.decode().strip().splitlines()
    assert process.returncode == 1 and last.startswith("archipelag-coordinator: cannot listen")
    assert f"127.0.0.1:{taken}" in last and setting in last and "Traceback" not in told.decode()
    with psycopg.connect(postgres_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM coordinators").fetchall() == [(0,)]
