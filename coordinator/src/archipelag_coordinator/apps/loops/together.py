"""A few things at a time, for the loops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from archipelag_coordinator.errors import CoordinatorError, StaleAttempt

log = logging.getLogger(__name__)

SIDE_BY_SIDE_MAX: Final = 8

T = TypeVar("T")


async def side_by_side(things: Iterable[T], verb: Callable[[T], Awaitable[None]]) -> None:
    """One that fails does not stop the others."""
    room = asyncio.Semaphore(SIDE_BY_SIDE_MAX)

    async def one(thing: T) -> None:
        async with room:
            try:
                await verb(thing)
            except StaleAttempt:
                pass  # Somebody else ended it first.
            except CoordinatorError as error:
                log.warning("loop_item_failed item=%s code=%s: %s", thing, error.code, error)

    async with asyncio.TaskGroup() as group:
        for thing in things:
            group.create_task(one(thing))
