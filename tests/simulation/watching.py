"""Looks at every row as it is committed: what may never happen to a row, whoever does it."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any, Final

from archipelag_coordinator.domain.attempt import Attempt, Cause
from archipelag_coordinator.domain.items import joined
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.ledger import Reservation, ReservationStatus
from archipelag_coordinator.testing.memory_state import State

from simulation.cargo import RESUMABLE

BEATING: contextvars.ContextVar[str] = contextvars.ContextVar("beating", default="")
"""The Island whose heartbeat is being dealt with."""

JOB_MOVES: Final = {
    "queued": {"running", "failed", "cancelled"},
    "running": {"queued", "succeeded", "failed", "cancelled"},
}
ATTEMPT_MOVES: Final = {
    "assigned": {"running", "succeeded", "failed", "refused", "lost", "cancelled"},
    # An Island's heartbeat may have called it running before its reply was given up.
    "running": {"succeeded", "failed", "lost", "cancelled", "refused"},
}


class RowWatch:
    """Notes each row that a transaction changes, and compares before and after once it commits."""

    def __init__(self, state: State, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._before: dict[tuple[str, Any], Any] = {}
        self.homes_moved = 0
        """So often a job went on at another Coordinator."""
        self._items = state.items
        self._tables = {
            "jobs": state.jobs,
            "attempts": state.attempts,
            "transfers": state.transfers,
            "reservations": state.reservations,
        }
        for name, table in self._tables.items():
            self._attach(name, table)

    def _attach(self, name: str, table: Any) -> None:
        put = table.put

        def noted(key: Any, row: Any) -> None:
            self._before.setdefault((name, key), table.get(key))
            put(key, row)

        table.put = noted

    def is_committed(self, name: str, key: Any) -> bool:
        """Whether there is such a row, and not only in a transaction that goes on."""
        added_now = self._before.get((name, key), key) is None
        return self._tables[name].get(key) is not None and not added_now

    def rolled_back(self) -> None:
        self._before.clear()

    def committed(self) -> None:
        for (name, key), before in self._before.items():
            after = self._tables[name].get(key)
            if before is None and name == "attempts" and after is not None:
                self._begun(after)
            if before is not None and name == "jobs" and after is not None:
                self.homes_moved += before.home != after.home
            if before is not None and before != after:
                for said in CHANGES[name](before, after):
                    self._tell(said)
        self._before.clear()

    def _begun(self, attempt: Attempt) -> None:
        """Each attempt begins where the stored answer ends, whoever is its job's home by now.

        A copy may have given more to a reader than the home had stored when it died; where the broker lost that, too,
        it is made again, as `docs/promises.md` has it.
        """
        job: Job = self._tables["jobs"].get(attempt.job_id)
        items = joined(items for (of, _), items in self._items.items() if of == job.id)
        stored = min(job.delivered, items.next)
        if job.cargo_slug != RESUMABLE.slug or attempt.first_position >= stored:
            return
        before = (self._tables["attempts"].get((job.id, n)) for n in range(1, attempt.epoch))
        # On what was said by one who broke the protocol nothing is built.
        if not any(one.cause is Cause.BAD_OUTPUT for one in before):
            self._tell(
                f"what_is_stored_is_not_run_again: {job.id}.{attempt.epoch} begins at "
                f"{attempt.first_position}, {stored} are stored"
            )


def _job(before: Job, after: Job) -> list[str]:
    found = []
    if before.finished:
        found.append(f"a_finished_job_never_changes: {before.id} was {before.status.value}")
    if before.status is not after.status and after.status.value not in JOB_MOVES.get(
        before.status.value, set()
    ):
        found.append(f"jobs_move_as_they_may: {before.id} {before.status} to {after.status}")
    if after.epoch not in (before.epoch, before.epoch + 1):
        found.append(f"epochs_rise_by_one: {before.id} from {before.epoch} to {after.epoch}")
    if after.delivered < before.delivered and not after.finished:
        found.append(f"marks_never_go_down: {before.id} {before.delivered} to {after.delivered}")
    return found


def _attempt(before: Attempt, after: Attempt) -> list[str]:
    key = f"{before.job_id}.{before.epoch}"
    found = []
    if before.finished:
        found.append(f"a_finished_attempt_never_changes: {key} was {before.status.value}")
    elif before.status is not after.status and after.status.value not in ATTEMPT_MOVES.get(
        before.status.value, set()
    ):
        found.append(f"attempts_move_as_they_may: {key} {before.status} to {after.status}")
    if (before.island_id, before.first_position) != (after.island_id, after.first_position):
        found.append(f"an_attempt_stays_where_it_is: {key}")
    beating = BEATING.get()
    if after.lease_until > before.lease_until and beating and beating != after.island_id:
        found.append(f"only_its_holder_extends_a_lease: {key} of {after.island_id} by {beating}")
    return found


def _transfer(before: Any, after: Any) -> list[str]:
    return [f"entries_are_never_edited: {before.id}"]


def _reservation(before: Reservation, after: Reservation) -> list[str]:
    if before.status is not ReservationStatus.PENDING or before.amount != after.amount:
        return [f"a_reservation_is_released_once: {before.job_id} was {before.status.value}"]
    return []


CHANGES: Final[dict[str, Callable[[Any, Any], list[str]]]] = {
    "jobs": _job,
    "attempts": _attempt,
    "transfers": _transfer,
    "reservations": _reservation,
}
