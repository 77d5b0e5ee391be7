"""The promises, each a function over what stands in PostgreSQL and what the readers hold in their hands.

Nothing here asks the code under test how money is shared: the rules of pay are written down a second time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from archipelag_contracts.manifest import Price
from psycopg.rows import dict_row

from .readers import Reading

FEES_BP: Final = 1_000
INSURANCE_BP: Final = 500
FEES: Final = "platform:fees"
INSURANCE: Final = "platform:insurance"
UNFINISHED: Final = frozenset({"queued", "running"})
UNPAID: Final = frozenset({"bad_output", "refused"})


@dataclass(frozen=True)
class Attempt:
    epoch: int
    island: str
    owner: str
    status: str
    first: int
    next: int
    cause: str | None
    reason: str
    assigned_at: datetime
    ended_at: datetime | None

    @property
    def positions(self) -> int:
        return self.next - self.first


@dataclass(frozen=True)
class Job:
    id: str
    user: str
    slug: str
    status: str
    epoch: int
    cause: str | None
    error: str
    prompt_tokens: int
    delivered: int
    output_items: int
    output: str
    charged: int
    reservation: str | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True)
class Transfer:
    id: str
    job: str | None
    entries: dict[str, int]
    """By whole account: what an account's parts hold together."""


@dataclass(frozen=True)
class Books:
    """One snapshot of everything that concerns one customer's run, and of the books as a whole."""

    customer: str
    prices: dict[str, Price]
    jobs: dict[str, Job]
    transfers: dict[str, Transfer]
    usage: dict[str, dict[int, tuple[int, int, str | None]]]
    """By job and epoch: first and next position, cause."""
    owed: dict[tuple[str, int], int]
    """What the insurance was due and did not pay, by job and epoch."""
    differences: tuple[str, ...]
    """Accounts that do not hold what their entries and reservations say."""
    sum_of_all: int


Check = Callable[[Books, Sequence[Reading]], Iterator[str]]


# --- What readers were promised ------------------------------------------------------------------------------------


def every_reader_came_to_the_end(_: Books, readings: Sequence[Reading]) -> Iterator[str]:
    for reading in readings:
        if not reading.done:
            tried = "; ".join(f"{what}" for _, what in reading.breaks[-3:])
            refused = dict(reading.refusals)
            yield (
                f"{reading.ask.key} has {reading.position} positions and no end: "
                f"{reading.error or 'no error'} (breaks: {tried or 'none'}; refusals: {refused})"
            )


def positions_come_once_and_in_order(_: Books, readings: Sequence[Reading]) -> Iterator[str]:
    for reading in readings:
        at = 0
        for receipt in reading.receipts:
            if receipt.position <= at:
                yield f"{reading.ask.key} got position {receipt.position} after {at}: delivered twice"
                break
            expected = reading.ask.expected
            if expected and receipt.text != "".join(expected[at : receipt.position]):
                yield (
                    f"{reading.ask.key} got {receipt.text[:60]!r} as positions {at} to "
                    f"{receipt.position}; {''.join(expected[at : receipt.position])[:60]!r} was due"
                )
                break
            at = receipt.position


def texts_are_the_undisturbed_ones(_: Books, readings: Sequence[Reading]) -> Iterator[str]:
    for reading in readings:
        if reading.done and reading.ask.text is not None and reading.text != reading.ask.text:
            got, due = reading.text.encode(), reading.ask.text.encode()
            same = next(
                (i for i, (a, b) in enumerate(zip(got, due, strict=False)) if a != b),
                min(len(got), len(due)),
            )
            yield f"{reading.ask.key}: {len(got)} bytes, {len(due)} were due; first {same} alike"


def answers_open_once(_: Books, readings: Sequence[Reading]) -> Iterator[str]:
    for reading in readings:
        if reading.done and reading.roles != 1:
            yield f"{reading.ask.key} was greeted {reading.roles} times"


# --- What became of jobs -------------------------------------------------------------------------------------------


def every_job_has_ended_well(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    for job in books.jobs.values():
        if job.status != "succeeded":
            yield f"{job.id} is {job.status}: {job.cause}, {job.error}"


def no_job_was_lost_in_mid_answer(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    """What could not begin may have been refused, with a clear word; what had begun came to its end."""
    for job in books.jobs.values():
        refused = job.status == "failed" and not job.delivered
        if job.status != "succeeded" and not refused:
            yield f"{job.id} is {job.status} after {job.delivered} items: {job.cause}, {job.error}"


def one_attempt_of_each_job_succeeded(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    for job in books.jobs.values():
        done = [a.epoch for a in job.attempts if a.status == "succeeded"]
        due = [job.epoch] if job.status == "succeeded" else []
        if done != due:
            yield f"{job.id} is {job.status} at epoch {job.epoch}; attempts {done} succeeded"


def nothing_is_left_unfinished(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    for job in books.jobs.values():
        if job.status in UNFINISHED:
            yield f"{job.id} is still {job.status}"
        for attempt in job.attempts:
            if attempt.status in ("assigned", "running"):
                yield f"{job.id} epoch {attempt.epoch} is still {attempt.status}"
        if job.status not in UNFINISHED and job.reservation == "pending":
            yield f"{job.id} has ended and still holds credits"


def attempts_share_the_answer_without_overlap(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    for job in books.jobs.values():
        if job.status != "succeeded":
            continue
        at = 0
        for attempt in job.attempts:
            if attempt.positions and attempt.first != at:
                yield f"{job.id} epoch {attempt.epoch} begins at {attempt.first}, {at} was due"
            at = max(at, attempt.next)
        if at != job.output_items:
            yield f"{job.id} has {job.output_items} items; its attempts reach to {at}"


def one_job_for_each_request(books: Books, readings: Sequence[Reading]) -> Iterator[str]:
    for reading in readings:
        ended_well = [j for j in reading.jobs if _status(books, j) == "succeeded"]
        if reading.done and len(ended_well) != 1:
            yield f"{reading.ask.key} was answered by {len(ended_well)} jobs of {reading.jobs}"


# --- What was paid -------------------------------------------------------------------------------------------------


def billed_is_delivered(books: Books, readings: Sequence[Reading]) -> Iterator[str]:
    for reading in readings:
        job = books.jobs.get(reading.jobs[-1]) if reading.jobs else None
        if not reading.done or job is None:
            continue
        told = reading.usage.get("completion_tokens")
        counts = {reading.position, job.output_items, told}
        if len(counts) != 1:
            yield f"{job.id}: {reading.position} delivered, {job.output_items} billed, {told} told"
        if job.output != reading.text:
            yield f"{job.id}: what is stored is not what was delivered"
        price = books.prices[job.slug]
        due = (
            price.job_ucredits
            + price.prompt_token_ucredits * job.prompt_tokens
            + price.output_item_ucredits * job.output_items
        )
        if job.charged != due:
            yield f"{job.id}: {job.charged} micro-credits charged, {due} were due"


def users_pay_islands_fees_and_insurance(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    """One transfer a job: from the customer, to the Islands, fees and the insurance's share."""
    for job in books.jobs.values():
        transfer = books.transfers.get(f"charge:{job.id}")
        if job.charged == 0:
            if transfer is not None:
                yield f"{job.id} cost nothing, and yet {transfer.entries} was posted"
            continue
        if transfer is None:
            yield f"{job.id} cost {job.charged}, and nothing was posted"
            continue
        fees, share = job.charged * FEES_BP // 10_000, job.charged * INSURANCE_BP // 10_000
        others = dict(transfer.entries)
        paid = -others.pop(f"user:{job.user}", 0)
        if (paid, others.pop(FEES, 0), others.pop(INSURANCE, 0)) != (job.charged, fees, share):
            yield f"{job.id}: {transfer.entries} for a charge of {job.charged}"
        if sum(others.values()) != job.charged - fees - share:
            yield f"{job.id}: Islands got {others} of {job.charged - fees - share}"


def each_island_is_paid_for_what_it_did(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    """Out of the charge: delivered items to who made them, the prompt to who read it first, the rest in proportion."""
    for job in books.jobs.values():
        transfer = books.transfers.get(f"charge:{job.id}")
        if job.status != "succeeded" or transfer is None:
            continue
        price = books.prices[job.slug]
        worth = _in_the_charge(job, price)
        whole = job.charged - job.charged * FEES_BP // 10_000 - job.charged * INSURANCE_BP // 10_000
        due: dict[str, float] = defaultdict(float)
        for attempt, amount in worth:
            due[f"island_owner:{attempt.owner}"] += whole * amount / sum(n for _, n in worth)
        for owner in due.keys() | {e for e in transfer.entries if e.startswith("island_owner:")}:
            got = transfer.entries.get(owner, 0)
            # Each attempt is rounded by less than one micro-credit.
            if abs(got - due.get(owner, 0.0)) >= len(worth):
                yield f"{job.id}: {owner} got {got}, {due.get(owner, 0.0):.1f} were due"


def what_nobody_pays_for_is_insured(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    """Who went on where another ended read prompt and prefix again: the insurance pays that, once, or owes it."""
    for job in books.jobs.values():
        if job.status != "succeeded":
            continue
        price = books.prices[job.slug]
        for attempt in job.attempts:
            paid = {a.epoch: amount for a, amount in _in_the_charge(job, price)}
            did = _worth(job, attempt, price) - paid.get(attempt.epoch, 0)
            due = max(0, did)
            due -= due * FEES_BP // 10_000 + due * INSURANCE_BP // 10_000
            name = f"insured:{job.id}:{attempt.epoch}"
            posted = books.transfers[name].entries if name in books.transfers else {}
            got = posted.get(f"island_owner:{attempt.owner}", 0)
            if posted and posted != {INSURANCE: -got, f"island_owner:{attempt.owner}": got}:
                yield f"{name}: {posted} was posted"
            if got + books.owed.get((job.id, attempt.epoch), 0) != due:
                yield f"{name}: {posted or 'nothing'} was posted, {due} was due"
    epochs = {f"insured:{job.id}:{a.epoch}" for job in books.jobs.values() for a in job.attempts}
    for name in books.transfers:
        if name.startswith("insured:") and name not in epochs:
            yield f"{name} was posted, for an attempt that never was"


def every_attempt_has_its_row_of_usage(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    for job in books.jobs.values():
        ended = {a.epoch: (a.first, a.next, a.cause) for a in job.attempts if a.ended_at}
        told = books.usage.get(job.id, {})
        if told != ended:
            yield f"{job.id}: rows of usage {told}, {ended} were due"


def _paid(attempt: Attempt) -> bool:
    """Whether it is paid at all: it showed something that it did, and kept the protocol."""
    return attempt.cause not in UNPAID and bool(attempt.positions or attempt.cause == "completed")


def _in_the_charge(job: Job, price: Price) -> list[tuple[Attempt, int]]:
    """Of each attempt that is paid, the price of what the customer pays for."""
    paid = [attempt for attempt in job.attempts if _paid(attempt)]
    reader = next((a for a in paid if a.positions), paid[-1] if paid else None)
    prompt = job.prompt_tokens * price.prompt_token_ucredits
    return [
        (a, a.positions * price.output_item_ucredits + (prompt if a is reader else 0)) for a in paid
    ]


def _worth(job: Job, attempt: Attempt, price: Price) -> int:
    """The price of what it made and read."""
    if not _paid(attempt):
        return 0
    read = job.prompt_tokens + attempt.first
    made = attempt.positions * price.output_item_ucredits
    return int(made + read * price.prompt_token_ucredits)


def failed_jobs_cost_nothing(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    for job in books.jobs.values():
        if job.status == "failed" and (job.charged or f"charge:{job.id}" in books.transfers):
            yield f"{job.id} failed and cost {job.charged}"


def the_books_close(books: Books, _: Sequence[Reading]) -> Iterator[str]:
    for transfer in books.transfers.values():
        if sum(transfer.entries.values()) != 0:
            yield f"{transfer.id} does not add up to zero: {transfer.entries}"
    if books.sum_of_all != 0:
        yield f"all accounts together hold {books.sum_of_all}"
    yield from books.differences
    paid = -sum(
        t.entries.get(f"user:{books.customer}", 0)
        for t in books.transfers.values()
        if t.id.startswith("charge:")
    )
    charged = sum(job.charged for job in books.jobs.values())
    if paid != charged:
        yield f"the customer paid {paid}, the jobs say {charged}"


CHECKS: Final[tuple[Check, ...]] = (
    every_reader_came_to_the_end,
    positions_come_once_and_in_order,
    texts_are_the_undisturbed_ones,
    answers_open_once,
    every_job_has_ended_well,
    one_attempt_of_each_job_succeeded,
    nothing_is_left_unfinished,
    attempts_share_the_answer_without_overlap,
    one_job_for_each_request,
    billed_is_delivered,
    users_pay_islands_fees_and_insurance,
    each_island_is_paid_for_what_it_did,
    what_nobody_pays_for_is_insured,
    every_attempt_has_its_row_of_usage,
    failed_jobs_cost_nothing,
    the_books_close,
)


OUTAGE_CHECKS: Final = tuple(
    no_job_was_lost_in_mid_answer if check is every_job_has_ended_well else check
    for check in CHECKS
)
"""While something that everybody needs is away for long, a request may be told to come back later."""


def broken_promises(
    books: Books, readings: Sequence[Reading], checks: Sequence[Check] = CHECKS
) -> dict[str, list[str]]:
    """By the name of the promise."""
    found = {check.__name__: list(check(books, readings)) for check in checks}
    return {name: complaints for name, complaints in found.items() if complaints}


def _status(books: Books, job: str) -> str:
    return books.jobs[job].status if job in books.jobs else "unknown"


# --- The snapshot --------------------------------------------------------------------------------------------------

JOBS: Final = """
    SELECT j.*, r.status AS reservation FROM jobs j LEFT JOIN reservations r ON r.job_id = j.id
    WHERE j.user_id = %(user)s
"""
ATTEMPTS: Final = """
    SELECT a.*, i.owner_id FROM attempts a JOIN islands i ON i.id = a.island_id
    JOIN jobs j ON j.id = a.job_id WHERE j.user_id = %(user)s ORDER BY a.job_id, a.epoch
"""
TRANSFERS: Final = """
    SELECT t.id, t.job_id, split_part(e.account_id, '#', 1) AS account, sum(e.amount)::bigint AS amount
    FROM transfers t JOIN entries e ON e.transfer_id = t.id JOIN jobs j ON j.id = t.job_id
    WHERE j.user_id = %(user)s GROUP BY t.id, t.job_id, account
"""
USAGE: Final = """
    SELECT u.* FROM usage u JOIN jobs j ON j.id = u.job_id WHERE j.user_id = %(user)s
"""
OWED: Final = """
    SELECT p.job_id, p.epoch, p.amount FROM pays p JOIN jobs j ON j.id = p.job_id
    WHERE j.user_id = %(user)s AND p.kind = 'owed'
"""
DIFFERENCES: Final = """
    WITH moved AS (SELECT account_id, sum(amount) AS balance FROM entries GROUP BY account_id),
    pending AS (
        SELECT account_id, sum(amount) AS held FROM reservations WHERE status = 'pending'
        GROUP BY account_id
    )
    SELECT a.id, a.balance, a.held, coalesce(m.balance, 0) AS due, coalesce(p.held, 0) AS due_held
    FROM accounts a LEFT JOIN moved m ON m.account_id = a.id LEFT JOIN pending p ON p.account_id = a.id
    WHERE a.balance <> coalesce(m.balance, 0) OR a.held <> coalesce(p.held, 0)
"""
UNFINISHED_JOBS: Final = """
    SELECT count(*) FROM jobs j WHERE j.user_id = %(user)s AND (
        j.status IN ('queued', 'running') OR EXISTS (
            SELECT FROM attempts a WHERE a.job_id = j.id AND a.status IN ('assigned', 'running')))
"""


def unfinished(database_url: str, customer: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(UNFINISHED_JOBS, {"user": customer}).fetchone()
    assert row is not None
    return int(row[0])


def open_books(database_url: str, customer: str, prices: dict[str, Price]) -> Books:
    """One snapshot, all of it from the same moment."""
    asked = {"user": customer}
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        attempts = defaultdict(list)
        for row in connection.execute(ATTEMPTS, asked):
            attempts[row["job_id"]].append(_attempt(row))
        jobs = {
            row["id"]: _job(row, tuple(attempts[row["id"]]))
            for row in connection.execute(JOBS, asked)
        }
        transfers: dict[str, Transfer] = {}
        for row in connection.execute(TRANSFERS, asked):
            one = transfers.setdefault(row["id"], Transfer(row["id"], row["job_id"], {}))
            one.entries[row["account"]] = row["amount"]
        usage: dict[str, dict[int, tuple[int, int, str | None]]] = defaultdict(dict)
        for row in connection.execute(USAGE, asked):
            ended = row["first_position"], row["next_position"], row["cause"]
            usage[row["job_id"]][row["epoch"]] = ended
        owed = {
            (row["job_id"], row["epoch"]): row["amount"] for row in connection.execute(OWED, asked)
        }
        differences = tuple(
            f"{row['id']} holds {row['balance']} ({row['held']} reserved), "
            f"{row['due']} ({row['due_held']}) were due"
            for row in connection.execute(DIFFERENCES)
        )
        total = connection.execute("SELECT sum(balance)::bigint AS total FROM accounts").fetchone()
    assert total is not None
    return Books(customer, prices, jobs, transfers, dict(usage), owed, differences, total["total"])


def _attempt(row: dict[str, Any]) -> Attempt:
    return Attempt(
        epoch=row["epoch"],
        island=row["island_id"],
        owner=row["owner_id"],
        status=row["status"],
        first=row["first_position"],
        next=row["next_position"],
        cause=row["cause"],
        reason=row["reason"],
        assigned_at=row["assigned_at"],
        ended_at=row["ended_at"],
    )


def _job(row: dict[str, Any], attempts: tuple[Attempt, ...]) -> Job:
    return Job(
        id=row["id"],
        user=row["user_id"],
        slug=row["cargo_slug"],
        status=row["status"],
        epoch=row["epoch"],
        cause=row["cause"],
        error=row["error"],
        prompt_tokens=row["prompt_tokens"],
        delivered=row["delivered"],
        output_items=row["output_items"],
        output=(row["output"] or b"").decode(),
        charged=row["charged"],
        reservation=row["reservation"],
        attempts=attempts,
    )
