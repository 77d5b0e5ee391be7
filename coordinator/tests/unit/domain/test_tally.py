"""What a process did, in plain numbers: durations in bounds, jobs by how they ended."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from archipelag_contracts.ids import Epoch, JobId
from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.histogram import Example, Histogram
from archipelag_coordinator.domain.tally import Tally
from archipelag_coordinator.testing.builders import a_job, an_attempt, an_island

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_duration_counts_at_the_first_bound_that_holds_it() -> None:
    measured = Histogram((0.1, 1.0))

    for seconds in (0.05, 0.1, 0.5, 7.0, -3.0):
        measured.add(seconds)

    assert measured.counts == [3, 1, 1]
    assert measured.rising() == [3, 4, 5]
    assert measured.count == 5
    assert measured.sum_s == pytest.approx(7.65)


def test_the_newest_example_of_each_bound_is_kept() -> None:
    measured = Histogram((0.1, 1.0))
    first, second, slow = (Example(s, f"{s}", 0.0) for s in (0.02, 0.03, 5.0))

    for one in (first, second, slow):
        measured.add(one.seconds, one)

    assert measured.examples == {0: second, 2: slow}


def test_bounds_that_do_not_rise_are_our_mistake() -> None:
    with pytest.raises(AssertionError):
        Histogram((1.0, 1.0))


def test_a_lost_attempt_whose_job_goes_on_is_a_failover() -> None:
    tally, island, job = Tally(), an_island(), a_job()
    running = job.start(NOON)
    attempt = an_attempt(running, island)
    lost = attempt.lose(NOON, "silent", attempt.first_position)
    waiting = running.requeue(running.epoch, "silent", NOON)

    tally.ended(waiting, lost)

    assert tally.failovers == 1
    assert tally.attempts == {("lost", "lease_lost"): 1}
    assert not tally.jobs


def test_a_failed_job_is_counted_by_its_cause() -> None:
    tally = Tally()
    job = a_job()
    failed = job.fail(NOON, Cause.NO_CAPACITY, "nobody")

    tally.ended(failed, None)

    assert tally.jobs == {(job.cargo_slug, "failed", "no_capacity"): 1}
    assert not tally.attempts


def test_only_who_saw_an_answer_begin_tells_how_fast_it_was() -> None:
    tally = Tally()
    seen, recalled = (
        Answer(JobId(f"job_{n}"), items_max=9, size_bytes_max=99, now=10.0) for n in range(2)
    )
    recalled.recalled = True
    for answer in (seen, recalled):
        answer.begin(Epoch(1), 10.0)
        answer.accept(0, ["a"], [], 10.5)
        answer.accept(1, ["b", "c"], [], 11.5)
        tally.answered(answer)

    assert tally.first_item.count == 1
    assert tally.first_item.sum_s == pytest.approx(0.5)
    assert tally.between_items.sum_s == pytest.approx(0.5)
    assert tally.output_bytes == 6


def test_items_are_counted_as_they_flow_and_each_position_once() -> None:
    tally = Tally()
    answer = Answer(JobId("job_1"), items_max=9, size_bytes_max=99, now=0.0, workload="chat")
    answer.begin(Epoch(1), 0.0)
    answer.accept(0, ["a", "b", "c"], [], 0.0)

    tally.flowed([answer])
    tally.flowed([answer])
    flowing = tally.items["chat"]
    answer.cut_back(1)
    answer.begin(Epoch(2), 0.0)
    answer.accept(1, ["b"], [], 0.0)
    tally.flowed([answer])
    made_anew = tally.items["chat"]
    answer.accept(2, ["c", "d"], [], 0.0)
    tally.flowed([answer])

    assert (flowing, made_anew, tally.items["chat"]) == (3, 3, 4)


def test_a_copy_for_readers_is_its_homes_to_count() -> None:
    tally = Tally()
    copy = Answer(JobId("job_1"), items_max=9, size_bytes_max=99, now=0.0, workload="chat")
    copy.follows = True
    copy.accept(0, ["a"], [], 0.0)

    tally.flowed([copy])

    assert not tally.items
