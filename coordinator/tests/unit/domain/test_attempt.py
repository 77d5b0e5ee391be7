"""An attempt's moves, as a table."""

from datetime import timedelta

import pytest
from archipelag_contracts.ids import Position
from archipelag_coordinator.domain.attempt import (
    HOST_CAUSES,
    MOVES,
    RETRYABLE,
    AttemptStatus,
    Cause,
    Usage,
)
from archipelag_coordinator.errors import IllegalMove
from archipelag_coordinator.testing.builders import a_job, an_attempt, an_island
from archipelag_coordinator.testing.fakes import START

A = AttemptStatus
USAGE = Usage(prompt_tokens=4, output_items=3)
ENDS = {
    A.SUCCEEDED: lambda a: a.succeed(START, USAGE, Position(3), b"report"),
    A.FAILED: lambda a: a.fail(START, Cause.CARGO_DIED, "died", Position(2)),
    A.REFUSED: lambda a: a.refuse(START, "full"),
    A.LOST: lambda a: a.lose(START, "silent", Position(1)),
    A.CANCELLED: lambda a: a.cancel(START, "left", Position(1), USAGE),
}


def attempt(**changes):
    return an_attempt(a_job(), an_island(), **changes)


@pytest.mark.parametrize("to", ENDS)
@pytest.mark.parametrize("status", AttemptStatus)
def test_endings_are_those_of_the_table(status, to):
    if to in MOVES[status]:
        ended = ENDS[to](attempt(status=status))
        assert (ended.status, ended.finished, ended.ended_at) == (to, True, START)
    else:
        with pytest.raises(IllegalMove):
            ENDS[to](attempt(status=status))


def test_heartbeat_starts_it_and_keeps_the_lease():
    first = attempt().extend(START, 60)
    second = first.extend(START + timedelta(seconds=30), 60)

    assert (first.status, first.started_at) == (A.RUNNING, START)
    assert (second.started_at, second.lease_until) == (START, START + timedelta(seconds=90))
    assert not second.finished


def test_ended_attempt_cannot_be_extended():
    with pytest.raises(IllegalMove):
        attempt(status=A.LOST).extend(START, 60)


@pytest.mark.parametrize(
    ("to", "cause", "positions"),
    [
        (A.SUCCEEDED, Cause.COMPLETED, 3),
        (A.FAILED, Cause.CARGO_DIED, 2),
        (A.REFUSED, Cause.REFUSED, 0),
        (A.LOST, Cause.LEASE_LOST, 1),
        (A.CANCELLED, Cause.CANCELLED, 1),
    ],
)
def test_endings_keep_cause_and_positions(to, cause, positions):
    ended = ENDS[to](attempt())

    assert (ended.cause, ended.positions) == (cause, positions)


def test_failing_keeps_usage_reason_and_report_within_bounds():
    failed = attempt().fail(START, Cause.BAD_OUTPUT, "x" * 900, Position(0), USAGE, b"raw")

    assert (failed.usage, len(failed.reason), failed.report) == (USAGE, 500, b"raw")
    assert ENDS[A.FAILED](attempt()).usage == Usage()


def test_positions_never_go_back():
    with pytest.raises(AssertionError):
        attempt(first_position=Position(5)).lose(START, "", Position(4))


def test_customers_and_cargos_faults_are_not_the_hosts():
    ours = {Cause.COMPLETED, Cause.CANCELLED, Cause.BAD_INPUT, Cause.CARGO_FAILED, Cause.DEADLINE}

    assert not ours & HOST_CAUSES
    assert not ours & RETRYABLE
