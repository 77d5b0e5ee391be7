"""The answers of one process: found by job, bounded in number."""

from __future__ import annotations

from archipelag_contracts.ids import JobId
from archipelag_coordinator.domain.answer import Answer, Ending
from archipelag_coordinator.domain.answers import Answers
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.testing.builders import an_id


def opened(answers: Answers) -> Answer:
    return answers.open(JobId(an_id("job")), items_max=8, size_bytes_max=100, now=0.0)


def test_opening_twice_is_the_same_answer_and_dropping_forgets_it() -> None:
    answers = Answers()
    first = opened(answers)

    again = answers.open(first.job_id, items_max=8, size_bytes_max=100, now=1.0)
    answers.drop(first.job_id)

    assert again is first
    assert answers.get(first.job_id) is None and len(answers) == 0


def test_finished_ones_that_nobody_reads_make_room_oldest_first() -> None:
    answers = Answers(kept_max=10)
    old, read, running = opened(answers), opened(answers), opened(answers)
    read.readers = 1
    for one in (old, read):
        one.finish(Ending(Cause.COMPLETED))
    later = [opened(answers) for _ in range(7)]

    newest = opened(answers)

    assert answers.get(old.job_id) is None
    kept = [read, running, *later, newest]
    assert answers.all() == kept


def test_running_ones_are_never_dropped_for_room() -> None:
    answers = Answers(kept_max=2)

    all_of_them = [opened(answers) for _ in range(5)]

    assert answers.all() == all_of_them
