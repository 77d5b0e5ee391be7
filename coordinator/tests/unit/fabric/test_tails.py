"""What many attempts said of late is read for all of them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import nats.errors
import pytest
from archipelag_contracts import subjects
from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId
from archipelag_contracts.pb.archipelag.v1.job_pb2 import Chunk
from archipelag_coordinator.adapters.nats.line import Line
from archipelag_coordinator.adapters.nats.tails import FEW, Tails
from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.items import Items

ISLAND = IslandId("isl_00000000000000000000000001")
GONE = RelayId("rly_00000000000000000000000001")


def a_line(number: int, known: int) -> Line:
    """Of which the database has so many items."""
    job = JobId(f"job_{number:026}")
    answer = Answer(job, items_max=100, size_bytes_max=1 << 20, now=0.0)
    answer.begin(Epoch(1), 0.0)
    answer.load(Items(0, ("x",) * known, (0,) * known), stored=True)
    subject = subjects.out(ISLAND, GONE, job, Epoch(1)).encode()
    return Line(subject, answer, ISLAND, GONE, Epoch(1), second=0.0)


class Bench:
    """A stream in memory, and what was asked of it."""

    def __init__(self) -> None:
        self.kept: list[tuple[bytes, bytes]] = []
        self.asked: list[tuple[str, int]] = []
        self.away = False
        self.taken: dict[bytes, list[int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.tails = Tails(self, self._take, self._start)

    def say(self, line: Line, first: int) -> None:
        self.kept.append((line.subject, Chunk(first=first, texts=["y"]).SerializeToString()))

    def _take(self, line: Line, payload: bytes) -> None:
        self.taken.setdefault(line.subject, []).append(Chunk.FromString(payload).first)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def keep_place(self) -> None: ...

    def place(self, before_s: float) -> int | None: ...

    async def chunks(self, subject: str, after: int = 0) -> AsyncIterator[tuple[int, bytes, bytes]]:
        self.asked.append((subject, after))
        if self.away:
            raise nats.errors.TimeoutError
        everything = subject == subjects.output_of(GONE)
        for number, (of, payload) in enumerate(list(self.kept), start=1):
            await asyncio.sleep(0)
            if number > after and (everything or of == subject.encode()):
                yield number, of, payload


async def test_many_are_read_by_one_look_and_each_has_its_own() -> None:
    bench = Bench()
    lines = [a_line(number, known=2) for number in range(FEW + 3)]
    for first in range(4):
        for line in lines:
            bench.say(line, first)
    bench.kept.append((b"of another job", b""))
    after = len(lines)  # Each one's first was said before.

    looks = await asyncio.gather(*(bench.tails.read(line, after) for line in lines))

    assert bench.asked == [(subjects.output_of(GONE), after)]
    assert [look.fits for look in looks] == [True] * len(lines)
    assert list(bench.taken.values()) == [[1, 2, 3]] * len(lines)
    assert [look.after for look in looks] == [3 * after + n + 1 for n in range(len(lines))]


async def test_few_are_read_by_themselves() -> None:
    bench = Bench()
    lines = [a_line(number, known=1) for number in range(FEW)]
    for line in lines:
        bench.say(line, 1)

    await asyncio.gather(*(bench.tails.read(line, 0) for line in lines))

    assert bench.asked == [(line.subject.decode(), 0) for line in lines]
    assert list(bench.taken.values()) == [[1]] * FEW


async def test_of_one_that_lacks_more_than_was_read_nothing_is_taken_and_the_others_have_theirs() -> (
    None
):
    bench = Bench()
    lines = [a_line(number, known=2) for number in range(FEW + 1)]
    lacks, quiet, *others = lines
    bench.say(lacks, 5)
    bench.say(lacks, 2)
    bench.kept.append((quiet.subject, b""))  # A sign of life says nothing of what is missing.
    for line in others:
        bench.say(line, 2)

    looks = await asyncio.gather(*(bench.tails.read(line, 0) for line in lines))

    assert [(look.fits, look.late) for look in looks[:2]] == [(False, True), (False, False)]
    assert [(look.fits, look.late) for look in looks[2:]] == [(True, False)] * len(others)
    assert bench.taken == {line.subject: [2] for line in others}


async def test_who_asks_while_others_are_read_has_its_turn_with_the_next() -> None:
    bench = Bench()
    first = [a_line(number, known=0) for number in range(FEW + 1)]
    second = [a_line(number, known=0) for number in range(10, 11 + FEW)]
    for line in first + second:
        bench.say(line, 0)

    reading = asyncio.gather(*(bench.tails.read(line, 0) for line in first))
    while not bench.asked:  # noqa: ASYNC110 - the look itself must go on until then
        await asyncio.sleep(0)
    looks = [*await asyncio.gather(*(bench.tails.read(line, 3) for line in second)), *await reading]

    assert bench.asked == [(subjects.output_of(GONE), 0), (subjects.output_of(GONE), 3)]
    assert all(look.fits for look in looks)


@pytest.mark.parametrize("count", [1, FEW + 1])
async def test_that_the_stream_is_away_is_everybodys_to_know(count: int) -> None:
    bench = Bench()
    bench.away = True
    lines = [a_line(number, known=0) for number in range(count)]

    said = await asyncio.gather(
        *(bench.tails.read(line, 0) for line in lines), return_exceptions=True
    )

    assert [type(one) for one in said] == [nats.errors.TimeoutError] * count
    bench.away = False
    bench.say(lines[0], 0)
    assert (await bench.tails.read(lines[0], 0)).fits
