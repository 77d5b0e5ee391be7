"""Random interleavings of everything that moves money, on many connections at once."""

import asyncio
import random
from collections import Counter
from datetime import timedelta

import psycopg
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.ledger import (
    FEES,
    INSURANCE,
    ISSUANCE,
    Transfer,
    grant,
    owner_account,
    user_account,
)
from archipelag_coordinator.errors import InsufficientCredits
from archipelag_coordinator.testing.builders import a_cargo, a_job, a_reservation, a_user
from archipelag_coordinator.testing.fakes import START
from archipelag_embedded.postgres import Postgres
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

WORKERS = 8
STEPS = 25
USERS = 3
NEGATIVE = """
    SELECT count(*) FROM accounts
    WHERE balance - held < 0 AND id NOT IN ('platform:issuance', 'platform:grants')
"""


class Storm:
    """Workers who each do random things to a few shared accounts and jobs."""

    def __init__(self, store, seed):
        self.store, self.seed = store, seed
        self.users = [a_user() for _ in range(USERS)]
        self.jobs = []
        self.cargo = a_cargo()
        self.outcomes = Counter()
        self.acts = (self.reserve, self.reserve, self.post, self.post, self.void, self.expire)
        self.acts += (self.pay, self.grant)

    async def rage(self):
        async with asyncio.TaskGroup() as group:
            for worker in range(WORKERS):
                group.create_task(self.worker(random.Random(f"{self.seed}:{worker}")))

    async def worker(self, chance):
        for step in range(STEPS):
            act = chance.choice(self.acts)
            try:
                async with self.store.begin() as tx:
                    done = await act(tx, chance)
                    if chance.random() < 0.1:
                        raise KeyError(step)  # a Coordinator that dies before its commit
                if act == self.reserve:
                    self.jobs.append(
                        done
                    )  # Nobody can name a job before it stands: its lock would hold nobody.
                    done = True
            except InsufficientCredits:
                done = "refused"
            except KeyError:
                done = "undone"
            self.outcomes[f"{act.__name__}: {done}"] += 1

    async def grant(self, tx, chance):
        user = chance.choice(self.users)
        amount = Ucredits(chance.randint(1, 500))
        return await tx.ledger.transfer(grant(user.id, amount, a_user().id, START))

    async def reserve(self, tx, chance):
        job = a_job(chance.choice(self.users), cargo=self.cargo, status=JobStatus.FAILED)
        await tx.jobs.add(job)
        await tx.ledger.reserve(a_reservation(job, chance.randint(0, 400), expires_at=START))
        return job

    async def post(self, tx, chance):
        job = await self._locked(tx, chance)
        held = await tx.ledger.reservation(job.id)
        amount = chance.randint(1, max(1, held.amount)) if held else 5
        fee, share = amount // 10, amount // 20
        entries = {user_account(job.user_id): -amount, FEES: fee, INSURANCE: share}
        owner = owner_account(chance.choice(self.users).id)
        entries[owner] = amount - fee - share
        paid = {account: Ucredits(n) for account, n in entries.items() if n}
        return await tx.ledger.post(job.id, Transfer(f"charge:{job.id}:{amount}", paid, START))

    async def void(self, tx, chance):
        return await tx.ledger.void((await self._locked(tx, chance)).id)

    async def expire(self, tx, chance):
        return bool(await tx.ledger.expire(START + timedelta(1), chance.randint(1, 3)))

    async def pay(self, tx, chance):
        """Insured pay and a release in one transaction, in the order that the verbs keep."""
        job = await self._locked(tx, chance)
        owner = owner_account(chance.choice(self.users).id)
        amount = chance.randint(1, 30)
        entries = {INSURANCE: Ucredits(-amount), owner: Ucredits(amount)}
        await tx.ledger.transfer(Transfer(f"insured:{a_user().id}", entries, START))
        return await tx.ledger.void(job.id)

    async def _locked(self, tx, chance):
        """A job that is locked before its money moves, as every verb does."""
        job = chance.choice(self.jobs) if self.jobs else a_job(self.users[0])
        await tx.jobs.lock(job.id)
        return job


async def storm(dsn, seed):
    async with PostgresStore(dsn, pool_max=WORKERS) as store:
        raging = Storm(store, seed)
        async with store.begin() as tx:
            raging.cargo = await tx.cargos.add(a_cargo())
            for user in raging.users:
                await tx.users.add(user)
                await tx.ledger.transfer(grant(user.id, Ucredits(1_000), "storm", START))
            seed_id = f"insurance:{raging.users[0].id}"
            seeded = {ISSUANCE: Ucredits(-200), INSURANCE: Ucredits(200)}
            await tx.ledger.transfer(Transfer(seed_id, seeded, START))
        await raging.rage()
        async with store.begin() as tx:
            drift = await tx.ledger.rebuild()
    return raging.outcomes, drift


def test_books_are_right_after_any_interleaving(
    postgres_server: Postgres, postgres_template: str
) -> None:
    total: Counter[str] = Counter()
    dsn = postgres_server.create_database("storm", template=postgres_template)

    @settings(
        max_examples=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.integers(0, 2**32))
    def any_interleaving(seed: int) -> None:
        outcomes, drift = asyncio.run(storm(dsn, seed))
        total.update(outcomes)
        with psycopg.connect(dsn) as database:
            everything = database.execute("SELECT sum(amount) FROM entries").fetchone()
            kept = database.execute("SELECT sum(balance) FROM accounts").fetchone()
            negative = database.execute(NEGATIVE).fetchone()
        assert (everything, kept, negative, drift) == ((0,), (0,), (0,), [])

    any_interleaving()
    postgres_server.drop_database("storm")

    # The storm did reach every outcome that it is about.
    assert total["reserve: refused"] and total["post: True"] and total["post: False"]
    assert total["void: True"] and total["expire: True"] and total["pay: undone"]
    assert sum(total.values()) >= WORKERS * STEPS * 10
