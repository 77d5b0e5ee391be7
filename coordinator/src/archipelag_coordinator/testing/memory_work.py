"""Jobs, attempts and the ledger in memory, with the guards of the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from archipelag_contracts.ids import ApiKeyId, Epoch, IslandId, JobId, Position, RelayId, UserId
from archipelag_contracts.units import ZERO, Ucredits

from archipelag_coordinator.domain.attempt import Attempt, AttemptKey, AttemptStatus, Cause
from archipelag_coordinator.domain.fair import in_turn
from archipelag_coordinator.domain.items import Items, joined
from archipelag_coordinator.domain.job import EVERY_JOB, Job, JobFilter, JobStatus
from archipelag_coordinator.domain.ledger import (
    MAY_OVERDRAW,
    Account,
    AccountId,
    Reservation,
    ReservationStatus,
    Transfer,
)
from archipelag_coordinator.errors import (
    AlreadyPosted,
    Conflict,
    InsufficientCredits,
    StaleAttempt,
)
from archipelag_coordinator.services.ports import Mark, Said, Standing
from archipelag_coordinator.testing.memory_state import State


class MemoryJobs:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, job: Job) -> Job:
        if job.idempotency_key is not None:
            standing = await self.by_idempotency_key(job.user_id, job.idempotency_key)
            if standing is not None:
                return standing
        if job.user_id not in self._state.users or job.cargo_id not in self._state.cargos:
            raise Conflict(f"{job.id} names a user or a Cargo that is not stored")
        if job.key_id is not None and job.key_id not in self._state.keys:
            raise Conflict(f"{job.id} names an API key that is not stored")
        self._state.jobs.add(job.id, job)
        return job

    async def get(self, job: JobId, *, outputs: bool = True) -> Job | None:
        found = self._state.jobs.get(job)
        return found if outputs or found is None else _without_output(found)

    async def lock(self, job: JobId) -> Job | None:
        return self._state.jobs.get(job)

    async def of_user(
        self,
        user: UserId,
        *,
        limit: int,
        offset: int,
        only: JobFilter = EVERY_JOB,
        outputs: bool = True,
    ) -> tuple[list[Job], int]:
        jobs = [j for j in self._state.jobs if j.user_id == user and _passes(j, only)]
        jobs.sort(key=lambda j: (j.created_at, j.id), reverse=True)
        shown = jobs[offset : offset + limit]
        return shown if outputs else [_without_output(job) for job in shown], len(jobs)

    async def by_idempotency_key(self, user: UserId, key: str) -> Job | None:
        return next(
            (j for j in self._state.jobs if j.user_id == user and j.idempotency_key == key), None
        )

    async def same_request(
        self, user: UserId, key: ApiKeyId, request_hash: bytes, since: datetime
    ) -> Job | None:
        same = [
            j
            for j in self._state.jobs
            if (j.user_id, j.key_id, j.request_hash) == (user, key, request_hash)
            and j.created_at > since
        ]
        return max(same, key=lambda j: (j.created_at, j.id), default=None)

    async def save(self, job: Job, *, was: Job) -> None:
        assert job.id == was.id
        stored = self._state.jobs.get(job.id)
        if stored is None or (stored.epoch, stored.status) != (was.epoch, was.status):
            raise StaleAttempt(job.id, was.epoch)
        # Another Coordinator may have adopted it or moved the mark since `was` was read.
        mark = Position(max(job.delivered, stored.delivered))
        kept = replace(job, home=stored.home, delivered=mark, read_at=stored.read_at)
        self._state.jobs.put(job.id, kept)

    async def waiting(self, home: RelayId, limit: int) -> list[JobId]:
        running = [j for j in self._state.jobs if j.status is JobStatus.RUNNING]
        queued = [j for j in self._state.jobs if j.status is JobStatus.QUEUED and j.home == home]
        return [j.id for j in in_turn([*running, *queued])[:limit]]

    async def overdue(self, home: RelayId, now: datetime, limit: int) -> list[JobId]:
        late = [
            j
            for j in self._state.jobs
            if not j.finished
            and j.home == home
            and (j.deadline_at <= now or (j.status is JobStatus.QUEUED and j.queue_until <= now))
        ]
        late.sort(key=lambda j: (j.deadline_at, j.id))
        return [j.id for j in late[:limit]]

    async def adopt(self, home: RelayId, alive: Sequence[RelayId], limit: int) -> list[JobId]:
        orphans = [
            j for j in self._state.jobs if not j.finished and j.home != home and j.home not in alive
        ]
        orphans.sort(key=lambda j: j.id)
        for job in orphans[:limit]:
            self._state.jobs.put(job.id, replace(job, home=home))
        return [j.id for j in orphans[:limit]]

    async def adopt_of(
        self,
        home: RelayId,
        was: Sequence[RelayId],
        limit: int,
        among: Sequence[JobId] | None = None,
    ) -> list[JobId]:
        theirs = [
            j
            for j in self._state.jobs
            if not j.finished and j.home in was and (among is None or j.id in among)
        ]
        theirs.sort(key=lambda j: j.id)
        for job in theirs[:limit]:
            self._state.jobs.put(job.id, replace(job, home=home))
        return [j.id for j in theirs[:limit]]

    async def several(self, jobs: Sequence[JobId]) -> list[Job]:
        found = [self._state.jobs.get(job) for job in sorted(set(jobs))]
        return [job for job in found if job is not None]

    async def take_home(self, job: JobId, home: RelayId, *, was: RelayId) -> bool:
        stored = self._state.jobs.get(job)
        if stored is None or stored.finished or stored.home != was:
            return False
        self._state.jobs.put(job, replace(stored, home=home))
        return True

    async def unfinished_of(self, home: RelayId, limit: int) -> list[JobId]:
        found = [j.id for j in self._state.jobs if not j.finished and j.home == home]
        return sorted(found)[:limit]

    async def standing(self, jobs: Sequence[JobId]) -> list[Standing]:
        found = [self._state.jobs.get(job) for job in sorted(set(jobs))]
        return [Standing(j.id, j.finished, j.epoch, j.home) for j in found if j is not None]

    async def mark_delivered(self, marks: Iterable[Mark]) -> None:
        for mark in marks:
            job = self._state.jobs.get(mark.job_id)
            if job is not None and not job.finished:
                seen = [at for at in (job.read_at, mark.read_at) if at is not None]
                moved = replace(
                    job,
                    delivered=Position(max(job.delivered, mark.delivered)),
                    prompt_tokens=max(job.prompt_tokens, mark.prompt_tokens),
                    read_at=max(seen, default=None),
                )
                self._state.jobs.put(mark.job_id, moved)

    async def count_completed(self) -> int:
        return sum(1 for j in self._state.jobs if j.status is JobStatus.SUCCEEDED)


def _without_output(job: Job) -> Job:
    return replace(job, output=None, cuts=b"")


def _passes(job: Job, only: JobFilter) -> bool:
    return (
        (job.status in only.statuses or (only.timed_out and _timed_out(job)))
        and only.workload in (None, job.cargo_slug)
        and (only.created_after is None or job.created_at >= only.created_after)
        and (only.created_before is None or job.created_at < only.created_before)
    )


def _timed_out(job: Job) -> bool:
    return job.status is JobStatus.FAILED and job.cause is Cause.DEADLINE


class MemoryItems:
    def __init__(self, state: State) -> None:
        self._state = state

    async def keep(self, home: RelayId, said: Sequence[Said]) -> None:
        for one in said:
            job = self._state.jobs.get(one.job_id)
            running = job is not None and job.status is JobStatus.RUNNING
            if job is None or not running or (job.home, job.epoch) != (home, one.epoch):
                continue
            key = (one.job_id, one.items.first)
            stored = self._state.items.get(key)
            if stored is None or len(one.items.texts) > len(stored.texts):
                self._state.items.put(key, one.items)

    async def of_job(self, job: JobId) -> Items:
        return joined(items for (of, _), items in self._state.items.items() if of == job)

    async def of_jobs(self, jobs: Sequence[JobId]) -> dict[JobId, Items]:
        return {job: await self.of_job(job) for job in jobs}

    async def forget(self, job: JobId, *, since: int) -> None:
        for key, _ in self._state.items.items():
            if key[0] == job and key[1] >= since:
                self._state.items.remove(key)

    async def prune(self, limit: int) -> int:
        over = []
        for key, _ in self._state.items.items():
            job = self._state.jobs.get(key[0])
            if job is not None and job.finished:
                over.append(key)
        for key in over[:limit]:
            self._state.items.remove(key)
        return len(over[:limit])


class MemoryAttempts:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, attempt: Attempt) -> None:
        if attempt.job_id not in self._state.jobs or attempt.island_id not in self._state.islands:
            raise Conflict(f"an attempt of {attempt.job_id} names a job or Island that is unknown")
        if not attempt.finished and any(not a.finished for a in await self.of_job(attempt.job_id)):
            raise Conflict(f"{attempt.job_id} has an attempt that has not ended")
        self._state.attempts.add((attempt.job_id, attempt.epoch), attempt)

    async def get(self, job: JobId, epoch: Epoch) -> Attempt | None:
        return self._state.attempts.get((job, epoch))

    async def of_job(self, job: JobId) -> list[Attempt]:
        found = [a for a in self._state.attempts if a.job_id == job]
        return sorted(found, key=lambda a: a.epoch)

    async def current(self, jobs: Sequence[JobId]) -> list[Attempt]:
        known = [self._state.jobs.get(job) for job in sorted(set(jobs))]
        found = [self._state.attempts.get((job.id, job.epoch)) for job in known if job is not None]
        return [attempt for attempt in found if attempt is not None]

    async def save(self, attempt: Attempt, *, was: Attempt) -> None:
        key = (attempt.job_id, attempt.epoch)
        assert key == (was.job_id, was.epoch)
        stored = self._state.attempts.get(key)
        # A heartbeat that meanwhile called an assigned attempt running is no rival.
        meanwhile = was.status is AttemptStatus.ASSIGNED
        allowed = {was.status} | ({AttemptStatus.RUNNING} if meanwhile else set())
        if stored is None or stored.status not in allowed:
            raise StaleAttempt(attempt.job_id, attempt.epoch)
        started = attempt.started_at or stored.started_at
        self._state.attempts.put(key, replace(attempt, started_at=started))

    async def extend(
        self, island: IslandId, held: Sequence[AttemptKey], now: datetime, lease_until: datetime
    ) -> set[AttemptKey]:
        kept = set()
        for key in held:
            attempt = self._state.attempts.get(key)
            if attempt is None or attempt.finished or attempt.island_id != island:
                continue
            longer = replace(
                attempt,
                status=AttemptStatus.RUNNING,
                started_at=attempt.started_at or now,
                lease_until=max(attempt.lease_until, lease_until),
            )
            self._state.attempts.put(key, longer)
            kept.add(key)
        return kept

    async def finished(self, island: IslandId, keys: Sequence[AttemptKey]) -> set[AttemptKey]:
        return set(keys) - set(await self.unfinished_of(island))

    async def expired(self, home: RelayId, now: datetime, limit: int) -> list[AttemptKey]:
        late = [
            a
            for a in self._state.attempts
            if not a.finished and a.lease_until <= now and self._home_of(a.job_id) == home
        ]
        late.sort(key=lambda a: (a.lease_until, a.job_id))
        return [(a.job_id, a.epoch) for a in late[:limit]]

    async def break_leases(self, island: IslandId, now: datetime) -> None:
        for key in await self.unfinished_of(island):
            held = self._state.attempts.get(key)
            assert held is not None
            self._state.attempts.put(key, replace(held, lease_until=min(held.lease_until, now)))

    def _home_of(self, job: JobId) -> RelayId | None:
        found = self._state.jobs.get(job)
        return found.home if found else None

    async def unfinished_of(self, island: IslandId) -> list[AttemptKey]:
        return sorted(
            (a.job_id, a.epoch)
            for a in self._state.attempts
            if a.island_id == island and not a.finished
        )


class MemoryLedger:
    def __init__(self, state: State) -> None:
        self._state = state

    async def account(self, account: AccountId) -> Account:
        return self._state.accounts.get(account) or Account(account, ZERO, ZERO)

    async def transfer(self, transfer: Transfer) -> bool:
        return await self._transfer(transfer, {})

    async def reserve(self, reservation: Reservation) -> None:
        assert reservation.amount >= 0
        if reservation.job_id in self._state.reservations:
            return
        account = await self.account(reservation.account_id)
        if account.id not in MAY_OVERDRAW and account.available < reservation.amount:
            raise InsufficientCredits(reservation.amount, account.available)
        self._hold(account, reservation.amount)
        self._state.reservations.add(reservation.job_id, reservation)

    async def post(self, job: JobId, transfer: Transfer | None) -> bool:
        reservation = self._pending(job)
        if reservation is None:
            return False
        if transfer is not None:
            await self._transfer(transfer, {reservation.account_id: reservation.amount})
        self._release(reservation.post())
        return True

    async def void(self, job: JobId) -> bool:
        reservation = self._pending(job)
        if reservation is None:
            return False
        self._release(reservation.void())
        return True

    async def expire(self, now: datetime, limit: int) -> list[JobId]:
        late = []
        for reservation in self._state.reservations:
            job = self._state.jobs.get(reservation.job_id)
            pending = reservation.status is ReservationStatus.PENDING
            if pending and reservation.expires_at <= now and (job is None or job.finished):
                late.append(reservation)
        late.sort(key=lambda r: (r.expires_at, r.job_id))
        for reservation in late[:limit]:
            self._release(reservation.expire())
        return [r.job_id for r in late[:limit]]

    async def reservation(self, job: JobId) -> Reservation | None:
        return self._state.reservations.get(job)

    async def transfers_of(self, account: AccountId, *, limit: int, offset: int) -> list[Transfer]:
        found = [t for t in self._state.transfers if account in t.entries]
        found.sort(key=lambda t: (t.at, t.id), reverse=True)
        return found[offset : offset + limit]

    async def rebuild(self) -> list[tuple[Account, Account]]:
        balances: dict[AccountId, int] = {}
        held: dict[AccountId, int] = {}
        for transfer in self._state.transfers:
            for account_id, amount in transfer.entries.items():
                balances[account_id] = balances.get(account_id, 0) + amount
        for one in self._state.reservations:
            if one.status is ReservationStatus.PENDING:
                held[one.account_id] = held.get(one.account_id, 0) + one.amount
        names = balances.keys() | held.keys() | {a.id for a in self._state.accounts}
        pairs = []
        for name in sorted(names):
            kept = await self.account(name)
            rebuilt = Account(name, Ucredits(balances.get(name, 0)), Ucredits(held.get(name, 0)))
            if kept != rebuilt:
                pairs.append((kept, rebuilt))
        return pairs

    async def _transfer(self, transfer: Transfer, released: dict[AccountId, Ucredits]) -> bool:
        """`released` is about to be let go in the same step, and may be spent by it."""
        standing = self._state.transfers.get(transfer.id)
        if standing is not None:
            if dict(standing.entries) != dict(transfer.entries):
                raise AlreadyPosted(f"{transfer.id} stands with other entries")
            return False
        for account_id, amount in sorted(transfer.entries.items()):
            available = (await self.account(account_id)).available + released.get(account_id, 0)
            if account_id not in MAY_OVERDRAW and amount < 0 and available + amount < 0:
                raise InsufficientCredits(-amount, available)
        self._state.transfers.add(transfer.id, transfer)
        for account_id, amount in transfer.entries.items():
            account = await self.account(account_id)
            self._state.accounts.put(
                account_id, replace(account, balance=Ucredits(account.balance + amount))
            )
        return True

    def _pending(self, job: JobId) -> Reservation | None:
        reservation = self._state.reservations.get(job)
        if reservation is None or reservation.status is not ReservationStatus.PENDING:
            return None
        return reservation

    def _release(self, ended: Reservation) -> None:
        account = self._state.accounts.get(ended.account_id)
        assert account is not None and account.held >= ended.amount
        self._hold(account, -ended.amount)
        self._state.reservations.put(ended.job_id, ended)

    def _hold(self, account: Account, amount: int) -> None:
        self._state.accounts.put(account.id, replace(account, held=Ucredits(account.held + amount)))
