"""The world: parties, network, broker, database and customers, all from one seed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.ids import JobId
from archipelag_contracts.signing import SigningKey
from archipelag_contracts.units import UCREDITS_PER_CREDIT, Ucredits
from archipelag_coordinator.domain.island import Island, IslandStatus
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.ledger import fund_insurance, grant
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import ApiKey, Role, Scope, User, hash_secret
from archipelag_coordinator.services.publish import publish
from archipelag_coordinator.testing.memory_store import MemoryStore
from archipelag_island.domain.attempt import AttemptKey
from cryptography.hazmat.primitives.asymmetric import ec

from simulation.broker import NAME as BROKER
from simulation.broker import Broker
from simulation.cargo import FIXED, RESUMABLE, Knobs
from simulation.coordinator import NetworkKeys, SeededIds, SimCoordinator
from simulation.customers import Customer, Receipt
from simulation.database import Database
from simulation.island import IslandHost, SimIsland
from simulation.jetstream import JetStream
from simulation.liars import FORGERS
from simulation.network import NOBODY, Network
from simulation.party import START, Party, PartyClock
from simulation.trace import RING, Trace

CREDIT: Final = Ucredits(50 * UCREDITS_PER_CREDIT)
RESTART_S: Final = (0.5, 6.0)


@dataclass(frozen=True)
class Size:
    """How large a world is."""

    coordinators: int = 2
    islands: int = 5
    customers: int = 30
    workload_s: float = 45.0
    burst: float = 0.4
    """Chance that the next customer comes at the same moment."""
    policy: Policy = field(default_factory=lambda: Policy(queue_wait_batch_s=60.0))


class World:
    """Everything of one run. Parts that outlive their process (hosts, the database, streams) stand here."""

    def __init__(self, seed: int, size: Size, folder: Path, *, keep: int | None = RING) -> None:
        self.seed = seed
        self.size = size
        self.loop = asyncio.get_running_loop()
        self.trace = Trace(self.loop.time, keep=keep)
        self.folder = folder
        self.network = Network(self.rng("network"), self.trace)
        self.jetstream = JetStream()
        self.broken: list[str] = []
        """Promises that were broken at some moment."""
        self.clock = PartyClock(self.loop, Party("world", 0))
        self.memory = MemoryStore(self.clock)
        self.database = Database(
            self.memory, self.network, self.rng("database"), self.broken.append
        )
        self.keys = NetworkKeys(self._key("assignment"), self._key("publisher"), self._cosign_key())
        self.coordinators: list[SimCoordinator | None] = [None] * size.coordinators
        self.islands: list[SimIsland | None] = [None] * size.islands
        self.hosts: list[IslandHost] = []
        self.customers: list[Customer] = []
        self.broker: Broker | None = None
        self.receipts: list[Receipt] = []
        self.relay_ids: list[str] = []
        """Of every Coordinator process that ever was."""
        self._parties = 0
        self._came = 0
        self.deaths = 0
        self.written: dict[str, int] = {}
        """One past the highest position that was written to any reader, by job."""
        self.rounds = 0
        self.archived_charges = 0
        """What jobs cost that were taken out of the way."""
        self.unexpected: list[str] = []
        """Errors in the logs that no fault explains."""
        self.secret = "ak_" + f"{seed:043d}"
        self._living: list[asyncio.Task[Any]] = []

    def rng(self, purpose: str) -> Random:
        """A source of its own for each purpose, so that more chance here does not change what happens there."""
        return Random(f"{self.seed} {purpose}")

    def _key(self, name: str) -> SigningKey:
        return SigningKey.from_seed(hashlib.sha256(f"{self.seed} {name}".encode()).digest())

    def _cosign_key(self) -> CosignKey:
        number = int.from_bytes(hashlib.sha256(f"{self.seed} cosign".encode()).digest(), "big")
        return CosignKey(ec.derive_private_key(number >> 1, ec.SECP256R1()))

    def party(self, name: str, host: str = "", **clock: float) -> Party:
        self._parties += 1
        return Party(name, self._parties, host or name, **clock)

    # --- Setting up ------------------------------------------------------------------------------------------------

    async def set_up(self, prepare: Callable[[], None] = lambda: None) -> None:
        """`prepare` may say what hosts are like before they start."""
        await self._people()
        prepare()
        self.start_broker()
        for slot in range(self.size.coordinators):
            self.start_coordinator(slot)
        for slot in range(self.size.islands):
            self.start_island(slot)

    async def _people(self) -> None:
        ids = SeededIds(self.rng("people"))
        now = START
        self.user = User(ids.user(now), "customer@example.org", Role.USER, now)
        key = ApiKey(
            id=ids.api_key(now),
            user_id=self.user.id,
            name="simulation",
            prefix=self.secret[:10],
            hash=hash_secret(self.secret),
            scopes=frozenset({Scope.READ, Scope.WRITE}),
            created_at=now,
            rate_per_minute=1_000_000,
        )
        async with self.memory.begin() as tx:
            await tx.users.add(self.user)
            await tx.keys.add(key)
            await tx.ledger.transfer(grant(self.user.id, CREDIT, "simulation", now))
            await tx.ledger.transfer(fund_insurance(CREDIT, "simulation", now))
        for manifest in (RESUMABLE, FIXED):
            await publish(
                self.memory, self.clock, manifest, self.keys.signatures(), by="simulation"
            )
        for slot in range(self.size.islands):
            await self._enrol(slot, ids)

    async def _enrol(self, slot: int, ids: SeededIds) -> None:
        """Every Island has an owner of its own, so that a payment shows which Island it was for."""
        owner = User(ids.user(START), f"owner{slot}@example.org", Role.USER, START)
        key = self._key(f"island {slot}")
        island = Island(
            id=ids.island(START),
            owner_id=owner.id,
            name=f"island{slot}",
            public_key=key.public,
            status=IslandStatus.ENROLLED,
            approved=True,
            created_at=START,
        )
        async with self.memory.begin() as tx:
            await tx.users.add(owner)
            await tx.islands.add(island)
        self.hosts.append(IslandHost(island.id, key, island.name, self.folder, knobs=Knobs()))

    # --- Starting and restarting -----------------------------------------------------------------------------------

    def start_broker(self) -> None:
        self.broker = Broker(
            self.party("broker", BROKER), self.network, self.rng("broker"), self.jetstream
        )
        self.network.servers[BROKER] = self.broker
        self.trace("broker starts")

    def stop_broker(self) -> None:
        if self.broker is not None:
            self.trace("broker killed")
            self.broker.party.kill()
            self.jetstream.stop()
            self.jetstream.restart()
            self.broker = None

    def start_coordinator(self, slot: int) -> None:
        party = self.party(f"coordinator{slot}")
        rng = self.rng(f"coordinator {slot} {party.number}")
        started = SimCoordinator(
            party, self.database, self.keys, rng, self.size.policy, self._coordinator_gave_up
        )
        self.coordinators[slot] = started
        self.relay_ids.append(started.home)
        self.trace(f"{party} starts as {started.home}")
        started.start()

    def kill_coordinator(self, slot: int) -> None:
        standing = self.coordinators[slot]
        if standing is not None:
            self.trace(f"{standing.party} killed")
            self.deaths += 1
            standing.party.kill()
            self.coordinators[slot] = None

    def _coordinator_gave_up(self, one: SimCoordinator, error: BaseException) -> None:
        """It ended by an error of its own, as at a start without a broker; its supervisor starts it again."""
        self.trace(f"{one.party} ended: {error!r}")
        slot = self.coordinators.index(one)
        self.kill_coordinator(slot)
        self.later(1.0, lambda: self._restart_coordinator(slot))

    def _restart_coordinator(self, slot: int) -> None:
        if self.coordinators[slot] is None:
            self.start_coordinator(slot)

    def start_island(self, slot: int) -> None:
        host = self.hosts[slot]
        party = self.party(host.name, skew_s=host.skew_s, drift=host.drift)
        rng = self.rng(f"island {slot} {party.number}")
        self.islands[slot] = SimIsland(
            party,
            host,
            self.keys,
            rng,
            forgotten=lambda key: self._forgotten(host, key),
            assigned=lambda key: self._assigned(host, key),
        )
        self.trace(f"{party} starts")
        self.islands[slot].start()  # type: ignore[union-attr]

    def _forgotten(self, host: IslandHost, key: AttemptKey) -> None:
        """A journal may forget what the database has settled, and what was never its own."""
        attempt = self.memory._state.attempts.get((key.job_id, key.epoch))
        if attempt is not None and not attempt.finished and attempt.island_id == host.id:
            self.broken.append(f"journals_forget_only_what_is_settled: {key} at {host.name}")

    def _assigned(self, host: IslandHost, key: AttemptKey) -> None:
        if not self.database.watch.is_committed("attempts", (key.job_id, key.epoch)):
            self.broken.append(f"assignments_are_sent_after_commit: {key} at {host.name}")

    def kill_island(self, slot: int) -> None:
        standing = self.islands[slot]
        if standing is not None:
            self.trace(f"{standing.party} killed")
            standing.party.kill()
            self.islands[slot] = None

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """By the world's hand, whatever happens to anybody."""
        self.loop.call_later(seconds, act, context=NOBODY)

    # --- Customers -------------------------------------------------------------------------------------------------

    def serving(self) -> list[SimCoordinator]:
        """As a balancer sees it: processes that take connections."""
        return [one for one in self.coordinators if one is not None and one.serving]

    def send_customer(self, rng: Random) -> asyncio.Task[Receipt]:
        self._came += 1
        number = self._came
        party = self.party(f"customer{number}")
        slug = RESUMABLE.slug if rng.random() < 0.8 else FIXED.slug
        customer = Customer(
            party,
            self.network,
            rng,
            self.secret,
            self.serving,
            slug,
            self._stored,
            self.may_be_forged,
            self._wrote,
        )
        self.customers.append(customer)
        self.receipts.append(customer.receipt)
        self.trace(f"{party} comes for {customer.receipt.kind} of {slug}")
        task = party.spawn(customer.live(), party.name)
        self._living.append(task)
        task.add_done_callback(lambda _: party.kill())
        return task

    def may_be_forged(self, job_id: str) -> bool:
        """Whether a host had this job that says one thing in its stream and another in its report."""
        forgers = {host.id for host in self.hosts if host.lies in FORGERS}
        attempts = self.memory._state.attempts
        return any(a.job_id == job_id and a.island_id in forgers for a in attempts)

    def _wrote(self, job_id: str, position: int) -> None:
        self.written[job_id] = max(self.written.get(job_id, 0), position)

    def _stored(self, job_id: str) -> Job | None:
        return self.memory._state.jobs.get(JobId(job_id))

    async def customers_gone(self) -> None:
        if self._living:
            await asyncio.wait(self._living)
        for task in self._living:
            task.result()
        self._living.clear()

    def alive(self) -> list[Party]:
        parties = [one.party for one in (*self.coordinators, *self.islands) if one is not None]
        return [party for party in parties if not party.dead]

    def end(self) -> None:
        """Nothing runs after this."""
        for party in self.alive():
            party.kill()
        if self.broker is not None:
            self.broker.party.kill()
        self.jetstream.stop()
        self.network.end()
