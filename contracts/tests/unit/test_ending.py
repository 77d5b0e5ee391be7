"""Tasks end although they forget a cancel, as `wait_for` of Python 3.11 makes them."""

from __future__ import annotations

import asyncio

from archipelag_contracts.ending import end_tasks
from archipelag_embedded.fixtures import PATIENCE_S


async def forgetful(cancels: list[int], forgets: int) -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancels.append(1)
            if len(cancels) > forgets:
                raise


async def test_what_forgets_a_cancel_is_cancelled_again() -> None:
    cancels: list[int] = []
    stubborn = asyncio.create_task(forgetful(cancels, 2))
    ordinary = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE_S):
        await end_tasks([stubborn, ordinary], again_s=0.01)

    assert stubborn.cancelled() and ordinary.cancelled()
    assert len(cancels) == 3


async def test_a_long_goodbye_is_not_cut_short() -> None:
    said = []

    async def polite() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            said.append("goodbye")

    task = asyncio.create_task(polite())
    await asyncio.sleep(0)

    await end_tasks([task], again_s=PATIENCE_S)

    assert said == ["goodbye"]


async def test_an_error_of_a_task_is_its_own() -> None:
    async def broken() -> None:
        raise ValueError("of its own")

    task = asyncio.create_task(broken())
    await asyncio.sleep(0)

    await end_tasks([task])

    assert isinstance(task.exception(), ValueError)


async def test_nothing_to_end_is_at_an_end() -> None:
    await end_tasks([])
