"""How many postings a second does the ledger stand, on one hot account and on several, beside pgbench?

    python benchmarks/ledger.py [--seconds 5] [--disk-ms 3] [--fast]

Starts a PostgreSQL of its own in a temporary folder. `--disk-ms` makes each wait for the disk that much longer, so that
figures from machines with different disks can be compared; `--fast` leaves out the waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psycopg
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.adapters.postgres.migrate import migrate
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.domain.ledger import (
    FEES,
    INSURANCE,
    Transfer,
    owner_account,
    user_account,
)
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.testing.builders import a_grant, a_job, a_reservation, a_user
from archipelag_coordinator.testing.fakes import START
from archipelag_embedded.postgres import Postgres
from figures import Figure
from raw_commits import raw_commits
from telling import state_all

CONCURRENT = 8
MANY = 32
POSTINGS = 2
"""A hold, and its settlement."""
HOW = (
    "Holds and settlements, each in a durable transaction of its own with its rules checked; limit: pgbench on the "
    "same PostgreSQL, one INSERT and one UPDATE a transaction, as many accounts and at once."
)


async def rate(step: Callable[[], Awaitable[None]], workers: int, seconds: float) -> float:
    """Steps a second."""
    until = time.perf_counter() + seconds
    done = itertools.count()

    async def work() -> None:
        while time.perf_counter() < until:
            await step()
            next(done)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(workers)))
    return next(done) / (time.perf_counter() - began)


async def measure(dsn: str, seconds: float) -> AsyncIterator[Figure]:
    async with PostgresStore(dsn) as store:
        customers = [a_user() for _ in range(CONCURRENT)]
        owner = a_user()
        async with store.begin() as tx:
            for customer in customers:
                await tx.ledger.transfer(a_grant(customer, 10**15))

        async def hold_and_settle(customer: User) -> None:
            job = a_job(customer)
            async with store.begin() as tx:
                await tx.ledger.reserve(a_reservation(job, 10_000))
            entries = {
                user_account(customer.id): Ucredits(-1000),
                owner_account(owner.id if customer is customers[0] else customer.id): Ucredits(850),
                FEES: Ucredits(100),
                INSURANCE: Ucredits(50),
            }
            async with store.begin() as tx:
                await tx.ledger.post(job.id, Transfer(f"charge:{job.id}", entries, START))

        turns = itertools.cycle(customers)

        def hot() -> Awaitable[None]:
            return hold_and_settle(customers[0])

        def spread() -> Awaitable[None]:
            return hold_and_settle(next(turns))

        cases = (
            ("one account", 1, 1, hot),
            ("one account", 1, CONCURRENT, hot),
            ("one account", 1, MANY, hot),
            (f"{CONCURRENT} accounts", CONCURRENT, CONCURRENT, spread),
            (f"{CONCURRENT} accounts", CONCURRENT, MANY, spread),
        )
        for name, accounts, workers, step in cases:
            postings = POSTINGS * await rate(step, workers, seconds)
            limit = await asyncio.to_thread(
                raw_commits, dsn, at_once=workers, seconds=seconds, accounts=accounts
            )
            print(f"{name}, {workers} at once: {postings:.0f} /s, pgbench {limit.value:.0f} /s")
            what = f"postings, {name}, {workers} at once"
            yield Figure("ledger", what, postings, "/s", HOW, limit=limit, more_is_better=True)
        async with store.begin() as tx:
            assert await tx.ledger.rebuild() == []


def slow_down(dsn: str, disk_ms: float) -> None:
    """Every wait for the disk takes this much longer, in all connections from now on: PostgreSQL's own settings."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for setting in (f"commit_delay = {round(disk_ms * 1000)}", "commit_siblings = 0"):
            connection.execute(f"ALTER ROLE CURRENT_USER SET {setting}".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--disk-ms", type=float, default=0.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="archipelag-") as folder:
        Path(folder).chmod(0o711)
        server = Postgres(Path(folder) / "postgres", fast=options.fast)
        dsn = server.start()
        try:
            migrate(dsn)
            slow_down(dsn, options.disk_ms)
            asyncio.run(state_all(measure(dsn, options.seconds)))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
