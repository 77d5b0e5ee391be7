"""Usage, pay and karma in memory: what ends an attempt or posts a transfer writes them, as in the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from archipelag_contracts.ids import IslandId, JobId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.attempt import Attempt
from archipelag_coordinator.domain.karma import Note, NoteKind, Tally, note_of
from archipelag_coordinator.domain.ledger import AccountId, Pay, PayKind, Transfer
from archipelag_coordinator.domain.usage import Earned, UsageRow, usage_row
from archipelag_coordinator.testing.memory_state import State
from archipelag_coordinator.testing.memory_work import MemoryAttempts, MemoryLedger


class MeteredAttempts(MemoryAttempts):
    async def save(self, attempt: Attempt, *, was: Attempt) -> None:
        await super().save(attempt, was=was)
        if not attempt.finished:
            return
        island = self._state.islands.get(attempt.island_id)
        assert island is not None
        row = usage_row(attempt, island.owner_id)
        self._state.usage.add((row.job_id, row.epoch), row)
        if (note := note_of(row)) is not None:
            self._state.karma_notes.add((note.island_id, note.job_id, note.epoch), note)


class PayingLedger(MemoryLedger):
    async def lock(self, job: JobId, accounts: Iterable[AccountId]) -> None:
        """Transactions in memory come one after another."""

    async def _transfer(self, transfer: Transfer, released: dict[AccountId, Ucredits]) -> bool:
        posted = await super()._transfer(transfer, released)
        if posted:
            for pay in transfer.pays:
                self._state.pays.add((pay.job_id, pay.epoch, pay.kind), pay)
        return posted


class MemoryUsages:
    def __init__(self, state: State) -> None:
        self._state = state

    async def of_job(self, job: JobId) -> list[UsageRow]:
        return sorted((r for r in self._state.usage if r.job_id == job), key=lambda r: r.epoch)

    async def of_island(self, island: IslandId, *, limit: int, offset: int) -> list[UsageRow]:
        found = [r for r in self._state.usage if r.island_id == island]
        found.sort(key=lambda r: (r.at, r.job_id, r.epoch), reverse=True)
        return found[offset : offset + limit]

    async def pays_of(self, jobs: Sequence[JobId]) -> list[Pay]:
        wanted = set(jobs)
        found = [p for p in self._state.pays if p.job_id in wanted]
        return sorted(found, key=lambda p: (p.job_id, p.epoch, p.kind.value))

    async def owe(self, pay: Pay) -> None:
        assert pay.kind is PayKind.OWED
        self._state.pays.add((pay.job_id, pay.epoch, pay.kind), pay)

    async def earned(self, owner: UserId, since: datetime) -> Earned:
        recent = [p for p in self._state.pays if p.owner_id == owner and p.at > since]
        charged = sum(p.amount for p in recent if p.kind is PayKind.CHARGE)
        insured = sum(p.amount for p in recent if p.kind is PayKind.INSURED)
        return Earned(Ucredits(charged), Ucredits(insured))


class MemoryKarmaNotes:
    def __init__(self, state: State) -> None:
        self._state = state

    async def of_island(self, island: IslandId, *, limit: int, offset: int) -> list[Note]:
        found = [n for n in self._state.karma_notes if n.island_id == island]
        found.sort(key=lambda n: (n.at, n.job_id, n.epoch), reverse=True)
        return found[offset : offset + limit]

    async def tally(self, island: IslandId) -> list[Tally]:
        found: dict[NoteKind, Tally] = {}
        for note in self._state.karma_notes:
            if note.island_id == island:
                before = found.get(note.kind, Tally(note.kind, 0, 0))
                found[note.kind] = Tally(
                    note.kind, before.count + 1, before.points_ms + note.points_ms
                )
        return [found[kind] for kind in sorted(found)]
