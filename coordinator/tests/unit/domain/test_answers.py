"""The answers of one process: found by job, bounded in number."""

from __future__ import annotations

from archipelag_contracts.ids import JobId
from archipelag_coordinator.domain.answer import Answer, Ending
from archipelag_coordinator.domain.answers import Answers
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.testing.builders import a_job, a_user, an_id


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


def test_whoever_asks_the_same_again_is_answered_while_it_goes_on_or_after_a_good_end() -> None:
    answers = Answers()
    job = a_job(a_user(), idempotency_key="key")
    answers.remember(job)
    early = answers.asked(job.user_id, "key")
    answer = answers.open(job.id, items_max=8, size_bytes_max=100, now=0.0)
    answers.remember(job)

    going_on = answers.asked(job.user_id, "key")
    strangers = answers.asked(a_user().id, "key")
    answer.finish(Ending(Cause.COMPLETED))
    after = answers.asked(job.user_id, "key")

    assert (early, going_on, strangers, after) == (None, job, None, job)


def test_what_failed_is_asked_for_anew_and_what_is_dropped_is_forgotten() -> None:
    answers = Answers()
    user = a_user()
    failed, dropped = (a_job(user, idempotency_key=key) for key in ("failed", "dropped"))
    for job in (failed, dropped):
        answers.open(job.id, items_max=8, size_bytes_max=100, now=0.0)
        answers.remember(job)
    answers.all()[0].finish(Ending(Cause.NO_CAPACITY, error="nobody"))
    answers.drop(dropped.id)

    assert answers.asked(user.id, "failed") is None
    assert answers.asked(user.id, "dropped") is None


def test_a_key_that_was_given_up_belongs_to_its_newest_job() -> None:
    answers = Answers()
    user = a_user()
    old, new = (a_job(user, idempotency_key="key") for _ in range(2))
    for job in (old, new):
        answers.open(job.id, items_max=8, size_bytes_max=100, now=0.0)
        answers.remember(job)

    answers.drop(old.id)

    assert answers.asked(user.id, "key") == new
