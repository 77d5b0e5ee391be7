"""Reports are settled once, redelivered when we could not, and refused when they are not that Island's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from archipelag_contracts import streams, subjects
from archipelag_contracts.ending import end_tasks
from archipelag_contracts.errors import BadMessage
from archipelag_coordinator.adapters.nats import reports
from archipelag_coordinator.adapters.nats.reports import ReportQueue
from archipelag_embedded.fixtures import PATIENCE_S


@asynccontextmanager
async def running(
    connection: Any,
    on_report: Callable[[Any, bytes], Awaitable[bool]],
    on_read: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    task = asyncio.create_task(ReportQueue(connection, on_report, on_read).run())
    try:
        yield
    finally:
        await end_tasks([task])


async def left(fabric: Any) -> int:
    info = await fabric.connection.client.jetstream().stream_info(streams.REPORTS.name)
    return int(info.state.messages)


async def none_left(fabric: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await left(fabric):  # noqa: ASYNC110 - it happens in the broker
            await asyncio.sleep(0.02)


async def test_a_report_is_taken_once_and_then_gone(fabric: Any) -> None:
    host = await fabric.host().connect()
    taken: list[tuple[Any, bytes]] = []

    async def take(island: Any, data: bytes) -> bool:
        taken.append((island, data))
        return True

    async with running(fabric.connection, take):
        for n in range(100):
            await host.nc.jetstream().publish(subjects.report(host.id), b"%d" % n)
        await none_left(fabric)

    assert sorted(taken) == sorted((host.id, b"%d" % n) for n in range(100))


async def test_a_report_that_could_not_be_settled_comes_again(fabric: Any) -> None:
    host = await fabric.host().connect()
    tries: list[bytes] = []

    async def take(island: Any, data: bytes) -> bool:
        tries.append(data)
        if len(tries) == 1:
            raise ConnectionError("the database is away")
        return True

    async with running(fabric.connection, take):
        await host.nc.jetstream().publish(subjects.report(host.id), b"one")
        await none_left(fabric)

    assert tries == [b"one", b"one"]


async def test_a_report_that_nobody_can_settle_does_not_lie_about_for_ever(
    fabric: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "NAK_DELAYS_S", (0.01,))
    host = await fabric.host().connect()
    tries: list[bytes] = []

    async def take(island: Any, data: bytes) -> bool:
        tries.append(data)
        raise ConnectionError("the database is away")

    async with running(fabric.connection, take):
        await host.nc.jetstream().publish(subjects.report(host.id), b"one")
        await none_left(fabric)

    assert tries == [b"one"] * streams.REPORT_DELIVERIES_MAX


async def test_a_report_that_can_never_be_accepted_is_not_delivered_again(fabric: Any) -> None:
    host = await fabric.host().connect()
    tries: list[bytes] = []

    async def take(island: Any, data: bytes) -> bool:
        tries.append(data)
        if data == b"contract":
            raise BadMessage("nonsense")
        return False

    async with running(fabric.connection, take):
        await host.nc.jetstream().publish(subjects.report(host.id), b"refused")
        await host.nc.jetstream().publish(subjects.report(host.id), b"contract")
        await none_left(fabric)

    assert sorted(tries) == [b"contract", b"refused"]


async def test_the_queue_is_read_only_when_none_waits_anywhere(fabric: Any) -> None:
    host = await fabric.host().connect()
    stuck, taken, read = asyncio.Event(), asyncio.Semaphore(0), asyncio.Event()

    async def take(_: Any, data: bytes) -> bool:
        if data == b"0":
            await stuck.wait()
        taken.release()
        return True

    many = reports.BATCH_MAX + 2
    for n in range(many):
        await host.nc.jetstream().publish(subjects.report(host.id), b"%d" % n)
    async with running(fabric.connection, take, read.set):
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(many - 1):
                await taken.acquire()
            before = read.is_set()
            stuck.set()
            await read.wait()

    assert not before


async def test_two_coordinators_share_the_work(fabric: Any, server: Any) -> None:
    host = await fabric.host().connect()
    first: list[bytes] = []
    second: list[bytes] = []

    async def take_first(island: Any, data: bytes) -> bool:
        first.append(data)
        return True

    async def take_second(island: Any, data: bytes) -> bool:
        second.append(data)
        return True

    async with running(fabric.connection, take_first), running(fabric.connection, take_second):
        for n in range(200):
            await host.nc.publish(subjects.report(host.id), b"%d" % n)
        await host.settle()
        await none_left(fabric)

    assert sorted(first + second) == sorted(b"%d" % n for n in range(200))


async def test_reports_go_on_after_the_broker_was_killed(fabric: Any, eventually: Any) -> None:
    host = await fabric.host().connect()
    taken: list[bytes] = []

    async def take(island: Any, data: bytes) -> bool:
        taken.append(data)
        return True

    async with running(fabric.connection, take):
        await host.nc.jetstream().publish(subjects.report(host.id), b"before")
        await none_left(fabric)
        await fabric.server.kill()
        await eventually(lambda: not fabric.connection.connected)
        await fabric.server.start()
        await eventually(lambda: fabric.connection.connected)
        again = await fabric.host(host.id).connect()
        await again.nc.publish(subjects.report(host.id), b"after")
        await eventually(lambda: b"after" in taken)

    assert taken.count(b"before") == 1


async def test_one_islands_flood_leaves_room_for_the_others(fabric: Any) -> None:
    flooder = await fabric.host().connect()
    honest = await fabric.host().connect()
    for _ in range(400):
        await flooder.nc.publish(subjects.report(flooder.id), b"x" * 1000)
    await flooder.settle()

    ack = await honest.nc.jetstream().publish(subjects.report(honest.id), b"mine")

    assert ack.stream == "REPORTS"
    assert await left(fabric) <= 257


async def test_another_islands_message_id_silences_nobody_for_long(fabric: Any) -> None:
    hostile = await fabric.host().connect()
    honest = await fabric.host().connect()
    headers = {"Nats-Msg-Id": "job_x.1"}
    await hostile.nc.jetstream().publish(subjects.report(hostile.id), b"a", headers=headers)
    await asyncio.sleep(0.25)  # longer than the broker's window, which is its own clock's

    ack = await honest.nc.jetstream().publish(subjects.report(honest.id), b"b", headers=headers)

    assert not ack.duplicate


async def test_a_report_that_looks_like_the_brokers_own_word_is_a_report(fabric: Any) -> None:
    hostile = await fabric.host().connect()
    honest = await fabric.host().connect()
    taken: list[tuple[Any, bytes]] = []

    async def take(island: Any, data: bytes) -> bool:
        taken.append((island, data))
        return bool(data)

    async with running(fabric.connection, take):
        for status in ("100", "404", "409"):
            await hostile.nc.publish(
                subjects.report(hostile.id), b"", headers={"Status": status, "Description": "x"}
            )
        await hostile.settle()
        await honest.nc.jetstream().publish(subjects.report(honest.id), b"mine")
        await none_left(fabric)

    assert sorted(taken) == sorted([(hostile.id, b"")] * 3 + [(honest.id, b"mine")])
