"""Drain: take nothing more, let what runs finish for a while, then hand it over, so that others go on with it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from archipelag_island.domain.wishes import Wishes
from archipelag_island.services.world import World

log = logging.getLogger(__name__)

WITHIN_S_MAX: Final = 24 * 3600


@dataclass(frozen=True)
class Progress:
    """How far a drain has come."""

    draining: bool
    runs: int
    handed_over: int
    left_s: float
    """Until what still runs is handed over."""
    undelivered: int
    """Reports that the broker has not acknowledged."""
    afar: bool = False
    """Ordered on the network's pages, so that only they can take it back."""


def begin(world: World, within_s: float) -> None:
    """No more work from this instant. A second call moves the time, also forward."""
    if not world.drained:
        world.now.handed_over = 0
    world.now.draining = True
    _hand_over_within(world, within_s)


def resume(world: World) -> bool:
    """Takes work again, unless it was drained from afar; what was handed over stays with the others. False: it was not
    drained here."""
    was = world.now.draining
    world.now.draining = False
    _changed(world)
    return was


def follow(world: World, wishes: Wishes) -> None:
    """Goes by these wishes from now on; an order given here stands beside them."""
    drained = world.drained
    world.now.wishes = wishes
    if world.drained and not drained:
        world.now.handed_over = 0
        _hand_over_within(world, world.host.drain_s)
    else:
        _changed(world)


def _hand_over_within(world: World, within_s: float) -> None:
    world.now.hand_over_at = world.clock.monotonic() + within_s
    log.info("drain_begun runs=%d within_s=%g", len(world.now.runs), within_s)
    _changed(world)


def _changed(world: World) -> None:
    if not world.drained:
        world.now.hand_over_at = None
        log.info("not_drained")
    world.beat_soon.set()
    world.drain_changed.set()


def progress(world: World) -> Progress:
    now = world.now
    at = now.hand_over_at
    left_s = max(0.0, at - world.clock.monotonic()) if at is not None else 0.0
    undelivered = sum(r.sealed is not None and not r.delivered for r in world.journal.all())
    return Progress(
        world.drained,
        len(now.runs),
        now.handed_over,
        left_s,
        undelivered,
        afar=now.wishes.draining,
    )


async def drain_for_ever(world: World) -> None:
    """Hands over when a drain's time is up."""
    while True:
        world.drain_changed.clear()
        at = world.now.hand_over_at
        left_s = None if at is None else at - world.clock.monotonic()
        if left_s is not None and left_s <= 0:
            world.now.hand_over_at = None
            world.now.handed_over += world.hand_over("the Island was drained by its owner")
            continue
        try:
            async with asyncio.timeout(left_s):
                await world.drain_changed.wait()
        except TimeoutError:
            pass


async def drain(world: World, timeout_s: float) -> None:
    """The last one, before the agent ends: hands over at once and waits until nothing runs."""
    begin(world, 0)
    world.now.hand_over_at = None
    world.now.handed_over += world.hand_over("the Island was stopped by its owner")
    try:
        async with asyncio.timeout(timeout_s):
            while world.now.runs:
                world.reports_waiting.clear()
                await world.reports_waiting.wait()
    except TimeoutError:
        log.warning("drain_cut_short runs=%d", len(world.now.runs))
