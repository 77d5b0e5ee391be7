"""Heartbeats of many Islands in the same instant, at the bus."""

import asyncio
from types import SimpleNamespace

from archipelag_contracts import subjects
from archipelag_contracts.ids import IslandId
from archipelag_contracts.signing import SigningKey
from archipelag_coordinator.adapters.nats import island_bus
from archipelag_coordinator.adapters.nats.island_bus import HEARTBEATS_AT_ONCE_MAX, NatsIslandBus
from archipelag_coordinator.testing.builders import an_id


class Line:
    """What is said to the bus and by it, without a broker."""

    connected = True

    def __init__(self):
        self.client = self
        self.said = []
        self.hear = None

    async def subscribe(self, subject, heard, queue=""):
        self.hear = heard

    async def publish(self, subject, payload):
        self.said.append(subject)


def a_heartbeat():
    island = IslandId(an_id("isl"))
    reply = f"{subjects.inbox_prefix(island)}.1"
    return SimpleNamespace(subject=subjects.heartbeat(island), reply=reply, data=b"beat")


async def listening(take):
    line = Line()
    bus = NatsIslandBus(line, SigningKey.generate())
    await bus.listen_heartbeats(take)
    return bus, line


async def test_between_so_many_answers_others_have_their_turn() -> None:
    answered, between = 0, []

    async def take(_island, _data):
        nonlocal answered
        answered += 1
        return b"answer"

    bus, line = await listening(take)
    for _ in range(1_000):
        await line.hear(a_heartbeat())

    while answered < 1_000:
        before = answered
        await asyncio.sleep(0)
        between.append(answered - before)

    assert max(between) <= HEARTBEATS_AT_ONCE_MAX
    await bus.close()


async def test_what_has_waited_for_too_long_makes_room_for_what_can_still_be_answered(
    monkeypatch,
) -> None:
    taken = []

    async def take(_island, data):
        taken.append(data)
        return b"answer"

    bus, line = await listening(take)
    monkeypatch.setattr(island_bus, "HEARTBEAT_LATE_S", -1.0)
    await line.hear(a_heartbeat())
    monkeypatch.setattr(island_bus, "HEARTBEAT_LATE_S", 60.0)
    await line.hear(a_heartbeat())

    await asyncio.gather(*bus._answering)

    assert (len(taken), len(line.said), bus.overlooked) == (1, 1, 1)
    await bus.close()
