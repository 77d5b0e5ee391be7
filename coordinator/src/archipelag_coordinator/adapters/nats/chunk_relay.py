"""Hands each attempt's chunks to its Answer alone: the subject is the fence, and the broker enforces it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from archipelag_contracts import subjects
from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from google.protobuf.message import DecodeError

from archipelag_coordinator.adapters.nats.causes import cause_of, usage_of
from archipelag_coordinator.adapters.nats.line import Counts, Line
from archipelag_coordinator.adapters.nats.repairs import UNSURE_S, Repairs
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
# For so long an Island that lost its line with ours may take to come back and say again what nobody heard.
SAYS_AGAIN_S: Final = 6.0
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
        self._lines: dict[bytes, Line] = {}
        self._elsewhere: dict[tuple[IslandId, JobId, Epoch], bytes] = {}
        """Subjects of attempts whose Islands send to another process."""
        self._wire: Wire | None = None
        self._repairs = Repairs(clock, replay, self._lines, self.counts, self._take, self._wrong)

    def attach(self, wire: Wire) -> None:
        """One subscription for everything that this process relays."""
        self._wire = wire
        wire.subscribe(subjects.output_of(self._home), self.heard)
        wire.on_lost = self.deafened
        wire.on_gap = self.interrupted

    def open(
        self,
        answer: Answer,
        island: IslandId,
        epoch: Epoch,
        relay: RelayId | None = None,
        since: int | None = None,
    ) -> None:
        assert answer.epoch == epoch
        self.close(island, answer.job_id, epoch)
        sender = relay or self._home
        subject = subjects.out(island, sender, answer.job_id, epoch).encode()
        now = self._clock.monotonic()
        line = self._lines[subject] = Line(subject, answer, island, sender, epoch, now)
        if sender != self._home:
            assert self._wire is not None, "attach a wire first"
            self._elsewhere[island, answer.job_id, epoch] = subject
            self._wire.subscribe(subject.decode(), self.heard)
            self._repairs.listen_in(line, self._wire, since)

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

    def place(self) -> int | None:
        return self._replay.place(UNSURE_S)

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
        await self._repairs.stop()

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
            self._repairs.hold(line, payload)
        else:
            self._take(line, payload, now, from_stream=False)

    def deafened(self) -> None:
        """The connection is gone: silence is ours and not the Islands'."""
        until = self._clock.monotonic() + DEAF_S
        for line in self._lines.values():
            line.answer.heard_at = max(line.answer.heard_at, until)
        self._repairs.deafened()

    def interrupted(self) -> None:
        """The connection was away for a while: whatever was said then may be missing."""
        now = self._clock.monotonic()
        for line in self._lines.values():
            line.in_doubt = True
            line.answer.heard_at = now + RETURN_S
            line.says_again_until = now + SAYS_AGAIN_S
        if self._lines:
            self._repairs.look_for_doubtful()

    def _take(self, line: Line, payload: bytes, now: float, *, from_stream: bool) -> None:
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
                    return self._repairs.fill(line, payload)
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

    def _end(self, line: Line, end: Any, payload: bytes, *, from_stream: bool) -> None:
        answer = line.answer
        cause = cause_of(end.cause)
        if cause is None:
            return self._wrong(line, "an end without a cause that an Island may give")
        if end.next > answer.next and cause is Cause.COMPLETED:
            return self._gap(line, end.next) if from_stream else self._repairs.fill(line, payload)
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

    def _gap(self, line: Line, came: int) -> None:
        """Nobody has what is missing, and nobody can tell who lost it: brokers lose what they pass on to each other,
        too. Another attempt goes on from what is there."""
        why = f"a gap: {came} came, {line.answer.next} was expected"
        self._wrong(line, why, Cause.ISLAND_STOPPED)

    def _wrong(self, line: Line, why: str, cause: Cause = Cause.BAD_OUTPUT) -> None:
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


def _too_large(texts: Sequence[str]) -> bool:
    return any(len(text.encode()) > ITEM_BYTES_MAX for text in texts)


def _progress(told: pb.Progress) -> Progress:
    note = plain(told.note, NOTE_MAX)
    if told.preview_type not in PREVIEW_TYPES or len(told.preview) > PREVIEW_BYTES_MAX:
        return Progress(told.step, told.total, note)
    return Progress(told.step, told.total, note, told.preview, told.preview_type)
