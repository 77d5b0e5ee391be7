"""Islands of the mass beside the real ones: they carry most of the streams, so that two cores carry them all."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Final

import psycopg

from tests.chaos.network import Network
from tests.chaos.parts import Part

SLOTS_MAX: Final = 400
READY: Final = "SELECT count(*) FROM islands WHERE name LIKE 'mass%' AND status = 'ready'"


@contextlib.asynccontextmanager
async def mass_of(network: Network, streams: int, rate: float) -> AsyncIterator[list[Part]]:
    """Room for so many streams, each with so many items a second, until the body has ended."""
    parts: list[Part] = []
    try:
        for number in range(-(-streams // SLOTS_MAX)):
            parts.append(await _started(network, f"mass{number}", rate))

        async def ready() -> bool:
            return await asyncio.to_thread(_ready, network.database_url()) == len(parts)

        await network.until(ready, "the Islands of the mass are ready")
        yield parts
    finally:
        await asyncio.gather(*(part.stop() for part in parts))


async def _started(network: Network, name: str, rate: float) -> Part:
    _, code = await network.invite(name)
    program = [
        *("-m", "tests.soak.mass_island", "--code", code, "--name", name),
        *("--coordinator", f"127.0.0.1:{network.coordinators[0].grpc_port}"),
        *("--slots", str(SLOTS_MAX), "--rate", str(rate)),
    ]
    part = Part(name, program, os.environ, network.log(name))
    part.start()
    return part


def _ready(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(READY).fetchone()
    assert row is not None
    return int(row[0])
