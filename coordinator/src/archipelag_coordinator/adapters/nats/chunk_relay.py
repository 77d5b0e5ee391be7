"""Hands each attempt's chunks to its Answer alone: the subject is the fence, and the broker enforces it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import nats.errors
from archipelag_contracts import subjects
from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from google.protobuf.message import DecodeError

from archipelag_coordinator.adapters.nats.causes import cause_of, usage_of
from archipelag_coordinator.adapters.nats.replay import Replay
from archipelag_coordinator.adapters.nats.text import plain
from archipelag_coordinator.adapters.nats.wire import Wire
from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.answer import (
    ITEM_BYTES_MAX,
    PREVIEW_BYTES_MAX,
    Answer,
    Ending,
    Progress,
)
from archipelag_coordinator.domain.attempt import Cause

log = logging.getLogger(__name__)

CHUNK_BYTES_MAX: Final = 512 << 10
# Far above any honest Cargo and far below what would trouble others.
CHUNKS_PER_S_MAX: Final = 4_000
ITEMS_PER_S_MAX: Final = 20_000
NOTE_MAX: Final = 200
PREVIEW_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/webp"})
ERROR_MAX: Final = 500
FINISH_REASON_MAX: Final = 32
PROMPT_TOKENS_MAX: Final = 1 << 24
REPAIRS_MAX: Final = 16
REPAIRS_AT_ONCE: Final = 32
TAIL_S: Final = 8.0
"""What was said so lately is read again of a stream that was taken over; items are stored every second."""
HELD_CHUNKS_MAX: Final = 8_192
HELD_BYTES_MAX: Final = 4 << 20
# After a reconnect, an attempt whose next chunk fits has missed nothing; ask the stream only for the others.
SETTLE_S: Final = 0.3
# For so long an Island that lost its line with ours may take to come back and say again what nobody heard.
SAYS_AGAIN_S: Final = 6.0
LOOK_S: Final = 0.25
LOOKS_MAX: Final = 24
RETURN_S: Final = 3.0
"""Most Islands lost their line with ours, and may come back to it later than we."""
# While our own connection is away, no attempt counts as silent; its deadline is another matter.
DEAF_S: Final = 24 * 3600.0
# The broker answers a ping so soon, or we are deaf.
HEARS_S: Final = 1.0

# How the broker's own messages begin, and no Chunk does. Another Island can have one sent under this attempt's subject,
# by naming it as the reply subject of its own report; that must not end the attempt.
BROKERS_WORD: Final = b'{"'

OnEvent = Callable[[JobId, IslandId, Epoch], None]


def _ignore(_: JobId, __: IslandId, ___: Epoch) -> None:
    """Nobody asked to be told."""


@dataclass(slots=True)
class _Line:
    """One open attempt, and what is measured of it."""

    subject: bytes
    answer: Answer
    island: IslandId
    epoch: Epoch
    second: float
    """When the running second of the rate limit began."""
    chunks: int = 0
    items: int = 0
    in_doubt: bool = False
    """Something may have been missed since the last item."""
    says_again_until: float = 0.0
    """So long after we were deaf the Island may still say again what nobody heard."""
    repairs: int = 0
    held: deque[bytes] | None = None
    """What arrives while a gap is being filled."""
    held_bytes: int = 0


@dataclass
class Counts:
    """What was refused, for the metrics."""

    unknown: int = 0
    """No attempt is open under that subject: an old epoch, another job, a finished attempt."""
    wrong: int = 0
    """Attempts ended because their output broke the protocol."""
    repaired: int = 0
    """Gaps that were looked up in the stream."""


class NatsChunkRelay:
    """Implements `ChunkRelay`. Not for two threads.

    `on_end` is called when an attempt said that it ended, `on_wrong` when its output broke the protocol.
    """

    def __init__(
        self,
        home: RelayId,
        clock: Clock,
        replay: Replay,
        *,
        on_end: OnEvent = _ignore,
        on_wrong: OnEvent = _ignore,
    ) -> None:
        self.counts = Counts()
        self.on_end = on_end
        self.on_wrong = on_wrong
        self._home = home
        self._clock = clock
        self._replay = replay
        self._lines: dict[bytes, _Line] = {}
        self._elsewhere: dict[tuple[IslandId, JobId, Epoch], bytes] = {}
        """Subjects of attempts whose Islands send to another process."""
        self._wire: Wire | None = None
        self._repairing = asyncio.Semaphore(REPAIRS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, wire: Wire) -> None:
        """One subscription for everything that this process relays."""
        self._wire = wire
        wire.subscribe(subjects.output_of(self._home), self.heard)
        wire.on_lost = self.deafened
        wire.on_gap = self.interrupted

    def open(
        self, answer: Answer, island: IslandId, epoch: Epoch, relay: RelayId | None = None
    ) -> None:
        assert answer.epoch == epoch
        self.close(island, answer.job_id, epoch)
        sender = relay or self._home
        subject = subjects.out(island, sender, answer.job_id, epoch).encode()
        now = self._clock.monotonic()
        line = self._lines[subject] = _Line(subject, answer, island, epoch, second=now)
        if sender != self._home:
            assert self._wire is not None, "attach a wire first"
            self._elsewhere[island, answer.job_id, epoch] = subject
            self._wire.subscribe(subject.decode(), self.heard)
            line.held = deque()
            self._start(self._listen_in(line))

    def is_open(self, island: IslandId, job: JobId, epoch: Epoch) -> bool:
        return self._subject(island, job, epoch) in self._lines

    def close(self, island: IslandId, job: JobId, epoch: Epoch) -> None:
        self._lines.pop(self._subject(island, job, epoch), None)
        foreign = self._elsewhere.pop((island, job, epoch), None)
        if foreign is not None and self._wire is not None:
            self._wire.unsubscribe(foreign.decode())

    async def keep_place(self) -> None:
        """Raises nats.errors.Error, OSError."""
        if self._wire is not None and self._wire.connected:
            await self._replay.keep_place()

    async def hears(self) -> bool:
        wire = self._wire
        if wire is None or not wire.connected:
            return False
        try:
            await wire.flush(HEARS_S)
        except (OSError, TimeoutError):
            return False
        return True

    def _subject(self, island: IslandId, job: JobId, epoch: Epoch) -> bytes:
        foreign = self._elsewhere.get((island, job, epoch))
        return foreign or subjects.out(island, self._home, job, epoch).encode()

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._lines)

    def heard(self, subject: bytes, payload: bytes) -> None:
        """A message of the one subscription."""
        line = self._lines.get(subject)
        if line is None:
            self.counts.unknown += 1
            return
        now = self._clock.monotonic()
        if now - line.second >= 1.0:
            line.second, line.chunks, line.items = now, 0, 0
        line.chunks += 1
        if line.chunks > CHUNKS_PER_S_MAX:
            self._wrong(line, f"more than {CHUNKS_PER_S_MAX} chunks in a second")
        elif not payload:
            line.answer.heard_at = now
        elif line.held is not None:
            self._hold(line, payload)
        else:
            self._take(line, payload, now, from_stream=False)

    def deafened(self) -> None:
        """The connection is gone: silence is ours and not the Islands'."""
        until = self._clock.monotonic() + DEAF_S
        for line in self._lines.values():
            line.answer.heard_at = max(line.answer.heard_at, until)

    def interrupted(self) -> None:
        """The connection was away for a while: whatever was said then may be missing."""
        now = self._clock.monotonic()
        for line in self._lines.values():
            line.in_doubt = True
            line.answer.heard_at = now + RETURN_S
            line.says_again_until = now + SAYS_AGAIN_S
        if self._lines:
            self._start(self._repair_doubtful())

    def _take(self, line: _Line, payload: bytes, now: float, *, from_stream: bool) -> None:
        if len(payload) > CHUNK_BYTES_MAX:
            return self._wrong(line, f"a chunk of more than {CHUNK_BYTES_MAX} bytes")
        try:
            chunk = pb.Chunk.FromString(payload)
        except DecodeError:
            if payload.startswith(BROKERS_WORD):
                log.debug("brokers_word subject=%r payload=%r", line.subject, payload[:200])
                self.counts.unknown += 1
                return None
            # protobuf refuses a string that is not UTF-8, too.
            return self._wrong(line, "a chunk that cannot be read")
        answer = line.answer
        if answer.epoch != line.epoch or answer.final is not None:
            self.counts.unknown += 1
            self._lines.pop(line.subject, None)
            return None
        if not answer.prompt_tokens and chunk.prompt_tokens:
            answer.read(min(chunk.prompt_tokens, PROMPT_TOKENS_MAX), chunk.cached_tokens)
        # Copies: a message looks into its own repeated fields slowly, and a slice makes a list at once.
        if texts := chunk.texts[:]:
            first, expected = chunk.first, len(answer.texts)
            if first > expected:
                if not from_stream:
                    return self._repair(line, payload)
                return self._gap(line, first)
            # What the stream repeats is no overlap of the Island's making.
            if not from_stream or first + len(texts) > expected:
                line.in_doubt = False
                line.items += len(texts)
                if line.items > ITEMS_PER_S_MAX:
                    return self._wrong(line, f"more than {ITEMS_PER_S_MAX} items in a second")
                # Only a chunk that is larger than an item may hold an item that is too large.
                if len(payload) > ITEM_BYTES_MAX and _too_large(texts):
                    return self._wrong(line, f"an item of more than {ITEM_BYTES_MAX} bytes")
                wrong = answer.accept(first, texts, chunk.tokens[:], now)
                if wrong is not None:
                    return self._wrong(line, wrong)
        if chunk.HasField("progress"):
            answer.note = _progress(chunk.progress)
            answer.wake()
        if chunk.HasField("end"):
            return self._end(line, chunk.end, payload, from_stream=from_stream)
        answer.heard_at = now
        return None

    def _end(self, line: _Line, end: Any, payload: bytes, *, from_stream: bool) -> None:
        answer = line.answer
        cause = cause_of(end.cause)
        if cause is None:
            return self._wrong(line, "an end without a cause that an Island may give")
        if end.next > answer.next and cause is Cause.COMPLETED:
            return self._gap(line, end.next) if from_stream else self._repair(line, payload)
        if end.next < answer.next and cause is Cause.COMPLETED:
            return self._wrong(line, f"an end at {end.next} after {answer.next} items")
        self._lines.pop(line.subject, None)
        answer.heard_at = self._clock.monotonic()
        answer.end_attempt(
            Ending(
                cause,
                finish_reason=plain(end.finish_reason, FINISH_REASON_MAX),
                error=plain(end.error, ERROR_MAX),
                usage=usage_of(end.usage),
            )
        )
        self.on_end(answer.job_id, line.island, line.epoch)
        return None

    def _gap(self, line: _Line, came: int) -> None:
        """Nobody has what is missing, and nobody can tell who lost it: brokers lose what they pass on to each other,
        too. Another attempt goes on from what is there."""
        why = f"a gap: {came} came, {line.answer.next} was expected"
        self._wrong(line, why, Cause.ISLAND_STOPPED)

    def _wrong(self, line: _Line, why: str, cause: Cause = Cause.BAD_OUTPUT) -> None:
        """The attempt is over; what it says from now on is refused."""
        self._lines.pop(line.subject, None)
        self.counts.wrong += 1
        answer = line.answer
        log.warning(
            "bad_output job=%s epoch=%d island=%s why=%s",
            answer.job_id,
            line.epoch,
            line.island,
            why,
        )
        if answer.epoch != line.epoch or answer.final is not None or answer.follows:
            return  # A copy is brought up to date again; its home decides.
        answer.end_attempt(Ending(cause, error=why))
        self.on_wrong(answer.job_id, line.island, line.epoch)

    # --- Filling gaps ----------------------------------------------------------------------------------------------

    def _hold(self, line: _Line, payload: bytes) -> None:
        assert line.held is not None
        line.held_bytes += len(payload)
        line.held.append(payload)
        line.answer.heard_at = self._clock.monotonic()
        if len(line.held) > HELD_CHUNKS_MAX or line.held_bytes > HELD_BYTES_MAX:
            self._wrong(line, "a gap, and too much output after it")

    def _repair(self, line: _Line, payload: bytes) -> None:
        """Something is missing before `payload`: fetch it while new chunks wait."""
        line.repairs += 1
        if line.repairs > REPAIRS_MAX:
            # Nobody can tell who loses so much on the way.
            why = f"more than {REPAIRS_MAX} gaps"
            return self._wrong(line, why, Cause.ISLAND_STOPPED)
        line.held = deque([payload])
        line.held_bytes = len(payload)
        self._start(self._refill(line))
        return None

    async def _listen_in(self, line: _Line) -> None:
        """An attempt that speaks to another process: what it has said, then what it says. A second look fetches what
        was said before the broker had passed our subscription on to all its servers, unless more has come by then that
        follows on: nothing is missing before that."""
        assert self._wire is not None
        try:
            await self._wire.flush()
        except (OSError, TimeoutError) as error:
            log.warning("listening_in_unsure subject=%r error=%r", line.subject, error)
        # What an answer has from the database lacks a second or two.
        since = self._replay.place(TAIL_S) if line.answer.next else None
        seen = await self._refill(line, since=since)
        known = line.answer.next
        await asyncio.sleep(SETTLE_S)
        if self._open(line) and line.held is None and line.answer.next == known:
            await self._refill(line, seen)

    async def _repair_doubtful(self) -> None:
        await asyncio.sleep(SETTLE_S)
        for line in tuple(self._lines.values()):
            if line.in_doubt and line.held is None:
                line.held, line.held_bytes = deque(), 0
                self._start(self._refill(line))

    async def _refill(self, line: _Line, seen: int = 0, since: int | None = None) -> int:
        """Takes what the stream kept after its message `seen`, then what has arrived in the meantime; a gap that is
        left is bad output. `since`: looks no further back than that message, unless what is found then does not fit.
        Returns the number of the last message that it saw in the stream."""
        async with self._repairing:
            if line.held is None:
                # Not while it waited for its turn: nothing is known to be missing.
                line.held, line.held_bytes = deque(), 0
            try:
                fits, seen = await self._reread(line, seen, since)
                if not fits:
                    _, seen = await self._reread(line, seen)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                log.warning("replay_failed subject=%r error=%r", line.subject, error)
        if not self._open(line):
            return seen
        line.in_doubt = False
        for _ in range(LOOKS_MAX):
            if self._drained(line) or not self._open(line):
                break
            if self._clock.monotonic() >= line.says_again_until:
                break
            # The Island was deafened as we were; it says all again some times.
            await asyncio.sleep(LOOK_S)
        held, line.held = line.held or deque(), None
        while held and self._open(line):
            self._take(line, held.popleft(), self._clock.monotonic(), from_stream=True)
        self.counts.repaired += 1
        return seen

    async def _reread(self, line: _Line, seen: int, since: int | None = None) -> tuple[bool, int]:
        """False, and nothing taken: what came `since` then does not follow on what is there, or says nothing of it."""
        fits = since is None
        after = seen if since is None else max(seen, since)
        async for number, payload in self._replay.chunks(line.subject.decode(), after):
            if not self._open(line):
                return True, seen
            if not fits:
                found = _follows_on(line.answer, payload)
                if found is None:
                    continue
                if not found:
                    return False, seen
                fits = True
            seen = number
            if payload:
                self._take_or_hold(line, payload)
        return fits, seen

    def _take_or_hold(self, line: _Line, payload: bytes) -> None:
        """What comes too early waits for what is missing before it."""
        if line.held is not None and _is_ahead(line.answer, payload):
            self._hold(line, payload)
        else:
            line.items = 0  # The rate was limited when these were said.
            self._take(line, payload, self._clock.monotonic(), from_stream=True)

    def _drained(self, line: _Line) -> bool:
        """Takes all that fits of what was held, in whatever order it came. True when nothing is left."""
        before = -1
        while line.held and len(line.held) != before and self._open(line):
            held, before = line.held, len(line.held)
            line.held, line.held_bytes = deque(), 0
            for payload in held:
                self._take_or_hold(line, payload)
        return not line.held

    def _open(self, line: _Line) -> bool:
        return self._lines.get(line.subject) is line

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _too_large(texts: Sequence[str]) -> bool:
    return any(len(text.encode()) > ITEM_BYTES_MAX for text in texts)


def _is_ahead(answer: Answer, payload: bytes) -> bool:
    """Whether something is missing before it."""
    return _follows_on(answer, payload) is False


def _follows_on(answer: Answer, payload: bytes) -> bool | None:
    """Whether nothing is missing before it; None where it does not say."""
    try:
        chunk = pb.Chunk.FromString(payload)
    except DecodeError:
        return None
    if chunk.texts:
        return bool(chunk.first <= answer.next)
    if chunk.HasField("end") and cause_of(chunk.end.cause) is Cause.COMPLETED:
        return bool(chunk.end.next <= answer.next)
    return None


def _progress(told: pb.Progress) -> Progress:
    note = plain(told.note, NOTE_MAX)
    if told.preview_type not in PREVIEW_TYPES or len(told.preview) > PREVIEW_BYTES_MAX:
        return Progress(told.step, told.total, note)
    return Progress(told.step, told.total, note, told.preview, told.preview_type)
