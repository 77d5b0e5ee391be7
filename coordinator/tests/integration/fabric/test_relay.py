"""Output over a real broker: what one Island says reaches its own answer alone, also over a broken connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from archipelag_contracts import subjects
from archipelag_contracts.ids import Epoch, JobId, RelayId
from archipelag_contracts.pb.archipelag.v1 import common_pb2
from archipelag_contracts.pb.archipelag.v1.job_pb2 import Chunk, End
from archipelag_coordinator.adapters.nats.chunk_relay import NatsChunkRelay
from archipelag_coordinator.adapters.nats.replay import StreamReplay
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Cause
from archipelag_embedded.fixtures import PATIENCE_S

JOB = JobId("job_00000000000000000000000001")


@pytest.fixture
async def relay(fabric: Any) -> AsyncIterator[NatsChunkRelay]:
    one = NatsChunkRelay(
        fabric.relay, SystemClock(), StreamReplay(fabric.connection, SystemClock())
    )
    one.attach(fabric.wire)
    await fabric.wire.flush()
    yield one
    await one.stop()


def an_answer(epoch: int = 1) -> Answer:
    answer = Answer(JOB, items_max=100_000, size_bytes_max=1 << 24, now=0.0)
    answer.begin(Epoch(epoch), 0.0)
    return answer


def chunk(first: int, *texts: str) -> bytes:
    return Chunk(first=first, texts=texts, tokens=[7] * len(texts)).SerializeToString()


def the_end(next_position: int) -> bytes:
    return Chunk(
        end=End(cause=common_pb2.CAUSE_COMPLETED, finish_reason="stop", next=next_position)
    ).SerializeToString()


async def test_a_stream_arrives_whole(fabric: Any, relay: NatsChunkRelay, eventually: Any) -> None:
    host = await fabric.host().connect()
    answer = an_answer()
    relay.open(answer, host.id, Epoch(1))
    subject = subjects.out(host.id, fabric.relay, JOB, Epoch(1))

    for n in range(2_000):
        await host.nc.publish(subject, chunk(n, f"{n} "))
    await host.nc.publish(subject, the_end(2_000))
    await eventually(lambda: answer.attempt_end is not None)

    assert answer.texts == [f"{n} " for n in range(2_000)]
    assert answer.attempt_end is not None and answer.attempt_end.cause is Cause.COMPLETED


async def test_wrong_relay_epoch_job_and_island_change_nothing(
    fabric: Any, relay: NatsChunkRelay, eventually: Any
) -> None:
    host = await fabric.host().connect()
    other = await fabric.host().connect()
    answer = an_answer(epoch=2)
    relay.open(answer, host.id, Epoch(2))
    elsewhere = RelayId("rly_00000000000000000000000009")

    await host.nc.publish(subjects.out(host.id, elsewhere, JOB, Epoch(2)), chunk(0, "relay"))
    await host.nc.publish(subjects.out(host.id, fabric.relay, JOB, Epoch(1)), chunk(0, "epoch"))
    await host.nc.publish(
        subjects.out(host.id, fabric.relay, JobId(JOB[:-1] + "9"), Epoch(2)), chunk(0, "job")
    )
    await other.nc.publish(subjects.out(other.id, fabric.relay, JOB, Epoch(2)), chunk(0, "island"))
    await other.nc.publish(subjects.out(host.id, fabric.relay, JOB, Epoch(2)), chunk(0, "forged"))
    await other.settle()
    await host.nc.publish(subjects.out(host.id, fabric.relay, JOB, Epoch(2)), chunk(0, "right"))
    await eventually(lambda: bool(answer.texts) and relay.counts.unknown == 3)

    assert answer.texts == ["right"]
    assert any("permissions violation" in e.lower() for e in other.errors)


async def test_what_was_said_while_the_wire_was_cut_is_fetched(
    fabric: Any, relay: NatsChunkRelay, eventually: Any
) -> None:
    host = await fabric.host().connect()
    answer = an_answer()
    relay.open(answer, host.id, Epoch(1))
    subject = subjects.out(host.id, fabric.relay, JOB, Epoch(1))
    await host.nc.publish(subject, chunk(0, "a"))
    await eventually(lambda: answer.next == 1)

    fabric.wire._protocol.close()
    for n, text in enumerate("bcd", start=1):
        await host.nc.publish(subject, b"")  # keep-alives are kept, too
        await host.nc.publish(subject, chunk(n, text))
    await host.nc.publish(subject, the_end(4))
    await host.settle()
    await eventually(lambda: answer.attempt_end is not None)

    assert answer.texts == ["a", "b", "c", "d"]
    assert answer.attempt_end is not None and answer.attempt_end.cause is Cause.COMPLETED


async def test_what_was_said_is_read_in_batches_and_from_a_place_that_was_kept(fabric: Any) -> None:
    host = await fabric.host().connect()
    subject = subjects.out(host.id, fabric.relay, JOB, Epoch(1))
    other = subjects.out(host.id, fabric.relay, JobId(JOB[:-1] + "2"), Epoch(1))
    for n in range(1200):  # More than a batch.
        await host.nc.publish(subject, chunk(n, "x"))
        await host.nc.publish(other, chunk(n, "y"))
    await host.settle()
    replay = StreamReplay(fabric.connection, SystemClock())
    unknown = replay.place(0.0)
    async with asyncio.timeout(PATIENCE_S):
        while (replay.place(0.0) or 0) < 2400:  # The stream takes in what the broker has.
            await replay.keep_place()
    for n in range(1200, 1203):
        await host.nc.publish(subject, chunk(n, "x"))
    await host.settle()

    async def read(after: int) -> list[int]:
        return [Chunk.FromString(data).first async for _, _, data in replay.chunks(subject, after)]

    place = replay.place(0.0)
    assert place is not None and unknown is None and replay.place(3600.0) is None
    async with asyncio.timeout(PATIENCE_S):
        while await read(place) != [1200, 1201, 1202]:
            pass
    assert await read(0) == list(range(1203))


async def test_a_gap_that_nobody_can_fill_ends_the_attempt_and_blames_nobody(
    fabric: Any, relay: NatsChunkRelay, eventually: Any
) -> None:
    host = await fabric.host().connect()
    answer = an_answer()
    relay.open(answer, host.id, Epoch(1))

    await host.nc.publish(subjects.out(host.id, fabric.relay, JOB, Epoch(1)), chunk(3, "x"))
    await eventually(lambda: answer.attempt_end is not None)

    assert answer.attempt_end is not None and answer.attempt_end.cause is Cause.ISLAND_STOPPED


async def test_one_hostile_flood_leaves_the_others_stream_whole(
    fabric: Any, relay: NatsChunkRelay, eventually: Any
) -> None:
    flooder = await fabric.host().connect()
    honest = await fabric.host().connect()
    bad, good = an_answer(), Answer(JobId(JOB[:-1] + "2"), items_max=50, size_bytes_max=999, now=0)
    good.begin(Epoch(1), 0.0)
    relay.open(bad, flooder.id, Epoch(1))
    relay.open(good, honest.id, Epoch(1))
    flood = subjects.out(flooder.id, fabric.relay, JOB, Epoch(1))

    for n in range(100):
        await flooder.nc.publish(flood, chunk(1000 * n, *["x"] * 1000))
        if n % 2 == 0:
            await honest.nc.publish(
                subjects.out(honest.id, fabric.relay, good.job_id, Epoch(1)), chunk(n // 2, "ok")
            )
    await eventually(lambda: good.next == 50 and bad.attempt_end is not None)

    assert bad.attempt_end is not None and bad.attempt_end.cause is Cause.BAD_OUTPUT
    assert good.texts == ["ok"] * 50 and good.attempt_end is None


async def test_the_wire_and_the_relay_outlive_the_broker(
    fabric: Any, relay: NatsChunkRelay, eventually: Any
) -> None:
    await fabric.server.kill()
    await eventually(lambda: not fabric.wire.connected)
    await fabric.server.start()
    await eventually(lambda: fabric.wire.connected)
    host = await fabric.host().connect()
    answer = an_answer()
    relay.open(answer, host.id, Epoch(1))

    await host.nc.publish(subjects.out(host.id, fabric.relay, JOB, Epoch(1)), chunk(0, "back"))
    await eventually(lambda: answer.texts == ["back"])

    assert answer.attempt_end is None


HOME_THAT_DIED = RelayId("rly_00000000000000000000000008")


async def test_what_is_said_to_another_coordinator_is_heard_from_the_beginning_and_live(
    fabric: Any, relay: NatsChunkRelay, eventually: Any
) -> None:
    host = await fabric.host().connect()
    subject = subjects.out(host.id, HOME_THAT_DIED, JOB, Epoch(1))
    for n in range(1_500):  # more than one batch of the stream
        await host.nc.publish(subject, chunk(n, f"{n} "))
        if n % 50 == 0:
            await host.nc.publish(subject, b"")
    await host.settle()
    answer = an_answer()

    relay.open(answer, host.id, Epoch(1), HOME_THAT_DIED)
    for n in range(1_500, 1_600):
        await host.nc.publish(subject, chunk(n, f"{n} "))
    await host.nc.publish(subject, the_end(1_600))
    await eventually(lambda: answer.attempt_end is not None)

    assert answer.texts == [f"{n} " for n in range(1_600)]
    assert relay.counts.wrong == 0
    relay.close(host.id, JOB, Epoch(1))
    await fabric.wire.flush()
    assert not relay.is_open(host.id, JOB, Epoch(1))


async def test_what_the_stream_lost_of_another_coordinators_attempt_is_nobodys_fault(
    fabric: Any, relay: NatsChunkRelay, eventually: Any
) -> None:
    host = await fabric.host().connect()
    subject = subjects.out(host.id, HOME_THAT_DIED, JOB, Epoch(1))
    for n in range(10):
        await host.nc.publish(subject, chunk(n, "x"))
    await host.settle()
    js = fabric.connection.client.jetstream()
    await js.purge_stream("OUTPUT")
    answer = an_answer()
    relay.open(answer, host.id, Epoch(1), HOME_THAT_DIED)

    await host.nc.publish(subject, chunk(10, "y"))
    await eventually(lambda: answer.attempt_end is not None)

    assert answer.attempt_end is not None and answer.attempt_end.cause is Cause.ISLAND_STOPPED
    assert answer.texts == []


async def test_a_copy_that_missed_something_is_not_ended_by_it(
    fabric: Any, relay: NatsChunkRelay, eventually: Any
) -> None:
    host = await fabric.host().connect()
    subject = subjects.out(host.id, HOME_THAT_DIED, JOB, Epoch(1))
    answer = an_answer()
    answer.follows = True
    relay.open(answer, host.id, Epoch(1), HOME_THAT_DIED)

    await host.nc.publish(subject, chunk(5, "y"))
    await eventually(lambda: not relay.is_open(host.id, JOB, Epoch(1)))

    assert answer.attempt_end is None and answer.texts == []


async def test_whether_the_broker_hears_us_is_found_out(fabric: Any, relay: NatsChunkRelay) -> None:
    heard = await relay.hears()
    fabric.wire._protocol.close()

    assert heard and not await relay.hears()
