"""Acts on the broker's word that an Island's connection is gone: a short grace, then its streams go on elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import Final

from archipelag_contracts.ids import Epoch, IslandId, JobId

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.errors import CoordinatorError, StaleAttempt
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.services.gone import left_behind
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

AT_ONCE_MAX: Final = 8
REASON: Final = "the Island's connection to the broker ended"


@dataclass(frozen=True)
class _Watch:
    """Over one Island that is gone: it ends when the Island is back, or has nothing left to give up."""

    back: asyncio.Event
    task: asyncio.Task[None]


class Presence:
    """Owns one short watch for each Island that is gone and was streaming to this process. None of its calls wait."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._watches: dict[IslandId, _Watch] = {}
        self._room = asyncio.Semaphore(AT_ONCE_MAX)

    def gone(self, island: IslandId) -> None:
        now = self._world.clock.monotonic()
        if island in self._watches or left_behind(self._world, island, now).again_s is None:
            return
        back = asyncio.Event()
        task = asyncio.create_task(self._watch(island, now, back), name=f"gone {island}")
        watch = self._watches[island] = _Watch(back, task)
        task.add_done_callback(lambda _: self._ended(island, watch))

    def back(self, island: IslandId) -> None:
        """It goes on where it was; should it be silent all the same, that is for those who listen for silence."""
        if (watch := self._watches.get(island)) is not None:
            watch.back.set()

    def unsure(self) -> None:
        """We cannot hear the broker: that Islands are gone is no longer known."""
        for island in self._watches:
            self.back(island)

    async def close(self) -> None:
        tasks = [watch.task for watch in self._watches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, island: IslandId, watch: _Watch) -> None:
        if self._watches.get(island) is watch:
            del self._watches[island]

    async def _watch(self, island: IslandId, gone_at: float, back: asyncio.Event) -> None:
        while not back.is_set():
            left = left_behind(self._world, island, gone_at)
            if left.attempts:
                if not await self._world.relay.hears():
                    return  # Deaf ourselves, we know nothing of it.
                left = left_behind(self._world, island, gone_at)
            async with asyncio.TaskGroup() as group:
                for attempt in left.attempts:
                    group.create_task(self._give_up(island, *attempt))
            if left.again_s is None:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left.again_s):
                    await back.wait()

    async def _give_up(self, island: IslandId, job_id: JobId, epoch: Epoch) -> None:
        log.warning("stream_cut_off job=%s epoch=%s island=%s", job_id, epoch, island)
        try:
            async with self._room:
                await failover(self._world, job_id, epoch, Cause.LEASE_LOST, REASON)
        except StaleAttempt:
            pass  # Somebody else ended it first.
        except CoordinatorError:
            log.exception("failover_failed job=%s", job_id)
        except Exception as error:
            # The database is away, or worse; the loop that looks for silence tries again.
            log.warning("failover_not_now job=%s error=%r", job_id, error)
