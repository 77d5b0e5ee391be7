"""Planted bugs: each takes one guard out of the production code. The simulation must find every one of them."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from archipelag_coordinator.adapters.nats.island_bus import NatsIslandBus
from archipelag_coordinator.domain import settlement
from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Attempt, AttemptStatus
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.services import dispatch, submit, track, watch
from archipelag_coordinator.testing import memory_work
from archipelag_island.services import deliver

from simulation.determinism import swapped

Swap = tuple[Any, str, Any]


def _without(function: Callable[..., Any], *changes: tuple[str, str]) -> Callable[..., Any]:
    """The function with some of its source replaced. Every piece must be there: in thin air no bug can be planted."""
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in changes:
        assert source.count(old) == 1, f"{function.__qualname__} no longer has {old!r}"
        source = source.replace(old, new)
    module = inspect.getmodule(function)
    assert module is not None
    made: dict[str, Any] = {}
    exec(
        compile(source, f"planted {function.__name__}", "exec", _flags(module)),
        module.__dict__,
        made,
    )
    changed: Callable[..., Any] = made[function.__name__]
    return changed


def _flags(module: Any) -> int:
    return int(module.annotations.compiler_flag) if hasattr(module, "annotations") else 0


def epoch_check_off() -> list[Swap]:
    """Whatever an Island says counts, however old its epoch: in the nouns and in the store."""

    def anything(self: Job, epoch: int) -> None:
        """Nothing is too old."""

    def move(self: Attempt, to: AttemptStatus) -> Attempt:
        return replace(self, status=to)

    async def save(self: Any, attempt: Attempt, *, was: Attempt) -> None:
        self._state.attempts.put((attempt.job_id, attempt.epoch), attempt)

    return [
        (Job, "check_current", anything),
        (Attempt, "_move", move),
        (memory_work.MemoryAttempts, "save", save),
    ]


def reservation_not_voided() -> list[Swap]:
    """A job that ends without a charge keeps its customer's credits."""

    async def void(self: Any, job: Any) -> bool:
        return True

    return [(memory_work.MemoryLedger, "void", void)]


def position_check_off() -> list[Swap]:
    """Items are taken in whatever order and however often they come."""

    def accept(self: Answer, first: int, texts: Any, tokens: Any, now: float) -> str | None:
        self.heard_at = now
        self.texts += texts
        self.tokens += tokens or [0] * len(texts)
        self.wake()
        return None

    return [(Answer, "accept", accept)]


def outbox_sent_before_commit() -> list[Swap]:
    """The assignment is sent from inside the transaction that makes the attempt."""
    early: dict[tuple[str, int], Any] = {}
    assign = NatsIslandBus.assign

    async def assign_once(self: Any, assignment: Any, issued_at: Any, timeout_s: float) -> Any:
        key = (assignment.job_id, assignment.epoch)
        if key in early:
            return early.pop(key)
        return await assign(self, assignment, issued_at, timeout_s)

    async def send(world: Any, given: Any, answer: Any) -> None:
        heard(world, given, answer)
        told = dispatch._assignment(world, given, answer)
        said = await world.bus.assign(
            told, given.attempt.assigned_at, world.policy.assign_timeout_s
        )
        early[given.job.id, given.attempt.epoch] = said

    def listen(world: Any, given: Any, answer: Any) -> None:
        if (given.job.id, given.attempt.epoch) not in early:
            heard(world, given, answer)

    heard = dispatch._listen
    line = "await tx.attempts.add(attempt)"
    give = _without(
        dispatch._store_next,
        (
            line,
            f"{line}\n        await SEND_EARLY(world, Given(started, attempt, cargo, files), answer)",
        ),
    )
    give.__globals__["SEND_EARLY"] = send
    return [
        (dispatch, "_store_next", give),
        (dispatch, "_listen", listen),
        (NatsIslandBus, "assign", assign_once),
    ]


def report_of_anybody_settles() -> list[Swap]:
    """A report counts, whoever holds the lease."""
    settled = _without(track.track, (" or attempt.island_id != report.island_id", ""))
    return [*_everywhere(track.track, settled)]


def requeue_forgets_what_was_accepted() -> list[Swap]:
    """The next Island begins at position 0 again."""
    give = _without(dispatch._store_next, ("begin = Position(answer.next)", "begin = Position(0)"))
    return [(dispatch, "_store_next", give)]


def both_islands_are_paid_for_the_same_positions() -> list[Swap]:
    """What the first Island made is counted for the second one too."""

    def tiles(made: Any, items: int) -> list[range]:
        return [range(min(after, items)) for _, after in made]

    return [(settlement, "tiles", tiles)]


def journal_forgets_once_delivered() -> list[Swap]:
    """The broker's word is taken for the Coordinator's."""
    early = _without(
        deliver.deliver,
        (
            "world.journal.delivered(remembered.key)",
            "world.journal.delivered(remembered.key); world.journal.forget(remembered.key)",
        ),
    )
    return [(deliver, "deliver", early)]


def seek_off_by_one() -> list[Swap]:
    """A reader who comes back misses one item."""

    def seek(self: Any, position: int) -> None:
        self.position = max(0, min(position + (position > 0), self._answer.next))

    return [(watch.Reader, "seek", seek)]


def heartbeat_extends_anybodys_lease() -> list[Swap]:
    """An Island that names another's attempt keeps it alive."""
    extend = _without(memory_work.MemoryAttempts.extend, (" or attempt.island_id != island", ""))
    return [(memory_work.MemoryAttempts, "extend", extend)]


def another_answer_is_glued_on() -> list[Swap]:
    """A retry with its position is given whatever job its key makes now."""
    old = "before is None and submission.continues"
    return [*_everywhere(submit.submit, _without(submit.submit, (old, "False")))]


def same_key_makes_another_job() -> list[Swap]:
    """A retry under the same Idempotency-Key is a new job."""

    async def by_key(self: Any, user: Any, key: str) -> None:
        return None

    return [(memory_work.MemoryJobs, "by_idempotency_key", by_key)]


PLANTED: Final[dict[str, Callable[[], list[Swap]]]] = {
    planted.__name__: planted
    for planted in (
        epoch_check_off,
        reservation_not_voided,
        position_check_off,
        outbox_sent_before_commit,
        report_of_anybody_settles,
        requeue_forgets_what_was_accepted,
        both_islands_are_paid_for_the_same_positions,
        journal_forgets_once_delivered,
        seek_off_by_one,
        heartbeat_extends_anybodys_lease,
        another_answer_is_glued_on,
        same_key_makes_another_job,
    )
}

HINTS: Final[dict[str, int]] = {
    "epoch_check_off": 1,
    "reservation_not_voided": 3,
    "position_check_off": 2,
    "outbox_sent_before_commit": 1,
    "report_of_anybody_settles": 30,
    "requeue_forgets_what_was_accepted": 1,
    "both_islands_are_paid_for_the_same_positions": 1,
    "journal_forgets_once_delivered": 1,
    "seek_off_by_one": 2,
    "heartbeat_extends_anybodys_lease": 31,
    "another_answer_is_glued_on": 17,
    "same_key_makes_another_job": 2,
}
"""A seed that found it lately: where to look first, no more."""


def _everywhere(function: Callable[..., Any], changed: Callable[..., Any]) -> Iterator[Swap]:
    """Every module of ours that has imported it by its name."""
    import sys

    for name, module in sorted(sys.modules.items()):
        ours = name.startswith(("archipelag_coordinator", "archipelag_island"))
        if ours and module.__dict__.get(function.__name__) is function:
            yield module, function.__name__, changed


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """With this bug, or with none."""
    if name is None:
        yield
        return
    with swapped(*PLANTED[name]()):
        yield
