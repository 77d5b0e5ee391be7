"""The parts of the benchmark of far and near Islands: lines that hold back, and the ways to place that it compares."""

from __future__ import annotations

import asyncio
import time
from random import Random
from types import ModuleType

import pytest
from archipelag_contracts.ids import Epoch, JobId
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.island import Island, Offer
from archipelag_coordinator.domain.placement import Wanted
from archipelag_coordinator.errors import NoPlacement
from archipelag_coordinator.testing.builders import an_island, an_offer

OFFER = an_offer(slots=2)
WANTED = Wanted(OFFER.slug, OFFER.digest, prompt_tokens=10, output_items=10)


def island(name: str, slots: int = 2, offer: Offer = OFFER) -> Island:
    return an_island(name=name, slots=slots, offers=(offer,))


def fleet_of(*islands: Island) -> Fleet:
    fleet = Fleet()
    fleet.load(islands)
    return fleet


def give(fleet: Fleet, to: Island, number: int) -> None:
    fleet.assigned(to.id, (JobId(f"job_{number}"), Epoch(1)))


async def test_a_line_holds_each_byte_back_and_throttles_nothing(
    programs: dict[str, ModuleType],
) -> None:
    now, pieces = 0.0, [b"one", b"two", b"three", b""]
    arrived: list[tuple[float, bytes]] = []

    async def read(_: int) -> bytes:
        return pieces.pop(0)

    async def write(data: bytes) -> None:
        arrived.append((now, data))

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    await programs["far"].carry(read, write, 2.0, lambda: now, sleep)

    # All were read at once, so that all come at once: a line that waits for each needs 8 s.
    assert arrived == [(2.0, b"one"), (2.0, b"two"), (2.0, b"three"), (2.0, b"")]


async def test_an_answer_comes_after_both_ways_and_in_order(
    programs: dict[str, ModuleType],
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    sent = bytes(Random(1).randbytes(300_000))

    async with server, programs["far"].line(server.sockets[0].getsockname()[1], 0.05) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = time.monotonic()
        writer.write(sent)
        writer.write_eof()
        first = await reader.readexactly(1)
        took_s = time.monotonic() - began
        rest = await reader.read()
        writer.close()

    assert took_s >= 0.1
    assert first + rest == sent


def test_each_way_chooses_as_it_is_called_among_those_with_a_free_slot(
    programs: dict[str, ModuleType],
) -> None:
    full, half, idle = (island(name) for name in ("full", "half", "idle"))
    fleet = fleet_of(full, half, idle)
    for number, taken in enumerate((full, full, half)):
        give(fleet, taken, number)
    way = ""
    ways = programs["ways"].Ways(lambda: way, {"full": 1.0, "half": 2.0, "idle": 3.0})

    chosen = {}
    for way in programs["ways"].WAYS:
        chosen[way] = [
            ways.choose(fleet, WANTED, chance).island_id for chance in (0.0, 0.25, 0.5, 0.75)
        ]

    assert chosen["random"] == [half.id, half.id, idle.id, idle.id]
    assert chosen["round robin"] == [half.id, idle.id, half.id, idle.id]
    assert chosen["least connections"] == [idle.id] * 4
    assert chosen["oracle"] == [half.id] * 4
    assert chosen["ours"] == [fleet.choose(WANTED, one).island_id for one in (0, 0.25, 0.5, 0.75)]


def test_where_all_are_busy_every_way_says_so(programs: dict[str, ModuleType]) -> None:
    full = island("full", slots=1, offer=an_offer(slots=1))
    fleet = fleet_of(full)
    give(fleet, full, 1)

    for way in programs["ways"].WAYS:
        with pytest.raises(NoPlacement, match="busy"):
            programs["ways"].Ways(lambda way=way: way, {}).choose(fleet, WANTED, 0.5)


def test_ours_learns_from_its_own_turns_only(programs: dict[str, ModuleType]) -> None:
    one = island("one")
    fleet, way = fleet_of(one), "random"
    ways = programs["ways"].Ways(lambda: way, {})

    ways.took(fleet, one.id, OFFER.slug, 100.0, 900.0)
    after_another = fleet.candidate(one.id, OFFER.slug, OFFER.digest)
    way = "ours"
    ways.took(fleet, one.id, OFFER.slug, 100.0, 900.0)
    after_ours = fleet.candidate(one.id, OFFER.slug, OFFER.digest)

    assert after_another is not None and after_another.first_item_factor == 1.0
    assert after_ours is not None and after_ours.first_item_factor > 1.0


def test_the_best_of_the_others_stands_beside_ours(programs: dict[str, ModuleType]) -> None:
    nearby = programs["nearby"]
    took_s = {"ours": 2, "random": 5, "round robin": 4, "least connections": 3, "oracle": 1}
    found = {(0.5, way): nearby.Seen(first_s=[seconds] * 9) for way, seconds in took_s.items()}

    (p50, p95) = nearby.figures_of(found)

    assert (p50.ours, p50.peer.name, p50.peer.value) == (2_000, "least connections", 3_000)
    assert (p95.limit.name, p95.limit.value) == ("oracle", 1_000)


def test_every_way_has_the_same_arrivals_at_the_asked_load(programs: dict[str, ModuleType]) -> None:
    nearby = programs["nearby"]

    half, again = (nearby._arrivals(Random(7), 0.5, seconds=1_000.0) for _ in range(2))
    held_s = [place.first_item_ms / 1000 + 15 / 32 for place in nearby.PLACES]

    assert half == again == sorted(half)
    assert len(half) == pytest.approx(1_000 * 0.5 * sum(2 / one for one in held_s), rel=0.05)
