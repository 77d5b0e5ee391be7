"""Assignments, cancels and heartbeats travel over a real broker, whatever the Island at the other end is like."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from archipelag_contracts import subjects
from archipelag_contracts.errors import BadSignature
from archipelag_contracts.ids import CargoDigest, Epoch, JobId
from archipelag_contracts.pb.archipelag.v1.job_pb2 import (
    Assignment as WireAssignment,
)
from archipelag_contracts.pb.archipelag.v1.job_pb2 import (
    AssignmentReply,
    Cancel,
    Refusal,
)
from archipelag_contracts.pb.archipelag.v1.job_pb2 import (
    Room as WireRoom,
)
from archipelag_contracts.signing import SigningKey, open_sealed
from archipelag_coordinator.adapters.nats.island_bus import NatsIslandBus
from archipelag_coordinator.domain.berth import Room
from archipelag_coordinator.services.ports import Accepted, Assignment, Refused, Unreachable
from archipelag_embedded.fixtures import PATIENCE_S

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = JobId("job_00000000000000000000000001")


def assignment(island: Any, relay: Any) -> Assignment:
    return Assignment(
        job_id=JOB,
        epoch=Epoch(3),
        island_id=island,
        relay=relay,
        cargo_slug="llm-chat",
        cargo_digest=CargoDigest("sha256:" + "0" * 64),
        input=b'{"messages":[]}',
        lease_ms=60_000,
        deadline_ms=30_000,
        first_position=2,
        resume_tokens=(5, 6),
        resume_texts=("a", "b"),
        output_items_max=16,
        output_bytes_max=4096,
    )


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def bus(fabric: Any, key: SigningKey) -> NatsIslandBus:
    return NatsIslandBus(fabric.connection, key)


async def answering(host: Any, reply: bytes) -> list[bytes]:
    heard: list[bytes] = []

    async def answer(message: Any) -> None:
        heard.append(message.data)
        await message.respond(reply)

    await host.nc.subscribe(subjects.assign(host.id), cb=answer)
    await host.settle()
    return heard


async def test_an_accepted_assignment_arrives_signed_and_whole(
    fabric: Any, bus: NatsIslandBus, key: SigningKey
) -> None:
    host = await fabric.host().connect()
    heard = await answering(host, AssignmentReply(accepted=True).SerializeToString())

    said = await bus.assign(assignment(host.id, fabric.relay), NOW, 5)

    assert said == Accepted()
    got = open_sealed(heard[0], WireAssignment, {key.public})
    assert (got.job_id, got.epoch, got.island_id, got.relay) == (JOB, 3, host.id, fabric.relay)
    assert list(got.resume_tokens) == [5, 6] and got.first_position == 2
    assert got.issued_at_ms == int(NOW.timestamp() * 1000)
    with pytest.raises(BadSignature):
        open_sealed(heard[0], WireAssignment, {SigningKey.generate().public})


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (
            AssignmentReply(
                refusal=Refusal(code=Refusal.CODE_NO_SLOT, reason="full\n\x1b[2J" + "x" * 900)
            ).SerializeToString(),
            Refused("no_slot: full [2J" + "x" * 192),
        ),
        (
            AssignmentReply(
                refusal=Refusal(code=Refusal.CODE_NO_SLOT), room=WireRoom(slots_free=2)
            ).SerializeToString(),
            Refused("no_slot", Room(2, 0)),
        ),
        (
            AssignmentReply(
                accepted=True, room=WireRoom(slots_free=2, cargo_slots_free=7)
            ).SerializeToString(),
            Accepted(Room(2, 2)),
        ),
        (
            AssignmentReply(refusal=Refusal(code=Refusal.CODE_STALE)).SerializeToString(),
            Refused("stale"),
        ),
        (
            AssignmentReply(refusal=Refusal(code=99)).SerializeToString(),  # type: ignore[arg-type]
            Refused("unspecified"),
        ),
        (b"", Unreachable("the Island's answer says neither yes nor no")),
        (b"\xff\xff", Unreachable("the Island's answer cannot be read")),
        (b"x" * 10_000, Unreachable("the Island's answer is too large")),
    ],
)
async def test_any_answer_is_a_verdict_and_says_what_is_free_where_the_island_does(
    fabric: Any, bus: NatsIslandBus, reply: bytes, verdict: Any
) -> None:
    host = await fabric.host().connect()
    await answering(host, reply)

    said = await bus.assign(assignment(host.id, fabric.relay), NOW, 5)

    assert said == verdict


async def test_an_island_that_is_away_is_unreachable_at_once(
    fabric: Any, bus: NatsIslandBus
) -> None:
    host = fabric.host()

    said = await asyncio.wait_for(
        bus.assign(assignment(host.id, fabric.relay), NOW, 600), PATIENCE_S
    )

    assert said == Unreachable("the Island is not connected")


async def test_an_island_that_says_nothing_is_unreachable_after_the_wait(
    fabric: Any, bus: NatsIslandBus
) -> None:
    host = await fabric.host().connect()
    await host.nc.subscribe(subjects.assign(host.id))
    await host.settle()

    said = await bus.assign(assignment(host.id, fabric.relay), NOW, 0.2)

    assert said == Unreachable("the Island did not answer within 0.2 s")


async def test_without_a_broker_nobody_is_reachable_and_nothing_hangs(
    fabric: Any, bus: NatsIslandBus, eventually: Any
) -> None:
    host = fabric.host()
    await fabric.server.kill()
    await eventually(lambda: not fabric.connection.connected)

    said = await asyncio.wait_for(
        bus.assign(assignment(host.id, fabric.relay), NOW, 600), PATIENCE_S
    )

    assert isinstance(said, Unreachable)
    await bus.cancel(host.id, JOB, Epoch(1), "x", NOW)
    await bus.keys_changed()
    await fabric.server.start()
    await eventually(lambda: fabric.connection.connected)


async def test_an_assignment_that_the_broker_cannot_carry_is_refused(
    fabric: Any, bus: NatsIslandBus
) -> None:
    host = await fabric.host().connect()
    huge = replace(assignment(host.id, fabric.relay), input=b"x" * (2 << 20))

    said = await bus.assign(huge, NOW, 5)

    assert isinstance(said, Refused)


async def test_a_cancel_arrives_signed(fabric: Any, bus: NatsIslandBus, key: SigningKey) -> None:
    host = await fabric.host().connect()
    heard = await host.nc.subscribe(subjects.cancel(host.id))
    await host.settle()

    await bus.cancel(host.id, JOB, Epoch(3), "the reader left", NOW)

    message = await heard.next_msg(5)
    got = open_sealed(message.data, Cancel, {key.public})
    assert (got.job_id, got.epoch, got.island_id) == (JOB, 3, host.id)


async def test_coordinators_hear_of_settled_jobs_and_changed_keys(
    fabric: Any, bus: NatsIslandBus
) -> None:
    jobs: asyncio.Queue[JobId] = asyncio.Queue()
    changed = asyncio.Event()
    await bus.listen_ended(fabric.relay, jobs.put)
    await bus.listen_keys_changed(changed.set)

    await fabric.connection.client.publish(subjects.ended(fabric.relay), b"\xff nonsense")
    await bus.ended(fabric.relay, JOB)
    await bus.keys_changed()

    assert await asyncio.wait_for(jobs.get(), PATIENCE_S) == JOB
    await asyncio.wait_for(changed.wait(), PATIENCE_S)
    assert jobs.empty()


async def test_a_heartbeat_is_answered_in_that_islands_inbox_alone(
    fabric: Any, bus: NatsIslandBus, eventually: Any
) -> None:
    host = await fabric.host().connect()
    other = await fabric.host().connect()
    overheard = await other.nc.subscribe(f"{subjects.inbox_prefix(other.id)}.>")
    assigned = await other.nc.subscribe(subjects.assign(other.id))
    await other.settle()
    heard: list[tuple[Any, bytes]] = []

    async def answer(island: Any, data: bytes) -> bytes:
        heard.append((island, data))
        return b"answer to " + data

    await bus.listen_heartbeats(answer)
    mine = subjects.heartbeat(host.id)

    for inbox in (
        f"{subjects.inbox_prefix(other.id)}.x",
        subjects.assign(other.id),
        "$JS.API.STREAM.PURGE.REPORTS",
        subjects.KEYS_CHANGED,
        "",
    ):
        await host.nc.publish(mine, b"evil", reply=inbox)
    reply = await host.nc.request(mine, b"one", timeout=PATIENCE_S)
    await bus.keys_changed()
    await fabric.connection.client.flush()
    await fabric.connection.client.flush()

    assert reply.data == b"answer to one"
    assert heard == [(host.id, b"one")]
    assert bus.overlooked == 5
    assert overheard.pending_msgs == 0 and assigned.pending_msgs == 0


async def test_word_of_a_new_catalogue_reaches_every_island(
    fabric: Any, bus: NatsIslandBus
) -> None:
    hosts = [await fabric.host().connect() for _ in range(2)]
    heard = [await host.nc.subscribe(subjects.CATALOGUE_CHANGED) for host in hosts]
    for host in hosts:
        await host.settle()

    await bus.catalogue_changed(7)

    assert [(await one.next_msg(timeout=PATIENCE_S)).data for one in heard] == [b"7", b"7"]


async def test_a_failing_or_silent_answer_leaves_the_next_heartbeat_alone(
    fabric: Any, bus: NatsIslandBus
) -> None:
    host = await fabric.host().connect()

    async def answer(island: Any, data: bytes) -> bytes | None:
        if data == b"fail":
            raise RuntimeError("the database is away")
        return None if data == b"none" else data

    await bus.listen_heartbeats(answer)
    await host.nc.publish(subjects.heartbeat(host.id), b"fail", reply=host.nc.new_inbox())
    await host.nc.publish(subjects.heartbeat(host.id), b"none", reply=host.nc.new_inbox())

    reply = await host.nc.request(subjects.heartbeat(host.id), b"ok", timeout=PATIENCE_S)

    assert reply.data == b"ok"


async def test_everything_comes_back_after_the_broker_lost_all(
    fabric: Any, bus: NatsIslandBus, eventually: Any
) -> None:
    import shutil

    async def answer(island: Any, data: bytes) -> bytes:
        return data

    await bus.listen_heartbeats(answer)
    await fabric.server.kill()
    shutil.rmtree(fabric.server.folder / "js")
    await eventually(lambda: not fabric.connection.connected)

    await fabric.server.start()

    await eventually(lambda: fabric.connection.connected)
    host = await fabric.host().connect()
    reply = await host.nc.request(subjects.heartbeat(host.id), b"again", timeout=PATIENCE_S)
    assert reply.data == b"again"
    js = host.nc.jetstream(timeout=PATIENCE_S)
    ack = None
    async with asyncio.timeout(PATIENCE_S):
        while ack is None:
            try:
                ack = await js.publish(subjects.report(host.id), b"x")
            except Exception:
                await asyncio.sleep(0.05)
    assert ack.stream == "REPORTS"


async def test_a_connection_that_the_broker_closed_for_good_is_made_anew(
    fabric: Any, bus: NatsIslandBus, eventually: Any
) -> None:
    async def answer(island: Any, data: bytes) -> bytes:
        return data

    await bus.listen_heartbeats(answer)
    first = fabric.connection.client
    # What a broker says before it closes for good; nats-py does not come back from it by itself.
    await first._process_err("'maximum connections exceeded'")

    await eventually(lambda: fabric.connection.client is not first and fabric.connection.connected)
    host = await fabric.host().connect()
    reply = await host.nc.request(subjects.heartbeat(host.id), b"again", timeout=PATIENCE_S)

    assert reply.data == b"again"
