"""The database itself keeps the ledger honest, whoever writes to it with whatever SQL."""

import asyncio
from dataclasses import replace

import psycopg
import psycopg_pool
import pytest
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.adapters.postgres.flusher import NotDurable
from archipelag_coordinator.adapters.postgres.parts import part_for
from archipelag_coordinator.adapters.postgres.store import UNREACHABLE
from archipelag_coordinator.domain.ledger import FEES, INSURANCE, Transfer, user_account
from archipelag_coordinator.testing.builders import a_customer, a_job, a_reservation
from archipelag_coordinator.testing.fakes import START
from psycopg import IntegrityError


@pytest.fixture
async def books(store, database):
    """A user with 100 of which 60 are reserved."""
    user, _, _ = await a_customer(store, 100)
    held = a_reservation(a_job(user), 60)
    async with store.begin() as tx:
        await tx.ledger.reserve(held)
    database.execute("INSERT INTO accounts (id) VALUES ('island_owner:spare')")
    return {"user": user_account(user.id), "job": held.job_id}


CHEATS = {
    "unbalanced entries": """
        WITH t AS (INSERT INTO transfers (id, at, note) VALUES ('cheat', now(), '') RETURNING id)
        INSERT INTO entries SELECT id, %(user)s, 5, now() FROM t""",
    "a transfer without entries": "INSERT INTO transfers (id, at, note) VALUES ('cheat', now(), '')",
    "one more entry under a posted transfer": """
        INSERT INTO entries (transfer_id, account_id, amount, at)
        SELECT id, 'island_owner:spare', 5, now() FROM transfers LIMIT 1""",
    "an entry of zero": """
        WITH t AS (INSERT INTO transfers (id, at, note) VALUES ('cheat', now(), '') RETURNING id)
        INSERT INTO entries SELECT id, %(user)s, 0, now() FROM t""",
    "an edited entry": "UPDATE entries SET amount = amount * 2",
    "a removed entry": "DELETE FROM entries",
    "emptied entries": "TRUNCATE entries",
    "an edited transfer": "UPDATE transfers SET note = 'better'",
    "a removed transfer": "DELETE FROM transfers",
    "emptied transfers": "TRUNCATE transfers CASCADE",
    "a removed account": "DELETE FROM accounts WHERE id = %(user)s",
    "a removed account that was never used": "DELETE FROM accounts WHERE id = 'island_owner:spare'",
    "a balance below zero": "UPDATE accounts SET balance = -1 WHERE id = %(user)s",
    "a balance below what is held": "UPDATE accounts SET balance = 59 WHERE id = %(user)s",
    "more held than there is": "UPDATE accounts SET held = 101 WHERE id = %(user)s",
    "less than nothing held": "UPDATE accounts SET held = -1 WHERE id = %(user)s",
    "fees below zero": "INSERT INTO accounts (id, balance) VALUES ('platform:fees', -1)",
    "insurance below zero": "INSERT INTO accounts (id, balance) VALUES ('platform:insurance', -1)",
    "a part of insurance below zero": """
        UPDATE accounts SET balance = -1 WHERE id = 'platform:insurance#07'""",
    "a part of an account that has none": "INSERT INTO accounts (id) VALUES ('platform:grants#01')",
    "a part that nobody empties": "INSERT INTO accounts (id) VALUES ('platform:insurance#16')",
    "a smaller reservation": "UPDATE reservations SET amount = 1 WHERE job_id = %(job)s",
    "a removed pending reservation": "DELETE FROM reservations WHERE job_id = %(job)s",
    "an unknown reservation state": "UPDATE reservations SET status = 'lent'",
}


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS.keys())
async def test_cheating_by_sql_is_refused(cheat, books, database, store):
    before = database.execute("SELECT * FROM accounts ORDER BY id").fetchall()

    with pytest.raises(IntegrityError):
        database.execute(cheat, books)

    assert database.execute("SELECT * FROM accounts ORDER BY id").fetchall() == before
    async with store.begin() as tx:
        assert await tx.ledger.rebuild() == []


async def test_reservation_that_has_ended_stays_ended(books, database, store):
    async with store.begin() as tx:
        await tx.ledger.void(books["job"])

    for status in ("pending", "posted", "voided"):
        with pytest.raises(IntegrityError):
            database.execute("UPDATE reservations SET status = %s", [status])


async def test_balance_that_was_edited_is_found_by_rebuilding(books, database, store):
    database.execute("UPDATE accounts SET balance = 1000 WHERE id = %(user)s", books)

    async with store.begin() as tx:
        ((kept, rebuilt),) = await tx.ledger.rebuild()

    assert (kept.id, kept.balance, rebuilt.balance) == (books["user"], 1000, 100)


async def test_key_over_its_budget_is_refused_by_the_database(store, database):
    _, key, _ = await a_customer(store)

    with pytest.raises(psycopg.errors.CheckViolation):
        database.execute("UPDATE api_keys SET budget = 10, used = 11 WHERE id = %s", [key.id])


async def test_charges_of_many_jobs_go_to_many_rows(store, database):
    user, _, _ = await a_customer(store, 1000)
    async with store.begin() as tx:
        for _ in range(60):
            job = a_job(user)
            entries = {
                user_account(user.id): Ucredits(-3),
                FEES: Ucredits(2),
                INSURANCE: Ucredits(1),
            }
            await tx.ledger.transfer(Transfer(f"charge:{job.id}", entries, START, job.id))
        assert (await tx.ledger.account(FEES)).balance == 120

    used = "SELECT count(*), sum(balance) FROM accounts WHERE id LIKE %s AND balance > 0"
    rows, total = database.execute(used, ["platform:fees%"]).fetchone()
    (whole,) = database.execute(
        "SELECT balance FROM whole_accounts WHERE id = 'platform:insurance'"
    ).fetchone()
    assert rows > 8 and total == 120 and whole == 60


async def test_charges_do_not_wait_for_each_other_at_the_platform_accounts(store):
    """Both are open at once: with a single row of fees, the second would wait for the first until it fails."""
    jobs: dict[str, tuple] = {}
    while len(jobs) < 2:
        user, _, _ = await a_customer(store, 10)
        job = a_job(user)
        entries = {user_account(user.id): Ucredits(-2), FEES: Ucredits(2)}
        charge = Transfer(f"charge:{job.id}", entries, START, job.id)
        jobs[part_for(FEES, charge)] = charge
    one, two = jobs.values()

    async with store.begin() as first:
        await first.ledger.transfer(one)
        async with store.begin() as second:
            assert await second.ledger.transfer(two)


async def test_deadlock_is_an_error_to_be_tried_again(store):
    """Locked against the order that the verbs keep, on purpose."""
    (one, _, _), (two, _, _) = [await a_customer(store, 100) for _ in range(2)]
    both_hold = asyncio.Barrier(2)

    async def hold(users, attempt):
        async with store.begin() as tx:
            for user in users:
                held = replace(a_reservation(a_job(user), 10), job_id=f"{attempt}:{user.id}")
                await tx.ledger.reserve(held)
                await tx.ledger.reservation(
                    held.job_id
                )  # What is reserved travels with the next question.
                if user is users[0] and attempt.startswith("first"):
                    await both_hold.wait()

    outcomes = await asyncio.gather(
        hold([one, two], "first:a"), hold([two, one], "first:b"), return_exceptions=True
    )

    (failed,) = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(failed, psycopg.errors.DeadlockDetected) and isinstance(failed, UNREACHABLE)
    await hold([one, two], "again")
    async with store.begin() as tx:
        assert (await tx.ledger.account(user_account(one.id))).held == 20
        assert (await tx.ledger.account(user_account(two.id))).held == 20
        assert await tx.ledger.rebuild() == []


def test_everything_that_is_worth_another_try_is_answered_as_such():
    for error in (
        psycopg.errors.SerializationFailure,
        psycopg.errors.LockNotAvailable,
        psycopg.errors.QueryCanceled,
        psycopg.errors.AdminShutdown,
        psycopg_pool.PoolTimeout,
        NotDurable,
    ):
        assert issubclass(error, UNREACHABLE)
