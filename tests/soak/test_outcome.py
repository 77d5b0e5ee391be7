"""Each promise of a soak finds what it is there for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.chaos.checkers import Job, broken_promises
from tests.chaos.faults import Log
from tests.chaos.network import Network, Plan
from tests.chaos.readers import Receipt, fast_ask
from tests.chaos.test_checkers import a_job, the_books

from .crowd import NO_BOOKS, Crowd, Kind, Told
from .gauges import LOOKED_S, Sample, growth, spent
from .leftovers import more
from .outcome import (
    IMPATIENT_CHECKS,
    jobs_ended_well_or_were_cancelled,
    memory_does_not_grow,
    nobody_was_told_of_a_fault_of_ours,
    nothing_is_left,
    troubles,
)
from .report import drawn

WARM_S = 100.0


def a_life(life: int, *, from_s: float, mb: Sequence[float], every_s: float = 10.0) -> list[Sample]:
    """Samples of one process, which was started at `from_s`."""
    return [
        Sample("c0", life, from_s + n * every_s, n * every_s, memory, 10)
        for n, memory in enumerate(mb)
    ]


def test_memory_that_grows_steadily_is_told_in_megabytes_an_hour() -> None:
    taken = a_life(1, from_s=0, mb=[80 + n * 0.1 for n in range(100)])

    found = growth("c0", taken, WARM_S)

    assert found.mb_per_h == pytest.approx(36.0)
    assert list(memory_does_not_grow([("Coordinator", replace(found, mb_per_h=61.0))]))
    assert not list(memory_does_not_grow([("Coordinator", replace(found, mb_per_h=59.0))]))


def test_what_fills_while_a_process_is_young_is_no_growth() -> None:
    taken = a_life(1, from_s=0, mb=[min(80.0, 50 + n * 3) for n in range(100)])

    assert growth("c0", taken, WARM_S).mb_per_h == 0


def test_what_the_processor_did_is_summed_over_all_lives_without_what_was_before() -> None:
    def sample(part: str, life: int, at_s: float, age_s: float, cpu_s: float) -> Sample:
        return Sample(part, life, at_s, age_s, 80.0, 10, cpu_s)

    taken = [
        sample("c0", 1, 0, 100, 40.0),
        sample("c0", 1, 50, 150, 45.0),  # 5 of them in the soak.
        sample("c0", 2, 60, 3, 2.0),
        sample("c0", 2, 100, 43, 8.0),  # It began in it.
        sample("i3", 3, 100, 200, 50.0),
    ]

    assert spent(taken) == {"Coordinator": 13.0, "Island": 0.0}


def test_one_process_that_is_larger_than_the_one_before_is_no_growth() -> None:
    taken = [
        *a_life(1, from_s=0, mb=[80.0] * 40),
        *a_life(2, from_s=400, mb=[90.0] * 40),
    ]

    assert growth("c0", taken, WARM_S).mb_per_h == 0


def test_a_few_outliers_are_no_growth() -> None:
    taken = a_life(1, from_s=0, mb=[80.0 + (40.0 if n % 17 == 0 else 0.0) for n in range(100)])

    assert growth("c0", taken, WARM_S).mb_per_h == 0


def test_of_a_short_look_nothing_is_said() -> None:
    short = int((WARM_S + LOOKED_S) / 10)

    found = growth("c0", a_life(1, from_s=0, mb=[80.0 + n for n in range(short)]), WARM_S)

    assert found.mb_per_h is None
    assert not list(memory_does_not_grow([("Coordinator", found)]))


def test_what_is_held_afterwards_and_was_not_before_is_left() -> None:
    before = {"reservations held": 0, "c0: open files": 30, "NATS: consumers of OUTPUT": 2}

    assert not list(nothing_is_left(more(before, before | {"c0: open files": 35})))
    assert len(list(nothing_is_left(more(before, before | {"c0: open files": 60})))) == 1
    assert len(list(nothing_is_left(more(before, before | {"reservations held": 1})))) == 1
    assert len(list(nothing_is_left(more(before, {"i9: runs": 1})))) == 1


def test_only_answers_that_nobody_is_promised_are_faults_of_ours() -> None:
    assert not list(nobody_was_told_of_a_fault_of_ours({"503 unavailable": 3, "429 slow_down": 1}))
    assert len(list(nobody_was_told_of_a_fault_of_ours({"500 internal": 1, "502 Bad": 1}))) == 2


def cancelled(**changed: object) -> Job:
    """Four items were delivered; they and the prompt cost 450."""
    (first, _) = a_job().attempts
    told = {"status": "cancelled", "cause": "cancelled", "delivered": 4, "attempts": (first,)}
    return replace(a_job(), **told | {"charged": 450} | changed)


@pytest.mark.parametrize(
    ("job", "found"),
    [
        (cancelled(), False),
        (cancelled(charged=0), False),
        (cancelled(charged=1050), True),
        (cancelled(status="failed"), True),
    ],
)
def test_who_cancels_pays_what_was_delivered(job: Job, found: bool) -> None:
    books = replace(the_books(), jobs={job.id: job})

    broken = broken_promises(books, [], IMPATIENT_CHECKS[-2:])

    assert bool(broken) is found


def test_errors_in_logs_are_counted_without_what_differs(tmp_path: Path) -> None:
    log = tmp_path / "c0.log"
    log.write_text(
        "2026-11-28 01:00:00,123 ERROR a.b job_lost job=job_01k2 after 12 s\n"
        "2026-11-28 01:00:01,123 ERROR a.b job_lost job=job_07f9 after 345 s\n"
        "2026-11-28 01:00:01,124 WARNING a.b not counted\n"
        "Traceback (most recent call last):\n"
        "ValueError: no such thing\n"
    )

    assert troubles([log]) == {
        "a.b job_lost job=… after … s": 2,
        "ValueError: no such thing": 1,
    }


async def test_a_reader_is_judged_by_its_receipts_before_they_are_let_go(tmp_path: Path) -> None:
    crowd = Crowd(Network(Plan(), tmp_path), Log(), Random(1), rate=4, items=(3, 3))
    ask = fast_ask("k", seed=7, items=3, delay_ms=1)
    right = [Receipt(n + 1, text, float(n)) for n, text in enumerate(ask.expected)]
    whole = Told(ask, ["job_1"], list(right), roles=1, done=True)
    gap = Told(ask, ["job_2"], [right[0], right[2]], roles=1, done=True)
    twice = [Told(ask, [job], list(right), roles=1, done=True, kind=Kind.TWICE) for job in "ab"]

    crowd._sum_up([whole])
    assert not crowd.seen.complaints and whole.text == ask.text and whole.position == 3
    assert len(whole.receipts) == 1 and crowd.seen.pauses_s == [1.0]

    crowd._sum_up([gap])
    assert any(
        "were due" in complaint or "was due" in complaint for complaint in crowd.seen.complaints
    )
    crowd.seen.complaints.clear()

    crowd._sum_up(twice)
    assert crowd.seen.complaints == ["k was asked twice and made two jobs"]
    await crowd.leave()


def test_the_picture_has_a_line_for_each_life() -> None:
    taken = [*a_life(1, from_s=0, mb=[80.0] * 4), *a_life(2, from_s=40, mb=[90.0] * 4)]

    picture = drawn("Coordinator", taken, marks=[40.0], until_s=80.0)

    assert picture.count('stroke-width="1.5"') == 2 and picture.count("stroke-dasharray") == 1


@pytest.mark.parametrize(
    ("kind", "charged", "complaints"),
    [(Kind.LEAVES, 0, 0), (Kind.LEAVES, 7, 1), (Kind.CANCELS, 0, 1), (Kind.STEADY, 0, 1)],
)
def test_only_whose_reader_left_for_good_may_be_lost_with_its_coordinator_and_for_nothing(
    kind: Kind, charged: int, complaints: int
) -> None:
    job = Job(
        "job_1",
        "usr_c",
        "fast",
        "failed",
        1,
        "coordinator_lost",
        "",
        3,
        2,
        0,
        "",
        charged,
        None,
        (),
    )
    books = replace(NO_BOOKS, jobs={job.id: job})
    told = Told(fast_ask("soak-1", 1, 5, 10), kind=kind)
    told.jobs = [job.id]

    assert len(list(jobs_ended_well_or_were_cancelled(books, [told]))) == complaints
