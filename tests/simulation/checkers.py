"""The promises, one function each: given the world, what of this promise is broken. Empty is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from archipelag_contracts.ids import JobId
from archipelag_coordinator.domain.attempt import Attempt, AttemptStatus, Cause
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.ledger import (
    INSURANCE,
    MAY_OVERDRAW,
    ReservationStatus,
    owner_account,
    user_account,
)
from archipelag_coordinator.testing.books import broken_promises

from simulation.cargo import PRICE, RESUMABLE, answer_to
from simulation.world import World

Check = Callable[[World], list[str]]
UNPAID: Final = (Cause.BAD_OUTPUT, Cause.REFUSED)


def _jobs(world: World) -> list[Job]:
    return list(world.memory._state.jobs)


def _attempts(world: World) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = {}
    for attempt in world.memory._state.attempts:
        found.setdefault(attempt.job_id, []).append(attempt)
    for of_job in found.values():
        of_job.sort(key=lambda a: a.epoch)
    return found


# --- At every moment -----------------------------------------------------------------------------------------------


def debits_equal_credits(world: World) -> list[str]:
    state = world.memory._state
    total = sum(account.balance for account in state.accounts)
    return [f"the balances add up to {total}"] if total else []


def balances_rebuild_from_entries(world: World) -> list[str]:
    state = world.memory._state
    balances: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for transfer in state.transfers:
        for account_id, amount in transfer.entries.items():
            balances[account_id] += amount
    for reservation in state.reservations:
        if reservation.status is ReservationStatus.PENDING:
            held[reservation.account_id] += reservation.amount
    return [
        f"{account.id} holds {account.balance}/{account.held}, "
        f"its entries make {balances[account.id]}/{held[account.id]}"
        for account in state.accounts
        if (account.balance, account.held) != (balances[account.id], held[account.id])
    ]


def nobody_is_overdrawn(world: World) -> list[str]:
    return [
        f"{account.id} has {account.available} left"
        for account in world.memory._state.accounts
        if account.available < 0 and account.id not in MAY_OVERDRAW
    ]


def a_finished_job_holds_no_reservation_and_an_unfinished_one_does(world: World) -> list[str]:
    found = []
    for job in _jobs(world):
        reservation = world.memory._state.reservations.get(job.id)
        pending = reservation is not None and reservation.status is ReservationStatus.PENDING
        if pending is job.finished:
            status = reservation.status.value if reservation else "nothing"
            found.append(f"{job.id} is {job.status.value} and its reservation {status}")
    return found


def a_finished_job_has_no_unfinished_attempt(world: World) -> list[str]:
    state = world.memory._state
    found = []
    for attempt in state.attempts:
        if attempt.finished:
            continue
        job = state.jobs.get(attempt.job_id)
        if job is None or job.finished or job.epoch != attempt.epoch:
            where = f"{job.status.value} at {job.epoch}" if job else "gone"
            found.append(f"{attempt.job_id}.{attempt.epoch} goes on though the job is {where}")
    return found


def epochs_rise_by_one(world: World) -> list[str]:
    found = []
    attempts = _attempts(world)
    for job in _jobs(world):
        epochs = [a.epoch for a in attempts.get(job.id, [])]
        if epochs != list(range(1, job.epoch + 1)):
            found.append(f"{job.id} is at epoch {job.epoch} and has attempts {epochs}")
    return found


def a_job_completes_once(world: World) -> list[str]:
    succeeded = AttemptStatus.SUCCEEDED
    return [
        f"{job_id} has {count} completed attempts"
        for job_id, attempts in _attempts(world).items()
        if (count := sum(a.status is succeeded for a in attempts)) > 1
    ]


def answers_and_lines_stay_within_their_limits(world: World) -> list[str]:
    found = []
    for one in world.coordinators:
        if one is None or one.world is None or one.relay is None:
            continue
        answers = one.world.answers
        if len(answers) > answers._kept_max:
            found.append(f"{one.party} keeps {len(answers)} answers")
        # A line is one attempt at work; a few more where word of an end is under way.
        if len(one.relay) > len(world.receipts) + 10:
            found.append(f"{one.party} relays {len(one.relay)} lines")
    return found


def broker_queues_stay_within_their_limits(world: World) -> list[str]:
    found = []
    for name, stream in world.jetstream.streams.items():
        if stream.size_bytes > stream.config["max_bytes"]:
            found.append(f"the stream {name} has {stream.size_bytes} bytes")
    reports = world.jetstream.streams.get("REPORTS")
    if reports is not None and len(reports.messages) > 4 * (len(world.receipts) + 50):
        found.append(f"{len(reports.messages)} reports wait")
    return found


def readers_get_each_position_once_in_order(world: World) -> list[str]:
    return [f"{r.name} ({r.job_id}): {said}" for r in world.receipts for said in r.broken]


ALWAYS: Final[tuple[Check, ...]] = (
    debits_equal_credits,
    balances_rebuild_from_entries,
    nobody_is_overdrawn,
    a_finished_job_holds_no_reservation_and_an_unfinished_one_does,
    a_finished_job_has_no_unfinished_attempt,
    epochs_rise_by_one,
    a_job_completes_once,
    answers_and_lines_stay_within_their_limits,
    broker_queues_stay_within_their_limits,
    readers_get_each_position_once_in_order,
)

# --- At the end ----------------------------------------------------------------------------------------------------


def every_job_ends(world: World) -> list[str]:
    return [
        f"{job.id} is still {job.status.value} at epoch {job.epoch}: {job.waiting_for}"
        for job in _jobs(world)
        if not job.finished
    ]


def _price(prompt_tokens: int, items: int) -> int:
    """Reckoned here again, and not by the code under test."""
    return (
        PRICE.job_ucredits
        + PRICE.prompt_token_ucredits * prompt_tokens
        + PRICE.output_item_ucredits * items
    )


def users_pay_once_and_by_the_rule(world: World) -> list[str]:
    """Completed: prompt and items. Cancelled: what was delivered. Failed: nothing."""
    found = []
    charges: dict[str, list[int]] = {}
    for transfer in world.memory._state.transfers:
        payer = -transfer.entries.get(user_account(world.user.id), 0)
        if transfer.job_id is not None and payer:
            charges.setdefault(transfer.job_id, []).append(payer)
    for job in _jobs(world):
        paid = charges.get(job.id, [])
        if len(paid) > 1:
            found.append(f"{job.id} was charged {len(paid)} times")
        if sum(paid) != job.charged:
            found.append(f"{job.id} says it cost {job.charged}, the ledger {sum(paid)}")
        match job.status:
            case JobStatus.SUCCEEDED:
                due = min(_price(job.prompt_tokens, job.output_items), job.reserved)
            case JobStatus.CANCELLED if job.output_items:
                due = min(_price(job.prompt_tokens, job.output_items), job.reserved)
            case _:
                due = 0
        if job.finished and sum(paid) != due:
            found.append(f"{job.id} ({job.status.value}) cost {sum(paid)} and not {due}")
    return found


def who_cancels_pays_for_no_more_than_was_written(world: World) -> list[str]:
    """Where nobody need wait, output can be read as soon as it was accepted; a reader's is what was written to it."""
    return [
        f"{job.id} was cancelled at {job.output_items}, its readers were given {given}"
        for job in _jobs(world)
        if job.interactive
        and not job.goes_on_unread
        and job.status is JobStatus.CANCELLED
        and job.output_items > (given := world.written.get(job.id, 0))
    ]


def what_was_to_go_on_unread_is_not_cancelled(world: World) -> list[str]:
    found = []
    for receipt in world.receipts:
        job = world.memory._state.jobs.get(JobId(receipt.job_id))
        left = receipt.unread and receipt.outcome == "left"
        if left and job is not None and job.status is JobStatus.CANCELLED:
            found.append(f"{receipt.name} wanted {job.id} to go on; it was cancelled: {job.error}")
    return found


def only_holders_of_a_lease_are_paid_and_only_for_what_was_accepted(world: World) -> list[str]:
    state = world.memory._state
    attempts = _attempts(world)
    owners = {island.id: owner_account(island.owner_id) for island in state.islands}
    of_owner = set(owners.values())
    found = []
    for transfer in state.transfers:
        if transfer.job_id is None:
            continue
        may: set[str] = set()
        for attempt in attempts.get(transfer.job_id, []):
            last = attempt.status is AttemptStatus.SUCCEEDED
            if (attempt.positions or last) and attempt.cause not in UNPAID:
                may.add(owners[attempt.island_id])
        for account, amount in transfer.entries.items():
            if account in of_owner and amount > 0 and account not in may:
                found.append(f"{transfer.id} pays {account}, of whom nothing was accepted")
    return found


def the_books_of_every_job_close(world: World) -> list[str]:
    """The billing contract as a whole: usage rows, positions, shares, insurance, to the micro-credit."""
    jobs = [job.id for job in _jobs(world)]
    return _at_once(broken_promises(world.memory._tx, jobs, world.size.policy.shares))


def _at_once(asked: Coroutine[Any, Any, list[str]]) -> list[str]:
    """The memory store never waits."""
    try:
        asked.send(None)
    except StopIteration as done:
        found: list[str] = done.value
        return found
    raise AssertionError("the memory store waited")


def honest_islands_are_never_called_wrong(world: World) -> list[str]:
    lied = {host.id for host in world.hosts if host.lies}
    return [
        f"{a.job_id}.{a.epoch} of {a.island_id} ended as bad output: {a.reason}"
        for a in world.memory._state.attempts
        if a.cause is Cause.BAD_OUTPUT and a.island_id not in lied
    ]


def insurance_pays_only_what_it_must(world: World) -> list[str]:
    """Never for a job's positions that its user paid."""
    state = world.memory._state
    found = []
    for transfer in state.transfers:
        if transfer.job_id is None or transfer.entries.get(INSURANCE, 0) >= 0:
            continue
        job = state.jobs.get(transfer.job_id)
        attempts = _attempts(world).get(transfer.job_id, [])
        epoch = int(transfer.id.rsplit(":", 1)[1])
        attempt = next((a for a in attempts if a.epoch == epoch), None)
        if job is None or attempt is None or not attempt.finished:
            found.append(f"{transfer.id} pays for no finished attempt")
    return found


def completed_output_is_the_undisturbed_answer(world: World) -> list[str]:
    found = []
    attempts = _attempts(world)
    for job in _jobs(world):
        if job.status is not JobStatus.SUCCEEDED or world.may_be_forged(job.id):
            continue
        own = "" if job.cargo_slug == RESUMABLE.slug else f"{job.id}.{job.epoch}"
        answer = answer_to(job.input, own)
        last = attempts[job.id][-1]
        if job.output != answer.text:
            found.append(
                f"{job.id} by {last.island_id}: output {job.output!r:.80}, not {answer.text!r:.80}"
            )
        elif job.output_items != len(answer.texts):
            found.append(f"{job.id} counts {job.output_items} items of {len(answer.texts)}")
        elif job.finish_reason != answer.finish_reason:
            found.append(f"{job.id} ended by {job.finish_reason}, not {answer.finish_reason}")
    return found


def readers_who_were_told_the_end_have_the_whole_answer(world: World) -> list[str]:
    """Whoever settles a dead Coordinator's job knows what was stored, not what was streamed since, and can compare a
    report with no more than that."""
    found = []
    for receipt in world.receipts:
        if receipt.outcome != "completed":
            continue
        job = world.memory._state.jobs.get(receipt.job_id)  # type: ignore[arg-type]
        if job is None or job.status is not JobStatus.SUCCEEDED:
            status = job.status.value if job else "unknown"
            found.append(f"{receipt.name} was told that {receipt.job_id} is done; it is {status}")
        elif receipt.text != job.output and not world.may_be_forged(job.id):
            found.append(
                f"{receipt.name} read {receipt.text[-40:]!r} of {(job.output or '')[-40:]!r}"
            )
        elif receipt.finish_reason and receipt.finish_reason != job.finish_reason:
            found.append(
                f"{receipt.name} was told {receipt.finish_reason}, not {job.finish_reason}"
            )
    return found


def one_wish_is_paid_once(world: World) -> list[str]:
    """Under one Idempotency-Key at most one job costs anything, however often it was asked for."""
    cost: dict[bytes, list[str]] = {}
    for job in _jobs(world):
        if job.charged:
            cost.setdefault(job.request_hash, []).append(job.id)
    return [
        f"one wish was paid {len(jobs)} times: {jobs}" for jobs in cost.values() if len(jobs) > 1
    ]


def keys_have_used_what_was_charged(world: World) -> list[str]:
    charged = world.archived_charges + sum(job.charged for job in _jobs(world))
    used = sum(key.used for key in world.memory._state.keys)
    return [f"keys have used {used}, jobs cost {charged}"] if used != charged else []


def nothing_is_left_behind(world: World) -> list[str]:
    """After everything has settled, nobody holds on to anything."""
    return list(_left_behind(world))


def _left_behind(world: World) -> Iterator[str]:
    for island in world.islands:
        if island is None or island.world is None:
            continue
        if island.world.now.runs:
            yield f"{island.party} still runs {[str(k) for k in island.world.now.runs]}"
        if held := island.journal.all():
            yield f"the journal of {island.party} still has {[str(r.key) for r in held]}"
    for one in world.coordinators:
        if one is None or one.world is None or one.relay is None:
            continue
        if len(one.relay):
            yield f"{one.party} still relays {len(one.relay)} lines"
        for berth in one.world.fleet._berths.values():
            if berth.given:
                yield f"{one.party} still counts {berth.given} on {berth.island.name}"
        for answer in one.world.answers.all():
            if answer.final is None:
                yield f"{one.party} still keeps the answer of {answer.job_id} open"
            if answer.readers:
                yield f"{one.party} still counts {answer.readers} readers of {answer.job_id}"
    reports = world.jetstream.streams.get("REPORTS")
    if reports is not None and reports.messages:
        yield f"{len(reports.messages)} reports still wait: {[m.subject for m in reports.messages.values()][:3]}"


def the_fleet_is_whole_again(world: World) -> list[str]:
    return [
        f"{island.name} is still {island.status.value}"
        for island in world.memory._state.islands
        if island.status.value != "ready"
    ]


def nothing_unexpected_was_logged(world: World) -> list[str]:
    return list(world.unexpected)


FINALLY: Final[tuple[Check, ...]] = (
    every_job_ends,
    users_pay_once_and_by_the_rule,
    who_cancels_pays_for_no_more_than_was_written,
    what_was_to_go_on_unread_is_not_cancelled,
    only_holders_of_a_lease_are_paid_and_only_for_what_was_accepted,
    the_books_of_every_job_close,
    honest_islands_are_never_called_wrong,
    insurance_pays_only_what_it_must,
    completed_output_is_the_undisturbed_answer,
    readers_who_were_told_the_end_have_the_whole_answer,
    one_wish_is_paid_once,
    keys_have_used_what_was_charged,
    nothing_is_left_behind,
    the_fleet_is_whole_again,
    nothing_unexpected_was_logged,
)


def check(world: World, checks: tuple[Check, ...]) -> list[str]:
    return [f"{one.__name__}: {said}" for one in checks for said in one(world)]


def settled(world: World) -> bool:
    """Whether there is nothing more to wait for."""
    return not any(
        one(world) for one in (every_job_ends, nothing_is_left_behind, the_fleet_is_whole_again)
    )
