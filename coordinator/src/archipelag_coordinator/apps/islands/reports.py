"""Islands' reports: is it signed by that very Island, and what does it say? Then `track` settles it."""

from __future__ import annotations

import logging

from archipelag_contracts.errors import ContractError
from archipelag_contracts.ids import IslandId
from archipelag_contracts.pb.archipelag.v1.job_pb2 import Report
from archipelag_contracts.signing import open_sealed

from archipelag_coordinator.apps.islands.decode import report_of
from archipelag_coordinator.apps.islands.known import KnownKeys
from archipelag_coordinator.errors import CoordinatorError, StaleAttempt
from archipelag_coordinator.services.adopt import adopt
from archipelag_coordinator.services.track import ReportIn, home_of, track
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)


class Reports:
    """Takes reports as they come from the broker, which has checked whose subject it was."""

    def __init__(self, world: World, keys: KnownKeys) -> None:
        self._world = world
        self._keys = keys

    async def take(self, island: IslandId, data: bytes) -> bool:
        """True: it is dealt with, be it settled or stale. False: it can never be accepted.

        The process that relays the job settles it: only there is it known what was streamed and handed out. Raises
        what the store or the bus raises when they are away: the report must then be delivered again.
        """
        return await self._take(island, data, hand_on=True)

    async def take_here(self, island: IslandId, data: bytes) -> bool:
        """One that another process handed over."""
        return await self._take(island, data, hand_on=False)

    def all_taken(self) -> None:
        """No report waits any more."""
        self._world.footing.reports_read(self._world.clock.monotonic())

    async def _take(self, island: IslandId, data: bytes, *, hand_on: bool) -> bool:
        try:
            key = await self._keys.of(island)
            report = report_of(open_sealed(data, Report, {key}), island, data)
        except ContractError as error:
            self._world.tally.reports["refused"] += 1
            log.warning("report_refused island=%s error=%s", island, error)
            return False
        if hand_on and (home := await home_of(self._world, report.job_id)) is not None:
            handed = await self._world.bus.hand_report(home, island, data)
            if handed is not None:
                return handed
            if await adopt(self._world, report.job_id, home) is not None:
                # What was streamed is being read back, to compare the report with: a liar may have waited for this.
                raise ConnectionError(
                    f"{home} is gone and {report.job_id} adopted: settled next time"
                )
        with self._world.traces.span("settle", report.job_id, island_id=island):
            return await self._settle(island, report)

    async def _settle(self, island: IslandId, report: ReportIn) -> bool:
        tally, clock = self._world.tally, self._world.clock
        began = clock.monotonic()
        try:
            job = await track(self._world, report)
        except StaleAttempt as stale:
            tally.reports["stale"] += 1
            log.warning("report_stale island=%s job=%s epoch=%d", island, stale.job, stale.epoch)
            return True
        except CoordinatorError as error:
            # Expected, and no better the next time; the lease or the deadline ends the attempt.
            tally.reports["not_settled"] += 1
            log.error("report_not_settled island=%s job=%s error=%s", island, report.job_id, error)
            return False
        tally.reports["settled"] += 1
        tally.settlement.add(clock.monotonic() - began)
        log.info(
            "report_settled island=%s job=%s epoch=%d status=%s",
            island,
            job.id,
            report.epoch,
            job.status,
        )
        return True
