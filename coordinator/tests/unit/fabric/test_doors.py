"""What Islands say is checked at the door: whose signature, whose name, and every bound."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
from archipelag_contracts.errors import BadMessage, ContractError
from archipelag_contracts.ids import IslandId, RelayId
from archipelag_contracts.pb.archipelag.v1 import common_pb2, island_pb2
from archipelag_contracts.pb.archipelag.v1.job_pb2 import Report
from archipelag_contracts.signing import SigningKey, chain, open_sealed
from archipelag_coordinator.apps.islands.decode import beat_of, capabilities_of, held_of, report_of
from archipelag_coordinator.apps.islands.heartbeats import Heartbeats
from archipelag_coordinator.apps.islands.known import KnownKeys
from archipelag_coordinator.apps.islands.nonces import Nonces
from archipelag_coordinator.apps.islands.reports import Reports
from archipelag_coordinator.domain.answers import Answers
from archipelag_coordinator.domain.attempt import Attempt, Cause
from archipelag_coordinator.domain.island import Island, IslandStatus
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing import builders
from archipelag_coordinator.testing.fakes import (
    FakeBroker,
    FakeChunkRelay,
    FakeClock,
    FakeIslandBus,
    SequenceIds,
)
from archipelag_coordinator.testing.memory_store import MemoryStore

COORDINATOR = SigningKey.generate()


@dataclass
class Scene:
    world: World
    store: MemoryStore
    island: Island
    key: SigningKey
    job: Job
    attempt: Attempt
    heartbeats: Heartbeats
    reports: Reports


@pytest.fixture
async def scene() -> Scene:
    clock = FakeClock()
    store = MemoryStore(clock)
    world = World(
        store=store,
        door=store,
        clock=clock,
        ids=SequenceIds(),
        bus=FakeIslandBus(),
        relay=FakeChunkRelay(),
        broker=FakeBroker(),
        home=builders.HOME,
    )
    owner, _, _ = await builders.a_customer(store)
    cargo = await builders.a_stored_cargo(store)
    key = SigningKey.generate()
    island = await builders.a_stored_island(store, owner, cargo=cargo, public_key=key.public)
    job = builders.a_job(owner, cargo=cargo)
    async with store.begin() as tx:
        await tx.jobs.add(job)
        await tx.ledger.reserve(builders.a_reservation(job))
        started = builders.a_job(owner, cargo=cargo, id=job.id, status=JobStatus.RUNNING, epoch=1)
        await tx.jobs.save(started, was=job)
        attempt = builders.an_attempt(started, island)
        await tx.attempts.add(attempt)
    keys = KnownKeys(world)
    return Scene(
        world,
        store,
        island,
        key,
        started,
        attempt,
        Heartbeats(world, keys, COORDINATOR),
        Reports(world, keys),
    )


def a_report(scene: Scene, **changes: Any) -> Report:
    texts, tokens = ["Hel", "lo"], [3, 4]
    sane: dict[str, Any] = {
        "job_id": scene.job.id,
        "epoch": 1,
        "island_id": scene.island.id,
        "cargo_digest": scene.job.cargo_digest,
        "cause": common_pb2.CAUSE_COMPLETED,
        "finish_reason": "stop",
        "first_position": 0,
        "next_position": 2,
        "usage": common_pb2.Usage(prompt_tokens=5, output_items=2),
        "input_sha256": hashlib.sha256(scene.job.input).digest(),
        "output_chain": chain(zip(texts, tokens, strict=True)),
        "texts": texts,
        "tokens": tokens,
    }
    return Report(**sane | changes)


def a_beat(scene: Scene, **changes: Any) -> island_pb2.Heartbeat:
    sane: dict[str, Any] = {
        "island_id": scene.island.id,
        "sequence": 1,
        "boot_id": "boot-1",
        "slots": 4,
        "held": [island_pb2.HeldAttempt(job_id=scene.job.id, epoch=1, state=1)],
        "capabilities": common_pb2.Capabilities(region="eu", cores=4),
    }
    return island_pb2.Heartbeat(**sane | changes)


async def status_of(scene: Scene) -> JobStatus:
    async with scene.store.begin() as tx:
        job = await tx.jobs.get(scene.job.id)
    assert job is not None
    return job.status


async def test_an_honest_report_settles_the_job_and_a_second_changes_nothing(scene: Scene) -> None:
    sealed = scene.key.seal(a_report(scene))

    assert await scene.reports.take(scene.island.id, sealed) is True
    assert await status_of(scene) is JobStatus.SUCCEEDED
    assert await scene.reports.take(scene.island.id, sealed) is True
    assert await status_of(scene) is JobStatus.SUCCEEDED


async def test_a_report_goes_to_the_process_that_relays_the_job(scene: Scene) -> None:
    sealed = scene.key.seal(a_report(scene))
    elsewhere = replace(scene.world, home=RelayId(builders.an_id("rly")), answers=Answers())
    reports = Reports(elsewhere, KnownKeys(elsewhere))
    handed: list[tuple[str, bytes]] = []

    async def take(island: IslandId, data: bytes) -> bool:
        handed.append((island, data))
        return True

    bus = scene.world.bus
    assert isinstance(bus, FakeIslandBus)
    bus.homes[scene.world.home] = take
    assert await reports.take(scene.island.id, sealed) is True
    assert handed == [(scene.island.id, sealed)]
    assert await status_of(scene) is JobStatus.RUNNING

    bus.homes.clear()  # That process died: whoever has the report goes on with the job.
    with pytest.raises(ConnectionError, match="adopted"):
        await reports.take(scene.island.id, sealed)
    adopted = elsewhere.answers.own(scene.job.id)
    assert adopted is not None and await status_of(scene) is JobStatus.RUNNING
    assert await reports.take(scene.island.id, sealed) is True
    assert await status_of(scene) is JobStatus.SUCCEEDED


async def test_a_liar_who_waited_for_a_dead_coordinator_is_compared_with_what_was_streamed(
    scene: Scene,
) -> None:
    elsewhere = replace(scene.world, home=RelayId(builders.an_id("rly")), answers=Answers())
    reports = Reports(elsewhere, KnownKeys(elsewhere))
    forged = scene.key.seal(a_report(scene))
    with pytest.raises(ConnectionError):
        await reports.take(scene.island.id, forged)
    relay = elsewhere.relay
    assert isinstance(relay, FakeChunkRelay)
    relay.deliver(scene.job.id, scene.job.epoch, 0, ["something else"])

    await reports.take(scene.island.id, forged)

    async with scene.store.begin() as tx:
        (attempt,) = await tx.attempts.of_job(scene.job.id)
    assert attempt.cause is Cause.BAD_OUTPUT


async def test_a_report_that_was_handed_over_is_settled_here(scene: Scene) -> None:
    assert await scene.reports.take_here(scene.island.id, scene.key.seal(a_report(scene))) is True
    assert await status_of(scene) is JobStatus.SUCCEEDED


async def test_a_stale_report_is_dealt_with_and_settles_nothing(scene: Scene) -> None:
    sealed = scene.key.seal(a_report(scene, epoch=2))

    assert await scene.reports.take(scene.island.id, sealed) is True
    assert await status_of(scene) is JobStatus.RUNNING


@pytest.mark.parametrize(
    "changes",
    [
        {"island_id": "isl_00000000000000000000000099"},
        {"job_id": "job_1"},
        {"job_id": ""},
        {"epoch": 0},
        {"epoch": 2**32 - 1},
        {"cause": common_pb2.CAUSE_LEASE_LOST},
        {"cause": common_pb2.CAUSE_UNSPECIFIED},
        {"cause": 77},
        {"next_position": 2**63},
        {"cargo_digest": "sha256:x"},
        {"output_chain": b""},
        {"input_sha256": b"x" * 33},
    ],
)
async def test_a_report_that_breaks_a_bound_is_refused(
    scene: Scene, changes: dict[str, Any]
) -> None:
    sealed = scene.key.seal(a_report(scene, **changes))

    assert await scene.reports.take(scene.island.id, sealed) is False
    assert await status_of(scene) is JobStatus.RUNNING


async def test_a_report_by_another_key_or_under_another_subject_is_refused(scene: Scene) -> None:
    stranger = SigningKey.generate()
    other = await builders.a_stored_island(
        scene.store, (await builders.a_customer(scene.store))[0], public_key=stranger.public
    )
    honest = a_report(scene)

    assert await scene.reports.take(scene.island.id, stranger.seal(honest)) is False
    assert await scene.reports.take(other.id, scene.key.seal(honest)) is False
    assert await scene.reports.take(other.id, stranger.seal(honest)) is False
    as_heartbeat = scene.key.seal(a_beat(scene))
    assert await scene.reports.take(scene.island.id, as_heartbeat) is False
    assert await scene.reports.take(scene.island.id, b"") is False
    assert await scene.reports.take(scene.island.id, b"\xff" * 100) is False
    assert await status_of(scene) is JobStatus.RUNNING


async def test_a_heartbeat_extends_leases_and_is_answered_with_a_signature(scene: Scene) -> None:
    unknown = island_pb2.HeldAttempt(job_id="job_" + "0" * 25 + "z", epoch=4, state=1)
    beat = a_beat(scene)
    beat.held.append(unknown)

    data = await scene.heartbeats.take(scene.island.id, scene.key.seal(beat))

    assert data is not None
    reply = open_sealed(data, island_pb2.HeartbeatReply, {COORDINATOR.public})
    assert (reply.island_id, reply.sequence) == (scene.island.id, 1)
    assert [(ref.job_id, ref.epoch) for ref in reply.stop] == [(unknown.job_id, 4)]
    assert reply.accepts_work and reply.next_interval_ms > 0
    async with scene.store.begin() as tx:
        attempt = await tx.attempts.get(scene.job.id, scene.attempt.epoch)
    assert attempt is not None and attempt.lease_until >= scene.attempt.lease_until
    known = scene.world.fleet.get(scene.island.id)
    assert known is not None and known.capabilities["cores"] == 4


async def test_a_heartbeat_by_another_key_or_in_another_name_gets_no_answer(scene: Scene) -> None:
    stranger = SigningKey.generate()
    take = scene.heartbeats.take
    island = scene.island.id

    assert await take(island, stranger.seal(a_beat(scene))) is None
    assert await take(island, scene.key.seal(a_beat(scene, island_id="isl_" + "0" * 26))) is None
    assert await take(island, scene.key.seal(a_report(scene))) is None
    assert await take(builders.an_id("isl"), scene.key.seal(a_beat(scene))) is None  # type: ignore[arg-type]
    assert await take(island, b"") is None


async def test_a_suspended_island_is_told_to_stop(scene: Scene) -> None:
    suspended = scene.island.suspend()
    async with scene.store.begin() as tx:
        await tx.islands.save(suspended)

    data = await scene.heartbeats.take(scene.island.id, scene.key.seal(a_beat(scene)))

    assert data is not None
    reply = open_sealed(data, island_pb2.HeartbeatReply, {COORDINATOR.public})
    assert not reply.accepts_work and len(reply.stop) == 1
    assert IslandStatus.SUSPENDED.value in reply.notice


def test_hostile_numbers_in_a_heartbeat_are_bounded() -> None:
    state = island_pb2.CargoState(
        slug="x" * 500,
        digest="sha256:" + "0" * 64,
        state=3,  # type: ignore[arg-type]
        reason="a\0b\nc" * 200,
        items_per_s=math.inf,
        first_item_ms=-5.0,
        prompt_tokens_per_s=math.nan,
        determinism_class="llm-chat.1\n" + "x" * 500,
        slots=2**32 - 1,
    )
    message = island_pb2.Heartbeat(
        cargos=[state], load=math.nan, slots=2**32 - 1, sequence=2**64 - 1
    )

    beat = beat_of(message)

    offer = beat.offers[0]
    assert (offer.items_per_s, offer.first_item_ms, offer.prompt_tokens_per_s) == (0, 0, 0)
    assert offer.determinism_class == ("llm-chat.1 " + "x" * 500)[:128]
    assert len(offer.slug) == 64 and len(offer.reason) <= 200 and "\0" not in offer.reason
    assert offer.slots == beat.slots == 4096
    assert beat.load == 0 and beat.sequence == 2**63 - 1


def test_of_ten_thousand_prompts_that_an_island_says_it_holds_a_few_are_heard() -> None:
    cargo = island_pb2.CargoState(
        slug="llm-chat",
        digest="sha256:" + "0" * 64,
        state=island_pb2.CargoState.STATE_WARM,
        prefixes=range(2**64 - 10_000, 2**64),
    )

    (offer,) = beat_of(island_pb2.Heartbeat(cargos=[cargo])).offers

    assert offer.prefixes == tuple(range(2**64 - 10_000, 2**64 - 10_000 + 64))


@pytest.mark.parametrize(
    "message",
    [
        island_pb2.Heartbeat(cargos=[island_pb2.CargoState()] * 65),
        island_pb2.Heartbeat(cargos=[island_pb2.CargoState(digest="x")]),
        island_pb2.Heartbeat(cargos=[island_pb2.CargoState(digest="sha256:" + "0" * 64, state=9)]),  # type: ignore[arg-type]
        island_pb2.Heartbeat(held=[island_pb2.HeldAttempt(job_id="x", epoch=1)]),
        island_pb2.Heartbeat(held=[island_pb2.HeldAttempt(job_id="job_" + "0" * 26, epoch=0)]),
        island_pb2.Heartbeat(held=[island_pb2.HeldAttempt()] * 5000),
    ],
)
def test_an_impossible_heartbeat_is_refused(message: island_pb2.Heartbeat) -> None:
    def read() -> None:
        beat_of(message)
        held_of(message)

    with pytest.raises(ContractError):
        read()


def test_capabilities_are_cut_to_size() -> None:
    told = common_pb2.Capabilities(
        agent_version="x" * 9999,
        cpu_features=["f" * 999] * 999,
        gpus=[common_pb2.Gpu(name="g" * 999, memory_bytes=2**64 - 1)] * 999,
        runtimes=[common_pb2.RuntimeInfo(name="native", isolation=["a"] * 999)] * 999,
        engines=["e"] * 999,
        memory_bytes=2**64 - 1,
    )

    found = capabilities_of(told)

    assert len(found["agent_version"]) == 64
    assert len(found["cpu_features"]) == 64 and len(found["cpu_features"][0]) == 200
    assert len(found["gpus"]) == 32 and found["gpus"][0]["memory_bytes"] == 2**63 - 1
    assert len(found["runtimes"]) == 64 and len(found["runtimes"][0]["isolation"]) == 64
    assert len(found["engines"]) == 64


def test_a_report_keeps_the_signed_bytes_as_they_came(scene: Scene) -> None:
    report = report_of(a_report(scene), scene.island.id, b"raw")

    assert report.raw == b"raw" and report.cause is Cause.COMPLETED
    with pytest.raises(BadMessage):
        report_of(a_report(scene), builders.an_id("isl"), b"raw")  # type: ignore[arg-type]


def test_a_nonce_is_good_for_a_minute_and_once() -> None:
    clock = FakeClock()
    count = iter(range(1000))
    nonces = Nonces(b"secret", clock, lambda size: next(count).to_bytes(size, "big"))
    first, second, third = nonces.give(), nonces.give(), nonces.give()

    assert nonces.take(first)
    assert not nonces.take(first)
    clock.advance(59)
    assert nonces.take(second)
    clock.advance(2)
    assert not nonces.take(third)


def test_a_nonce_that_we_did_not_make_is_refused() -> None:
    clock = FakeClock()
    nonces = Nonces(b"secret", clock, bytes)
    theirs = Nonces(b"other", clock, bytes).give()
    mine = nonces.give()

    for nonce in (theirs, b"", mine[:-1], mine + b"x", b"\xff" + mine[1:], mine[:-1] + b"\0"):
        assert not nonces.take(nonce)
    assert nonces.take(mine)
