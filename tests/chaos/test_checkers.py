"""Each checker finds what it is there for: a run that kept its promises, with one thing gone wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import Ucredits

from .checkers import CHECKS, OUTAGE_CHECKS, Attempt, Books, Job, Transfer, broken_promises
from .readers import Ask, Reading, Receipt

AT = datetime(2026, 1, 1, tzinfo=UTC)
PRICE = Price(Ucredits(0), Ucredits(10), Ucredits(100))
TEXTS = tuple(f"{n} " for n in range(10))


def attempt(epoch: int, first: int, end: int, status: str, cause: str) -> Attempt:
    return Attempt(epoch, f"isl_{epoch}", f"usr_{epoch}", status, first, end, cause, "", AT, AT)


def a_job() -> Job:
    """Ten items: four from an Island that was lost, six from the next one."""
    return Job(
        id="job_1",
        user="usr_c",
        slug="fast",
        status="succeeded",
        epoch=2,
        cause="completed",
        error="",
        prompt_tokens=5,
        delivered=10,
        output_items=10,
        output="".join(TEXTS),
        charged=1050,
        reservation="posted",
        attempts=(
            attempt(1, 0, 4, "lost", "lease_lost"),
            attempt(2, 4, 10, "succeeded", "completed"),
        ),
    )


def the_books() -> Books:
    """1,050 are charged: 105 fees, 52 to the insurance, 893 to Islands: 450 : 600, as the first one read the prompt.
    Reading 5 + 4 tokens again costs 90, of which 77 are the second one's."""
    charge = {
        "user:usr_c": -1050,
        "platform:fees": 105,
        "platform:insurance": 52,
        "island_owner:usr_1": 383,
        "island_owner:usr_2": 510,
    }
    insured = {"platform:insurance": -77, "island_owner:usr_2": 77}
    transfers = [
        Transfer("charge:job_1", "job_1", charge),
        Transfer("insured:job_1:2", "job_1", insured),
    ]
    usage = {"job_1": {1: (0, 4, "lease_lost"), 2: (4, 10, "completed")}}
    posted = {transfer.id: transfer for transfer in transfers}
    return Books("usr_c", {"fast": PRICE}, {"job_1": a_job()}, posted, usage, {}, (), 0)


def a_reading() -> Reading:
    receipts = [Receipt(n + 1, text, n / 10) for n, text in enumerate(TEXTS)]
    return Reading(
        Ask("ask", {}, TEXTS, "".join(TEXTS)),
        jobs=["job_1"],
        receipts=receipts,
        roles=1,
        finish_reason="stop",
        usage={"completion_tokens": 10},
        ended=1.0,
        done=True,
    )


def job_with(**changes: object) -> Callable[[Books, Reading], tuple[Books, Reading]]:
    def plant(books: Books, reading: Reading) -> tuple[Books, Reading]:
        return replace(books, jobs={"job_1": replace(books.jobs["job_1"], **changes)}), reading

    return plant


def transfer_with(
    name: str, entries: dict[str, int] | None
) -> Callable[..., tuple[Books, Reading]]:
    def plant(books: Books, reading: Reading) -> tuple[Books, Reading]:
        others = {key: one for key, one in books.transfers.items() if key != name}
        if entries is not None:
            others[name] = Transfer(name, "job_1", entries)
        return replace(books, transfers=others), reading

    return plant


def reading_with(**changes: object) -> Callable[[Books, Reading], tuple[Books, Reading]]:
    return lambda books, reading: (books, replace(reading, **changes))


def receipts(*positions: int) -> list[Receipt]:
    return [Receipt(n, TEXTS[min(n, 10) - 1], 0.0) for n in positions]


LOST, DONE = a_job().attempts
CHARGE = the_books().transfers["charge:job_1"].entries
INSURED = the_books().transfers["insured:job_1:2"].entries

PLANTED = {
    "every_reader_came_to_the_end": reading_with(done=False, error="gave up"),
    "positions_come_once_and_in_order": reading_with(
        receipts=receipts(1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10)
    ),
    "positions_come_once_and_in_order (one left out)": reading_with(
        receipts=receipts(1, 2, 3, 5, 6, 7, 8, 9, 10)
    ),
    "positions_come_once_and_in_order (two swapped)": reading_with(
        receipts=[Receipt(1, TEXTS[1], 0), Receipt(2, TEXTS[0], 0), *receipts(*range(3, 11))]
    ),
    "texts_are_the_undisturbed_ones": reading_with(ask=Ask("ask", {}, (), "another text")),
    "answers_open_once": reading_with(roles=2),
    "every_job_has_ended_well": job_with(status="failed", cause="no_capacity", epoch=2),
    "no_job_was_lost_in_mid_answer": job_with(status="failed", cause="lease_lost", delivered=3),
    "no_job_was_lost_in_mid_answer (cancelled)": job_with(status="cancelled", delivered=0),
    "one_attempt_of_each_job_succeeded": job_with(
        attempts=(replace(LOST, status="succeeded"), DONE)
    ),
    "nothing_is_left_unfinished": job_with(reservation="pending"),
    "nothing_is_left_unfinished (an attempt)": job_with(
        attempts=(replace(LOST, status="running"), DONE)
    ),
    "attempts_share_the_answer_without_overlap": job_with(attempts=(replace(LOST, next=5), DONE)),
    "attempts_share_the_answer_without_overlap (a hole)": job_with(
        attempts=(LOST, replace(DONE, first=5))
    ),
    "one_job_for_each_request": reading_with(jobs=["job_0"]),
    "billed_is_delivered": job_with(output_items=11),
    "billed_is_delivered (stored otherwise)": job_with(output="something else"),
    "billed_is_delivered (charged twice)": job_with(charged=2100),
    "users_pay_islands_fees_and_insurance": transfer_with(
        "charge:job_1", CHARGE | {"platform:fees": 106, "island_owner:usr_2": 509}
    ),
    "users_pay_islands_fees_and_insurance (not posted)": transfer_with("charge:job_1", None),
    "each_island_is_paid_for_what_it_did": transfer_with(
        "charge:job_1", CHARGE | {"island_owner:usr_1": 0, "island_owner:usr_2": 893}
    ),
    "what_nobody_pays_for_is_insured": transfer_with("insured:job_1:2", None),
    "what_nobody_pays_for_is_insured (twice)": transfer_with(
        "insured:job_1:1", {"platform:insurance": -77, "island_owner:usr_1": 77}
    ),
    "what_nobody_pays_for_is_insured (for no attempt)": transfer_with("insured:job_1:3", INSURED),
    "what_nobody_pays_for_is_insured (too much)": transfer_with(
        "insured:job_1:2", {"platform:insurance": -78, "island_owner:usr_2": 78}
    ),
    "what_nobody_pays_for_is_insured (to somebody else)": transfer_with(
        "insured:job_1:2", {"platform:insurance": -77, "island_owner:usr_3": 77}
    ),
    "every_attempt_has_its_row_of_usage": lambda books, reading: (
        replace(books, usage={"job_1": {2: (4, 10, "completed")}}),
        reading,
    ),
    "failed_jobs_cost_nothing": job_with(status="failed"),
    "the_books_close": transfer_with("charge:job_1", CHARGE | {"user:usr_c": -1049}),
    "the_books_close (an account holds something else)": lambda books, reading: (
        replace(books, differences=("user:usr_c holds 1, 2 were due",)),
        reading,
    ),
}


def test_a_run_that_kept_its_promises_breaks_none() -> None:
    checks = (*CHECKS, *OUTAGE_CHECKS)

    assert broken_promises(the_books(), [a_reading()], checks) == {}


def test_a_request_may_be_told_to_come_later_while_everything_is_away() -> None:
    books, reading = job_with(status="failed", delivered=0, charged=0)(the_books(), a_reading())

    broken = broken_promises(books, [reading], (*CHECKS, *OUTAGE_CHECKS))

    assert "no_job_was_lost_in_mid_answer" not in broken
    assert "every_job_has_ended_well" in broken


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found_by_its_checker(planted: str) -> None:
    promise = planted.partition(" ")[0]

    books, reading = PLANTED[planted](the_books(), a_reading())

    assert promise in broken_promises(books, [reading], (*CHECKS, *OUTAGE_CHECKS))
