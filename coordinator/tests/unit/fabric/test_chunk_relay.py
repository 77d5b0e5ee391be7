"""Chunks reach their own Answer in order; whatever breaks the protocol ends the attempt and nothing else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from archipelag_contracts import subjects
from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId
from archipelag_contracts.pb.archipelag.v1 import common_pb2
from archipelag_contracts.pb.archipelag.v1.common_pb2 import Usage
from archipelag_contracts.pb.archipelag.v1.job_pb2 import Chunk, End, Progress
from archipelag_coordinator.adapters.nats import repairs
from archipelag_coordinator.adapters.nats.chunk_relay import (
    CHUNKS_PER_S_MAX,
    DEAF_S,
    ITEMS_PER_S_MAX,
    RETURN_S,
    NatsChunkRelay,
)
from archipelag_coordinator.domain.answer import ITEM_BYTES_MAX, Answer
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.items import Items
from archipelag_coordinator.testing.fake_replay import FakeReplay

JOB = JobId("job_00000000000000000000000001")
OTHER_JOB = JobId("job_00000000000000000000000002")
ISLAND = IslandId("isl_00000000000000000000000001")
OTHER_ISLAND = IslandId("isl_00000000000000000000000002")
HOME = RelayId("rly_00000000000000000000000001")
OTHER_HOME = RelayId("rly_00000000000000000000000002")
COMPLETED = common_pb2.CAUSE_COMPLETED


class HandClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


def out_of(relay: RelayId) -> str:
    return subjects.out(ISLAND, relay, JOB, Epoch(1))


class Bench:
    def __init__(self, items_max: int = 1000) -> None:
        self.clock = HandClock()
        self.kept = FakeReplay(out_of(HOME), repairs.TAIL_S)
        self.ended: list[tuple[JobId, IslandId, Epoch]] = []
        self.wrong: list[tuple[JobId, IslandId, Epoch]] = []
        self.relay = NatsChunkRelay(
            HOME,
            self.clock,
            self.kept,
            on_end=lambda *key: self.ended.append(key),
            on_wrong=lambda *key: self.wrong.append(key),
        )
        self.answer = Answer(JOB, items_max=items_max, size_bytes_max=1 << 20, now=0.0)
        self.answer.begin(Epoch(1), 0.0)
        self.relay.open(self.answer, ISLAND, Epoch(1))

    def say(self, chunk: Chunk | bytes, *, island: IslandId = ISLAND, epoch: int = 1) -> None:
        payload = chunk if isinstance(chunk, bytes) else chunk.SerializeToString()
        subject = subjects.out(island, HOME, JOB, Epoch(epoch)).encode()
        self.relay.heard(subject, payload)

    async def settle(self) -> None:
        while self.relay._repairs._tasks:
            await asyncio.gather(*self.relay._repairs._tasks)

    @property
    def cause(self) -> Cause | None:
        return self.answer.attempt_end.cause if self.answer.attempt_end else None


def items(first: int, *texts: str) -> Chunk:
    return Chunk(first=first, texts=texts, tokens=range(len(texts)))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks for what is missing, everybody else has a turn."""
    monkeypatch.setattr(repairs, "LOOK_S", 0.0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(("said", "kept"), [(0, 0), (7, 7), (12, 12), (13, 12), (2**32 - 1, 12)])
def test_no_more_of_a_prompt_was_cached_than_there_was(bench: Bench, said: int, kept: int) -> None:
    bench.say(Chunk(cached_tokens=5))
    bench.say(Chunk(prompt_tokens=12, cached_tokens=said))
    bench.say(Chunk(prompt_tokens=99, cached_tokens=99, first=0, texts=["a"], tokens=[1]))

    assert (bench.answer.prompt_tokens, bench.answer.cached_tokens) == (12, kept)


def test_chunks_arrive_in_order_with_prompt_progress_and_end(bench: Bench) -> None:
    woken: list[int] = []
    bench.answer.listeners.add(lambda: woken.append(1))

    bench.say(Chunk(prompt_tokens=12, first=0, texts=["a", "b"], tokens=[1, 2]))
    bench.say(Chunk(progress=Progress(step=1, total=3, note="half\n\x1b[2Jway")))
    bench.say(Chunk(prompt_tokens=99, first=2, texts=["c"], tokens=[3]))
    bench.say(
        Chunk(end=End(cause=COMPLETED, finish_reason="stop", next=3, usage=Usage(output_items=3)))
    )

    assert bench.answer.texts == ["a", "b", "c"] and bench.answer.tokens == [1, 2, 3]
    assert bench.answer.prompt_tokens == 12
    assert bench.answer.note == (1, 3, "half [2Jway", b"", "")
    assert bench.cause is Cause.COMPLETED
    assert bench.answer.attempt_end is not None
    assert bench.answer.attempt_end.finish_reason == "stop"
    assert bench.answer.attempt_end.usage.output_items == 3
    assert bench.ended == [(JOB, ISLAND, 1)] and bench.wrong == []
    assert len(woken) >= 4
    assert len(bench.relay) == 0


def test_an_empty_chunk_is_a_sign_of_life_and_nothing_more(bench: Bench) -> None:
    bench.clock.seconds = 150.0

    bench.say(b"")

    assert bench.answer.heard_at == 150.0
    assert bench.answer.texts == [] and bench.answer.attempt_end is None


@pytest.mark.parametrize(
    "subject",
    [
        subjects.out(OTHER_ISLAND, HOME, JOB, Epoch(1)),
        subjects.out(ISLAND, HOME, JOB, Epoch(2)),
        subjects.out(ISLAND, HOME, OTHER_JOB, Epoch(1)),
        subjects.out(ISLAND, OTHER_HOME, JOB, Epoch(1)),
        subjects.out(ISLAND, HOME, JOB, Epoch(1)) + ".x",
        f"arc.v1.island.{ISLAND}.out.{HOME}.",
    ],
)
def test_what_belongs_to_no_open_attempt_is_refused_and_counted(bench: Bench, subject: str) -> None:
    bench.relay.heard(subject.encode(), items(0, "evil").SerializeToString())

    assert bench.answer.texts == [] and bench.answer.attempt_end is None
    assert bench.relay.counts.unknown == 1


def test_an_old_epoch_is_refused_even_when_it_was_never_closed(bench: Bench) -> None:
    bench.say(items(0, "a"))
    bench.answer.begin(Epoch(2), 0.0)
    bench.relay.open(bench.answer, OTHER_ISLAND, Epoch(2))

    bench.say(items(1, "late"))
    bench.say(items(1, "b"), island=OTHER_ISLAND, epoch=2)

    assert bench.answer.texts == ["a", "b"]
    assert bench.answer.attempt_end is None


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"\xff\xff\xff", "cannot be read"),
        (b"\x12\x02\xff\xfe", "cannot be read"),  # texts[0] is not UTF-8
        (b"\x12\x03\xed\xa0\x80", "cannot be read"),  # a lone surrogate
        (b"\x12\x05ab", "cannot be read"),  # cut short
        (items(0, "x" * (ITEM_BYTES_MAX + 1)).SerializeToString(), "an item of more than"),
        (items(0, "é" * (ITEM_BYTES_MAX // 2 + 1)).SerializeToString(), "an item of more than"),
        (items(0, *["x" * 60_000] * 9).SerializeToString(), "a chunk of more than"),
        (items(0, *["x"] * 1001).SerializeToString(), "more output than"),
        (Chunk(first=0, texts=["a"], tokens=[1, 2]).SerializeToString(), "as many tokens"),
        (Chunk(end=End(cause=common_pb2.CAUSE_LEASE_LOST)).SerializeToString(), "without a cause"),
        (Chunk(end=End(cause=99)).SerializeToString(), "without a cause"),
        (Chunk(end=End()).SerializeToString(), "without a cause"),
    ],
)
def test_a_hostile_chunk_ends_the_attempt_as_bad_output(
    bench: Bench, payload: bytes, why: str
) -> None:
    bench.say(payload)

    assert bench.cause is Cause.BAD_OUTPUT
    assert bench.answer.attempt_end is not None and why in bench.answer.attempt_end.error
    assert bench.answer.texts == []
    assert bench.wrong == [(JOB, ISLAND, 1)] and bench.ended == []
    bench.say(items(0, "more"))
    assert bench.answer.texts == [] and bench.relay.counts.unknown == 1


def test_an_overlap_is_dropped_and_what_is_new_is_taken(bench: Bench) -> None:
    bench.say(items(0, "a", "b"))
    bench.say(items(0, "X", "Y"))
    bench.say(items(1, "Z", "c"))

    assert bench.answer.texts == ["a", "b", "c"]
    assert bench.answer.refused == 3
    assert bench.answer.attempt_end is None


async def test_a_gap_is_filled_from_the_stream_while_new_chunks_wait(bench: Bench) -> None:
    bench.kept.messages = [
        items(0, "a").SerializeToString(),
        b"",
        items(1, "b").SerializeToString(),
        items(2, "c").SerializeToString(),
    ]
    bench.say(items(0, "a"))
    bench.say(items(2, "c"))
    bench.say(items(3, "d"))
    bench.say(Chunk(end=End(cause=COMPLETED, next=4)))
    assert bench.answer.texts == ["a"]

    await bench.settle()

    assert bench.answer.texts == ["a", "b", "c", "d"]
    assert bench.cause is Cause.COMPLETED and bench.answer.refused == 0
    assert bench.relay.counts.repaired == 1 and bench.wrong == []


class Ears:
    """As much of a wire as listening in needs."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def subscribe(self, subject: str, on_frame: object) -> None:
        self.heard.append(subject)

    async def flush(self) -> None:
        await asyncio.sleep(0)


async def test_who_listens_in_on_another_process_reads_each_message_of_the_stream_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repairs, "SETTLE_S", 0.0)
    bench.relay._wire = Ears()  # type: ignore[assignment]
    bench.kept.subject = out_of(OTHER_HOME)
    bench.kept.messages = [items(n, text).SerializeToString() for n, text in enumerate("abc")]
    bench.relay.open(bench.answer, ISLAND, Epoch(1), OTHER_HOME)
    bench.kept.said_meanwhile = [items(3, "d").SerializeToString()]

    await bench.settle()

    assert bench.answer.texts == ["a", "b", "c", "d"] and bench.answer.refused == 0
    assert bench.kept.given == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("before_tail", "read"),
    [
        (None, [1, 2, 3, 4, 5]),
        (2, [3, 4, 5]),  # What the database has ends within what is read again.
        (0, [1, 2, 3, 4, 5]),
        (3, [4, 1, 2, 3, 4, 5]),  # It ends before: all is read.
        (4, [5, 1, 2, 3, 4, 5]),  # Nothing is said but a sign of life.
        (5, [1, 2, 3, 4, 5]),
    ],
)
async def test_of_a_stream_that_was_taken_over_the_tail_is_read_and_all_of_it_where_that_does_not_fit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, before_tail: int | None, read: list[int]
) -> None:
    monkeypatch.setattr(repairs, "SETTLE_S", 0.0)
    bench.relay._wire = Ears()  # type: ignore[assignment]
    bench.kept.subject, bench.kept.before_tail = out_of(OTHER_HOME), before_tail
    chunks = [items(n, text).SerializeToString() for n, text in enumerate("abcd")]
    bench.kept.messages = [*chunks, b""]
    bench.answer.load(Items(0, ("a", "b"), (0, 0)), stored=True)

    bench.relay.open(bench.answer, ISLAND, Epoch(1), OTHER_HOME)
    await bench.settle()

    assert bench.answer.texts == ["a", "b", "c", "d"]
    assert (bench.kept.given, bench.wrong, bench.answer.refused) == (read, [], 0)


async def test_what_comes_in_order_is_passed_on_while_the_second_look_waits_for_its_turn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repairs, "SETTLE_S", 0.05)
    bench.relay._wire = Ears()  # type: ignore[assignment]
    bench.kept.subject = out_of(OTHER_HOME)
    bench.kept.messages = [items(0, "a").SerializeToString()]
    bench.relay.open(bench.answer, ISLAND, Epoch(1), OTHER_HOME)
    while bench.answer.texts != ["a"]:  # noqa: ASYNC110 - the look itself must go on until then
        await asyncio.sleep(0)
    for _ in range(repairs.REPAIRS_AT_ONCE):
        await bench.relay._repairs._at_once.acquire()

    await asyncio.sleep(0.1)
    subject = subjects.out(ISLAND, OTHER_HOME, JOB, Epoch(1)).encode()
    bench.relay.heard(subject, items(1, "b").SerializeToString())

    assert bench.answer.texts == ["a", "b"]
    for _ in range(repairs.REPAIRS_AT_ONCE):
        bench.relay._repairs._at_once.release()
    await bench.settle()
    assert bench.answer.attempt_end is None and bench.kept.given == [1]


async def test_a_gap_that_nobody_can_fill_is_nobodys_fault(bench: Bench) -> None:
    bench.kept.messages = [items(5, "x").SerializeToString()]
    bench.say(items(5, "x"))

    await bench.settle()

    assert bench.cause is Cause.ISLAND_STOPPED and bench.wrong == [(JOB, ISLAND, 1)]


async def test_a_gap_while_we_were_deaf_is_not_the_islands_fault(bench: Bench) -> None:
    bench.kept.away = True
    bench.say(items(5, "x"))

    await bench.settle()

    assert bench.cause is Cause.ISLAND_STOPPED and bench.wrong == [(JOB, ISLAND, 1)]


async def test_an_end_that_counts_more_than_came_is_looked_up_first(bench: Bench) -> None:
    bench.say(Chunk(end=End(cause=COMPLETED, next=3)))

    await bench.settle()

    assert bench.cause is Cause.ISLAND_STOPPED


def test_an_end_before_what_was_said_is_bad_output(bench: Bench) -> None:
    bench.say(items(0, "a", "b"))
    bench.say(Chunk(end=End(cause=COMPLETED, next=1)))

    assert bench.cause is Cause.BAD_OUTPUT


def test_an_error_of_the_island_is_one_bounded_line(bench: Bench) -> None:
    bench.say(
        Chunk(end=End(cause=common_pb2.CAUSE_CARGO_FAILED, error="data: [DONE]\n\n\0" + "x" * 9000))
    )

    assert bench.answer.attempt_end is not None
    assert bench.cause is Cause.CARGO_FAILED
    assert bench.answer.attempt_end.error.startswith("data: [DONE] xxx")
    assert len(bench.answer.attempt_end.error) == 500


async def test_after_a_reconnect_only_what_is_in_doubt_is_looked_up(bench: Bench) -> None:
    bench.say(items(0, "a"))
    bench.kept.messages = [items(n, t).SerializeToString() for n, t in enumerate("ab")]
    bench.kept.messages.append(Chunk(end=End(cause=COMPLETED, next=2)).SerializeToString())

    bench.relay.interrupted()
    await bench.settle()
    await asyncio.sleep(0)
    await bench.settle()

    assert bench.answer.texts == ["a", "b"] and bench.cause is Cause.COMPLETED


@pytest.mark.parametrize(
    ("before_deaf", "read"), [(1, [2, 3]), (None, [1, 2, 3]), (2, [3, 1, 2, 3])]
)
async def test_after_an_outage_only_what_came_since_is_looked_up_unless_more_is_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, before_deaf: int | None, read: list[int]
) -> None:
    monkeypatch.setattr(repairs, "SETTLE_S", 0.0)
    bench.kept.before_deaf = before_deaf
    bench.say(items(0, "a"))
    bench.kept.messages = [items(n, t).SerializeToString() for n, t in enumerate("abc")]

    bench.relay.deafened()
    bench.kept.before_deaf = (
        3  # Broken off again before it was whole: what counts is when it began.
    )
    bench.relay.deafened()
    bench.relay.interrupted()
    await bench.settle()

    assert bench.answer.texts == ["a", "b", "c"] and bench.kept.given == read


async def test_while_we_are_deaf_silence_is_not_the_islands(bench: Bench) -> None:
    bench.clock.seconds = 200.0

    bench.relay.deafened()

    assert bench.answer.heard_at == 200.0 + DEAF_S
    bench.clock.seconds = 203.0
    bench.relay.interrupted()
    assert bench.answer.heard_at == 203.0 + RETURN_S
    await bench.settle()


def test_too_many_chunks_in_a_second_end_the_attempt(bench: Bench) -> None:
    for _ in range(CHUNKS_PER_S_MAX):
        bench.say(b"")
    assert bench.answer.attempt_end is None

    bench.say(b"")

    assert bench.cause is Cause.BAD_OUTPUT


def test_a_hundred_thousand_items_in_a_second_end_the_attempt() -> None:
    bench = Bench(items_max=1_000_000)

    for n in range(100):
        bench.say(items(1000 * n, *["x"] * 1000))

    assert bench.cause is Cause.BAD_OUTPUT
    assert bench.answer.next <= ITEMS_PER_S_MAX


def test_a_steady_stream_is_never_too_fast(bench: Bench) -> None:
    bench.answer.items_max = 100_000
    for second in range(5):
        bench.clock.seconds = 200.0 + second
        for n in range(CHUNKS_PER_S_MAX // 2):
            bench.say(items(second * (CHUNKS_PER_S_MAX // 2) + n, "x"))

    assert bench.answer.attempt_end is None
    assert bench.answer.next == 5 * (CHUNKS_PER_S_MAX // 2)


def test_after_the_job_is_settled_nothing_changes(bench: Bench) -> None:
    from archipelag_coordinator.domain.answer import Ending

    bench.say(items(0, "a"))
    bench.answer.finish(Ending(Cause.CANCELLED))

    bench.say(items(1, "b"))
    bench.say(b"\xff")

    assert bench.answer.texts == ["a"] and bench.answer.attempt_end is None
    assert bench.wrong == []


def test_closing_is_idempotent_and_final(bench: Bench) -> None:
    bench.relay.close(ISLAND, JOB, Epoch(1))
    bench.relay.close(ISLAND, JOB, Epoch(1))

    bench.say(items(0, "a"))

    assert bench.answer.texts == [] and bench.relay.counts.unknown == 1


async def test_after_an_outage_what_comes_too_early_waits_for_what_is_said_again(
    bench: Bench,
) -> None:
    bench.say(items(0, "a"))
    bench.relay.interrupted()
    bench.kept.messages = [items(3, "d").SerializeToString()]  # The broker forgot what was before.

    bench.say(items(4, "e"))
    bench.say(Chunk(first=5, texts=["f"], tokens=[0], end=End(cause=COMPLETED, next=6)))
    for _ in range(20):
        await asyncio.sleep(0)
    waiting = list(bench.answer.texts)
    bench.say(items(0, "a", "b", "c", "d"))
    await bench.settle()

    assert waiting == ["a"]
    assert bench.answer.texts == list("abcdef")
    assert bench.cause is Cause.COMPLETED and bench.wrong == []


async def test_after_an_outage_an_island_that_says_nothing_again_is_not_to_blame(
    bench: Bench,
) -> None:
    bench.relay.interrupted()

    bench.say(items(3, "d"))
    await bench.settle()

    assert bench.cause is Cause.ISLAND_STOPPED and bench.answer.texts == []
