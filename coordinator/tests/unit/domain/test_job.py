"""A job's moves, as a table."""

from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import Epoch, Position
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.items import Items
from archipelag_coordinator.domain.job import EPOCHS_APART, EPOCHS_MAX, MOVES, JobStatus
from archipelag_coordinator.errors import IllegalMove, StaleAttempt
from archipelag_coordinator.testing.builders import a_job
from archipelag_coordinator.testing.fakes import START

Q, R, S, F, C = JobStatus
ENDED = {"prompt_tokens": 3, "charged": Ucredits(7)}
ACTS = {
    "start": (R, lambda j: j.start(START)),
    "requeue": (Q, lambda j: j.requeue(j.epoch, "lost", START)),
    "succeed": (
        S,
        lambda j: j.succeed(
            j.epoch, START, texts=("o", "u", "", "t"), finish_reason="stop", **ENDED
        ),
    ),
    "fail": (F, lambda j: j.fail(START, Cause.BAD_INPUT, "why")),
    "cancel": (C, lambda j: j.cancel(START, reason="r", delivered=2, texts=("o", ""), **ENDED)),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("status", JobStatus)
def test_moves_are_those_of_the_table(status, act):
    to, move = ACTS[act]
    job = a_job(status=status, epoch=Epoch(1))

    if to in MOVES[status]:
        assert move(job).status is to
    else:
        with pytest.raises((IllegalMove, StaleAttempt)):
            move(job)


def test_finished_states_have_no_way_out():
    assert [a_job(status=s).finished for s in JobStatus] == [False, False, True, True, True]


def test_starting_begins_the_next_epoch_and_keeps_the_first_start():
    waiting = a_job().wait(("nobody",))
    first = waiting.start(START)
    second = first.requeue(Epoch(1), "lost", START).start(START.replace(year=2027))

    assert waiting.waiting_for == ("nobody",)
    assert (first.epoch, first.waiting_for) == (1, ())
    assert (second.epoch, second.started_at) == (2, START)


def test_success_keeps_what_was_said_and_charged():
    done = ACTS["succeed"][1](a_job().start(START))

    assert (done.output, done.finish_reason, done.cause) == ("out", "stop", Cause.COMPLETED)
    assert (done.delivered, done.output_items, done.charged, done.ended_at) == (4, 4, 7, START)


def test_stored_output_is_read_item_by_item():
    done = ACTS["succeed"][1](a_job().start(START))
    from_before_cuts = replace(done, cuts=b"")

    assert done.items() == Items(0, ("o", "u", "", "t"), (0,) * 4)
    assert from_before_cuts.items() == Items(0, ("out", "", "", ""), (0,) * 4)
    assert a_job().items() == Items()


def test_failing_gives_the_idempotency_key_up_and_keeps_the_higher_mark():
    job = a_job(idempotency_key="k", delivered=Position(5))

    failed = job.fail(START, Cause.DEADLINE, "x" * 3000, delivered=3)

    assert failed.idempotency_key is None
    assert (failed.delivered, len(failed.error), failed.cause) == (5, 2000, Cause.DEADLINE)


def test_cancelling_without_output_has_none():
    cancelled = a_job().cancel(START, reason="r", delivered=0, texts=(), **ENDED)

    assert (cancelled.output, cancelled.cause, cancelled.error) == (None, Cause.CANCELLED, "r")


@pytest.mark.parametrize(("epoch", "status"), [(2, R), (0, R), (1, Q), (1, S)])
def test_other_epochs_are_stale(epoch, status):
    with pytest.raises(StaleAttempt):
        a_job(epoch=Epoch(1), status=status).check_current(Epoch(epoch))


@pytest.mark.parametrize(
    ("cause", "tries", "epoch", "expected"),
    [
        (Cause.LEASE_LOST, 1, 1, True),
        (Cause.CARGO_DIED, 2, 9, True),
        (Cause.BAD_OUTPUT, 1, 1, True),
        (Cause.LEASE_LOST, 3, 3, False),
        (Cause.LEASE_LOST, 1, EPOCHS_MAX, False),
        (Cause.LEASE_LOST, 1, EPOCHS_APART + 1, True),
        (Cause.LEASE_LOST, 1, EPOCHS_APART + EPOCHS_MAX, False),
        (Cause.CARGO_FAILED, 1, 1, False),
        (Cause.BAD_INPUT, 1, 1, False),
    ],
)
def test_another_island_may_try(cause, tries, epoch, expected):
    job = a_job(status=R, epoch=Epoch(epoch))

    assert job.may_try_again(cause, tries=tries) is expected


def test_a_job_that_is_queued_again_gets_time_to_find_another_island_but_no_later_deadline():
    job = a_job().start(START)
    soon, late = START + timedelta(seconds=40), START + timedelta(days=1)

    assert job.requeue(Epoch(1), "lost", soon).queue_until == soon
    assert job.requeue(Epoch(1), "lost", START).queue_until == job.queue_until
    assert job.requeue(Epoch(1), "lost", late).queue_until == job.deadline_at
