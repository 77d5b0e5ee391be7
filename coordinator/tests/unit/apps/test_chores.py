"""Chores begin anew whenever their worker ends: a database that is away must not end a Coordinator."""

from __future__ import annotations

import asyncio

from archipelag_coordinator.apps.background.chores import run_chores
from archipelag_embedded.fixtures import PATIENCE_S
from procrastinate import App
from procrastinate.exceptions import ConnectorException


async def test_a_worker_whose_database_is_away_is_made_anew() -> None:
    made: list[int] = []
    enough = asyncio.Event()

    def make() -> App:
        made.append(len(made))
        if len(made) == 3:
            enough.set()
        raise ConnectorException

    chores = asyncio.create_task(run_chores(make, again_s=(0.0, 0.0)))
    async with asyncio.timeout(PATIENCE_S):
        await enough.wait()
    chores.cancel()
    await asyncio.gather(chores, return_exceptions=True)

    assert chores.cancelled()
