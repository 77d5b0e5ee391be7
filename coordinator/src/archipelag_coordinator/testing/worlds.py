"""A small network in memory: one customer, one Cargo, Islands that do as a test says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final

from archipelag_contracts.ids import Epoch, JobId, RelayId
from archipelag_contracts.signing import chain

from archipelag_coordinator.domain.answers import Answers
from archipelag_coordinator.domain.attempt import Cause, Usage
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.catalogue import Catalogue
from archipelag_coordinator.domain.footing import Footing
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.ledger import fund_insurance, user_account
from archipelag_coordinator.domain.place_tokens import PlaceTokens
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.services.asked import Submission
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.submit import submit
from archipelag_coordinator.services.track import ReportIn
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing import builders
from archipelag_coordinator.testing.fakes import (
    START,
    FakeBroker,
    FakeChunkRelay,
    FakeClock,
    FakeIslandBus,
    FakeMail,
    SequenceIds,
)
from archipelag_coordinator.testing.memory_files import MemoryBlobs
from archipelag_coordinator.testing.memory_store import MemoryStore

PROMPT_SECRET: Final = b"a secret of all Coordinators of this test"


class Firm(Footing):
    """A store that was never away, so that a test need not keep saying so."""

    def firm_for_s(self, now: float) -> float:  # noqa: ARG002 - part of the noun
        return inf


@dataclass
class Scene:
    """A world with its fakes at hand, and one customer in it."""

    world: World
    clock: FakeClock
    bus: FakeIslandBus
    relay: FakeChunkRelay
    broker: FakeBroker
    store: MemoryStore
    cargo: Cargo
    user: User
    key: ApiKey
    owner: User
    nudges: list[None]
    mail: FakeMail = field(default_factory=FakeMail)

    def another(self) -> World:
        """A second Coordinator on the same store, bus and Islands; its relay is its own."""
        return replace(
            self.world,
            home=RelayId(builders.an_id("rly")),
            answers=Answers(),
            relay=FakeChunkRelay(),
            catalogue=Catalogue(self.world.catalogue.cargos, self.world.catalogue.document),
        )

    async def island(self, **changes: Any) -> Island:
        """Another Island with this Cargo warm, known to the store and to placement."""
        island = await builders.a_stored_island(self.store, self.owner, cargo=self.cargo, **changes)
        self.world.fleet.load([island])
        return island

    def submission(self, **changes: Any) -> Submission:
        given = Submission(
            user=self.user,
            key=self.key,
            workload=self.cargo.slug,
            input={"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8},
            interactive=True,
            request_hash=b"first request",
        )
        return replace(given, **changes)

    async def submit(self, **changes: Any) -> Job:
        return (await submit(self.world, self.submission(**changes))).job

    async def running(self, **changes: Any) -> Job:
        """Submitted and accepted by an Island."""
        return await dispatch(self.world, (await self.submit(**changes)).id)

    async def job(self, job_id: JobId) -> Job:
        async with self.store.begin() as tx:
            job = await tx.jobs.get(job_id)
        assert job is not None
        return job

    async def balance(self, user: User | None = None) -> int:
        """What the customer may spend."""
        async with self.store.begin() as tx:
            return (await tx.ledger.account(user_account((user or self.user).id))).available

    def stream(
        self, job: Job, *texts: str, prompt_tokens: int = 5, cached_tokens: int = 0
    ) -> str | None:
        """Chunks of the current attempt arrive, after those that came before."""
        answer = self.world.answers.get(job.id)
        assert answer is not None
        now = self.clock.monotonic()
        return self.relay.deliver(
            job.id,
            job.epoch,
            answer.next,
            texts,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            now=now,
        )

    def report(
        self, job: Job, *texts: str, cause: Cause = Cause.COMPLETED, **changes: Any
    ) -> ReportIn:
        """What an honest Island reports of the current attempt."""
        island = self.bus.assigned[-1].island_id
        honest: dict[str, Any] = {
            "island_id": island,
            "job_id": job.id,
            "epoch": Epoch(job.epoch),
            "cargo_digest": job.cargo_digest,
            "cause": cause,
            "finish_reason": "stop" if cause is Cause.COMPLETED else "",
            "error": "",
            "first_position": 0,
            "next_position": len(texts),
            "usage": Usage(prompt_tokens=5, output_items=len(texts)),
            "input_sha256": b"",
            "output_chain": chain((text, 0) for text in texts),
            "texts": texts,
            "tokens": (),
            "raw": b"report %d" % job.epoch,
        }
        return ReportIn(**honest | changes)


async def a_scene(
    *,
    credit: int = builders.CREDIT,
    policy: Policy | None = None,
    store: MemoryStore | None = None,
    **cargo: Any,
) -> Scene:
    """A network with a customer and a Cargo, and no Island yet. `store`: any store that is also a `Door`."""
    clock, bus, relay, broker = FakeClock(), FakeIslandBus(), FakeChunkRelay(), FakeBroker()
    store = MemoryStore(clock) if store is None else store
    nudges: list[None] = []
    mail = FakeMail()
    user, key, _ = await builders.a_customer(store, credit)
    owner = builders.a_user()
    stored = await builders.a_stored_cargo(store, **cargo)
    async with store.begin() as tx:
        await tx.users.add(owner)
        await tx.ledger.transfer(fund_insurance(builders.CREDIT, "test", START))
    world = World(
        place_tokens=PlaceTokens(b"shared by the Coordinators of a test"),
        store=store,
        door=store,
        clock=clock,
        ids=SequenceIds(),
        bus=bus,
        relay=relay,
        broker=broker,
        home=builders.HOME,
        policy=policy or Policy(),
        catalogue=Catalogue([stored]),
        blobs=MemoryBlobs(),
        mail=mail,
        prompt_secret=PROMPT_SECRET,
        nudge=lambda: nudges.append(None),
        footing=Firm(),
    )
    return Scene(world, clock, bus, relay, broker, store, stored, user, key, owner, nudges, mail)
