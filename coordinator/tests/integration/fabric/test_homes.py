"""Coordinators among themselves, over a real broker: who is there, and what is handed to a job's home."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from archipelag_contracts import subjects
from archipelag_contracts.ids import IslandId, JobId, RelayId
from archipelag_contracts.signing import SigningKey
from archipelag_coordinator.adapters.nats.connection import Connection
from archipelag_coordinator.adapters.nats.island_bus import NatsIslandBus
from archipelag_coordinator.domain.user import ApiKey
from archipelag_coordinator.services.keys import revoke_key
from archipelag_coordinator.services.known_callers import KnownCallers
from archipelag_coordinator.testing.builders import a_key, a_secret
from archipelag_coordinator.testing.worlds import a_scene
from archipelag_embedded.fixtures import PATIENCE_S

JOB = JobId("job_00000000000000000000000001")
ISLAND = IslandId("isl_00000000000000000000000001")
NOBODY = RelayId("rly_00000000000000000000000009")


@pytest.fixture
def bus(fabric: Any) -> NatsIslandBus:
    return NatsIslandBus(fabric.connection, SigningKey.generate())


@pytest.fixture
async def other(
    fabric: Any, make_id: Any, coordinator_identity: Any
) -> AsyncIterator[tuple[RelayId, NatsIslandBus, Connection]]:
    """Another Coordinator process on the same broker."""
    relay = RelayId(make_id("rly"))
    connection = Connection([fabric.server.url], coordinator_identity(fabric.keys, relay))
    await connection.open()
    one = NatsIslandBus(connection, SigningKey.generate())
    yield relay, one, connection
    await one.close()
    await connection.close()


async def test_who_is_gone_is_known_at_once_and_who_is_there_answers(
    bus: NatsIslandBus, other: Any
) -> None:
    relay, there, connection = other
    await there.listen_here(relay)

    before = (await bus.is_there(relay), await bus.is_there(NOBODY))
    await connection.close()
    async with asyncio.timeout(PATIENCE_S):
        while (after := await bus.is_there(relay)) is None:
            pass  # The broker notices in a moment; until then it passes the question on to nobody.

    assert before == (True, False)
    assert after is False


async def test_without_a_broker_nobody_is_called_gone(fabric: Any, bus: NatsIslandBus) -> None:
    await fabric.server.kill()

    assert await bus.is_there(NOBODY) is None


async def test_a_report_is_handed_to_the_home_and_its_word_comes_back(
    bus: NatsIslandBus, other: Any
) -> None:
    relay, there, _ = other
    taken: list[tuple[IslandId, bytes]] = []

    async def take(island: IslandId, report: bytes) -> bool:
        taken.append((island, report))
        return len(report) < 10

    await there.listen_reports(relay, take)

    said = [await bus.hand_report(relay, ISLAND, report) for report in (b"a\nb", b"x" * 10)]

    assert said == [True, False]
    assert taken == [(ISLAND, b"a\nb"), (ISLAND, b"x" * 10)]
    assert await bus.hand_report(NOBODY, ISLAND, b"a") is None


async def test_a_cancel_is_handed_to_the_home_with_its_reason(
    bus: NatsIslandBus, other: Any
) -> None:
    relay, there, _ = other
    told: list[tuple[JobId, str]] = []

    async def take(job: JobId, reason: str) -> bool:
        told.append((job, reason))
        return True

    await there.listen_cancels(relay, take)

    assert await bus.hand_cancel(relay, JOB, "by the customer\x00\n") is True
    assert await bus.hand_cancel(NOBODY, JOB, "x") is None
    assert told == [(JOB, "by the customer")]


async def test_a_home_that_cannot_now_is_asked_again_later(bus: NatsIslandBus, other: Any) -> None:
    relay, there, _ = other

    async def take(job: JobId, reason: str) -> bool:
        raise ConnectionError("no database")

    await there.listen_cancels(relay, take)

    with pytest.raises(OSError, match="could not take"):
        await bus.hand_cancel(relay, JOB, "x")


async def test_an_island_can_neither_answer_for_a_coordinator_nor_cancel_at_one(
    fabric: Any, bus: NatsIslandBus, other: Any
) -> None:
    relay, there, _ = other
    told: list[JobId] = []

    async def take(job: JobId, _: str) -> bool:
        told.append(job)
        return True

    await there.listen_cancels(relay, take)
    host = await fabric.host().connect()

    assert await host.refused(subscribe=subjects.here(NOBODY))
    assert await host.refused(publish=subjects.cancel_at(relay))
    # It may have the broker acknowledge a report under any subject; that is no cancel.
    await host.nc.publish(subjects.report(host.id), b"{}", reply=subjects.cancel_at(relay))
    await host.settle()
    assert await bus.hand_cancel(relay, JOB, "x") is True
    assert told == [JOB]


async def test_a_key_that_is_revoked_at_one_is_refused_by_all_and_here_without_a_broker(
    fabric: Any, bus: NatsIslandBus, other: Any, eventually: Any
) -> None:
    _, there, connection = other
    scene = await a_scene()
    here, elsewhere = [
        KnownCallers(scene.store, scene.clock, kept_s=60.0, hears=lambda: True) for _ in range(2)
    ]
    await bus.listen_keys_changed(here.forget)
    await there.listen_keys_changed(elsewhere.forget)
    world = replace(scene.world, bus=bus)
    again = a_key(scene.user, secret=a_secret())
    async with scene.store.begin() as tx:
        await tx.keys.add(again)

    async def holds(door: KnownCallers, key: ApiKey) -> bool:
        found = await door.admit(key.hash, scene.clock.now(), 1000)
        assert found is not None
        return found.key.revoked_at is None

    before = [await holds(door, key) for door in (here, elsewhere) for key in (scene.key, again)]
    await revoke_key(world, scene.user.id, scene.key.id)
    at_once = await holds(here, scene.key)
    async with asyncio.timeout(PATIENCE_S):
        while await holds(elsewhere, scene.key):  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.001)
    await fabric.server.kill()
    await eventually(lambda: not fabric.connection.connected)
    await revoke_key(world, scene.user.id, again.id)

    assert before == [True] * 4
    assert at_once is False
    assert not await holds(here, again)
    await fabric.server.start()
    await eventually(lambda: fabric.connection.connected and connection.connected)


async def test_that_one_stops_is_heard_and_nothing_else_is_taken_for_it(
    fabric: Any, bus: NatsIslandBus, other: Any
) -> None:
    relay, there, connection = other
    heard: list[tuple[RelayId, int | None]] = []
    told = asyncio.Event()

    def left(one: RelayId, place: int | None) -> None:
        heard.append((one, place))
        if len(heard) == 2:
            told.set()

    await bus.listen_left(left)
    await fabric.connection.client.flush()
    where = relay.encode()
    for wrong in (
        b"",
        b"rly_",
        b'{"stream":"REPORTS","seq":1}',
        b"\xff",
        where + b" x",
        b"x" * 100,
    ):
        await connection.client.publish(subjects.LEFT, wrong)
    await there.left(relay, None)
    await there.left(relay, 7_000_000)
    async with asyncio.timeout(PATIENCE_S):
        await told.wait()

    assert heard == [(relay, None), (relay, 7_000_000)]
