"""What is added up for people, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from archipelag_contracts.ids import IslandId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.health import Chore
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.ledger import AccountId, PayKind
from archipelag_coordinator.domain.sums import (
    Days,
    EarnedBy,
    EarnedSum,
    Moved,
    Place,
    Spent,
    SpentBy,
    Work,
)
from archipelag_coordinator.testing.memory_state import State


class MemorySums:
    def __init__(self, state: State) -> None:
        self._state = state

    async def spent(self, user: UserId, days: Days, by: SpentBy) -> list[Spent]:
        found: dict[str | None, Spent] = {}
        for job in self._state.jobs:
            if job.user_id != user or job.ended_at is None or not _is_within(job.ended_at, days):
                continue
            group = _group_of(job, by)
            counted = job.status is not JobStatus.FAILED
            before = found.get(group, Spent(group, self._name(group, by)))
            found[group] = replace(
                before,
                jobs=before.jobs + 1,
                prompt_tokens=before.prompt_tokens + counted * job.prompt_tokens,
                output_items=before.output_items + counted * job.output_items,
                charged=Ucredits(before.charged + job.charged),
            )
        return [found[group] for group in sorted(found, key=lambda one: (one is not None, one))]

    async def earned(self, island: IslandId, days: Days, by: EarnedBy) -> list[EarnedSum]:
        found: dict[str, EarnedSum] = {}
        for row in self._state.usage:
            if row.island_id != island or not _is_within(row.at, days):
                continue
            job = self._state.jobs.get(row.job_id)
            assert job is not None
            group = _day(row.at) if by is EarnedBy.DAY else job.cargo_slug
            before = found.get(group, EarnedSum(group))
            paid = {
                pay.kind: pay.amount
                for pay in self._state.pays
                if (pay.job_id, pay.epoch) == (row.job_id, row.epoch)
            }
            found[group] = replace(
                before,
                attempts=before.attempts + 1,
                completed=before.completed + (row.cause is Cause.COMPLETED),
                output_items=before.output_items + row.positions,
                prompt_tokens=before.prompt_tokens + row.prompt_tokens,
                wall_ms=before.wall_ms + row.wall_ms,
                charged=Ucredits(before.charged + paid.get(PayKind.CHARGE, 0)),
                insured=Ucredits(before.insured + paid.get(PayKind.INSURED, 0)),
                owed=Ucredits(before.owed + paid.get(PayKind.OWED, 0)),
            )
        return [found[group] for group in sorted(found)]

    async def work(self) -> list[Work]:
        found: dict[str, Work] = {}
        for job in self._state.jobs:
            if job.finished:
                continue
            before = found.get(job.cargo_slug, Work(job.cargo_slug, 0, 0, None))
            queued = job.status is JobStatus.QUEUED
            oldest = min(before.oldest_at or job.created_at, job.created_at)
            found[job.cargo_slug] = Work(
                job.cargo_slug,
                before.queued + queued,
                before.running + (not queued),
                oldest if queued else before.oldest_at,
            )
        return [found[slug] for slug in sorted(found)]

    async def chores(self) -> list[Chore]:
        """None are run over memory."""
        return []

    async def moved(
        self, user: UserId, accounts: Sequence[AccountId], *, before: Place | None, limit: int
    ) -> list[Moved]:
        moved: list[Moved] = []
        for account in accounts:
            balance = 0
            entries = [t for t in self._state.transfers if account in t.entries]
            for transfer in sorted(entries, key=lambda t: (t.at, t.id)):
                balance += transfer.entries[account]
                job = self._state.jobs.get(transfer.job_id) if transfer.job_id else None
                moved.append(
                    Moved(
                        transfer_id=transfer.id,
                        account_id=account,
                        at=transfer.at,
                        amount=transfer.entries[account],
                        balance_after=Ucredits(balance),
                        job_id=transfer.job_id,
                        key_id=job.key_id if job and job.user_id == user else None,
                        note=transfer.note,
                    )
                )
        older = [one for one in moved if before is None or _order(one.place) < _order(before)]
        return sorted(older, key=lambda one: _order(one.place), reverse=True)[:limit]

    def _name(self, group: str | None, by: SpentBy) -> str | None:
        if by is not SpentBy.KEY:
            return None
        return next((key.name for key in self._state.keys if key.id == group), None)


def _order(place: Place) -> tuple[datetime, str, str]:
    return place.at, place.transfer_id, place.account_id


def _is_within(at: datetime, days: Days) -> bool:
    return days.since <= at < days.until


def _day(at: datetime) -> str:
    return at.astimezone(UTC).date().isoformat()


def _group_of(job: Job, by: SpentBy) -> str | None:
    assert job.ended_at is not None
    match by:
        case SpentBy.DAY:
            return _day(job.ended_at)
        case SpentBy.KEY:
            return job.key_id
        case SpentBy.WORKLOAD:
            return job.cargo_slug
