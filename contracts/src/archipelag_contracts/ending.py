"""Ends tasks, those too that forget that they were cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

CANCEL_AGAIN_S: Final = 1.0


async def end_tasks(tasks: Collection[asyncio.Task[Any]], again_s: float = CANCEL_AGAIN_S) -> None:
    """Cancels again what goes on after so many seconds, and returns once all have ended; raises nothing of theirs.

    `asyncio.wait_for` before 3.12 swallows a cancel that comes in the moment of an answer, and nats-py waits by it.
    """
    going = set(tasks)
    while going:
        for task in going:
            task.cancel()
        _, going = await asyncio.wait(going, timeout=again_s)
    await asyncio.gather(*tasks, return_exceptions=True)
