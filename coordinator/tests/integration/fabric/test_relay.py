"""Output over a real broker: what one Island says reaches its own answer alone, also over a broken connection."""

from __future__ import annotations

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

JOB = JobId("job_00000000000000000000000001")


@pytest.fixture
async def relay(fabric: Any) -> AsyncIterator[NatsChunkRelay]:
    one = NatsChunkRelay(fabric.relay, SystemClock(), StreamReplay(fabric.connection))
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


async def test_a_gap_of_the_islands_own_making_ends_the_attempt(
    fabric: Any, relay: NatsChunkRelay, eventually: Any
) -> None:
    host = await fabric.host().connect()
    answer = an_answer()
    relay.open(answer, host.id, Epoch(1))

    await host.nc.publish(subjects.out(host.id, fabric.relay, JOB, Epoch(1)), chunk(3, "x"))
    await eventually(lambda: answer.attempt_end is not None)

    assert answer.attempt_end is not None and answer.attempt_end.cause is Cause.BAD_OUTPUT


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
