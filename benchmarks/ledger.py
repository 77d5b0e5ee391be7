"""How many holds and settlements a second does one hot account stand, beside the floor of a bare commit?

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
from collections.abc import Awaitable, Callable
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
from psycopg import AsyncConnection

CONCURRENT = 8
MANY = 32


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


async def measure(dsn: str, seconds: float) -> None:
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
            ("one customer", 1, hot),
            ("one customer", CONCURRENT, hot),
            ("one customer", MANY, hot),
            (f"{CONCURRENT} customers", CONCURRENT, spread),
            (f"{CONCURRENT} customers", MANY, spread),
        )
        for name, workers, step in cases:
            measured = await rate(step, workers, seconds)
            print(f"hold and settle, {name}, {workers} at once: {measured:.0f} /s")
        async with store.begin() as tx:
            assert await tx.ledger.rebuild() == []

    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("CREATE TABLE floor AS SELECT 0 AS number")

        async def bare() -> None:
            await connection.execute("UPDATE floor SET number = number + 1")

        print(f"floor, one bare UPDATE and commit at a time: {await rate(bare, 1, seconds):.0f} /s")


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
            asyncio.run(measure(dsn, options.seconds))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
