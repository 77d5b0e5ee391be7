"""A run: one attempt as this Island lives it, with its output in order, its bounds and its end."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

from archipelag_contracts.signing import CHAIN_START, chain

from archipelag_island.domain.attempt import (
    REPORT_TEXT_BYTES_MAX,
    Assignment,
    Cause,
    Chunk,
    Ending,
    Report,
    Usage,
)
from archipelag_island.domain.usage import Share
from archipelag_island.runtime import Progress, RunEvent

CHUNK_TEXT_BYTES_MAX: Final = 64 << 10
"""Far below what a Coordinator takes in one chunk, tokens and framing included."""
ITEM_BYTES_MAX: Final = 32 << 10
"""Of the protocol; a Coordinator takes no item of more than twice that."""


class Run:
    """Guards a running attempt: takes the Cargo's events, hands out chunks, ends once. Not for two threads.

    `items_max` and `bytes_max` are the tighter of what the assignment and the manifest allow.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        items_max: int,
        bytes_max: int,
        now: float,
        started_at_ms: int,
    ) -> None:
        self.assignment = assignment
        self.key = assignment.key
        self.items_max = items_max
        self.bytes_max = bytes_max
        self.started = now
        self.started_at_ms = started_at_ms
        self.began: float | None = None
        """Monotonic seconds of when its Cargo began; None: it is being started for this run."""
        self.heard = now
        """Monotonic seconds of the Cargo's last item or progress."""
        self.ending: Ending | None = None
        self.stop_with: Ending | None = None
        """Somebody asked the run to end like this; it has yet to happen."""
        self.silent = False
        """End without a report: the attempt is no longer ours."""
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.size_bytes = 0
        self._texts: list[str] = []
        self._tokens: list[int] = []
        self._has_tokens = False
        self._sent = 0
        self._chained = 0
        self._told_prompt = False
        self._note: Progress | None = None
        self._chain = CHAIN_START

    def begin(self, now: float) -> None:
        """Its Cargo works on it from here on."""
        self.began = self.heard = now

    def tell(self, note: Progress) -> None:
        """A word of ours to whoever waits."""
        self._note = note

    @property
    def next(self) -> int:
        """The position after the last item taken."""
        return self.assignment.first_position + len(self._texts)

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return self._sent < len(self._texts) or self._note is not None or self.ending is not None

    def take(self, event: RunEvent, now: float) -> Ending | None:
        """Takes what the Cargo said. Returns how the run ends, if it ends by this."""
        self.heard = now
        if event.prompt_tokens:
            self.prompt_tokens = event.prompt_tokens
            self.cached_tokens = min(event.cached_tokens, event.prompt_tokens)
        if event.progress is not None:
            self._note = event.progress
        if event.texts:
            ending = self._take_items(event)
            if ending is not None:
                return ending
        if event.end is None:
            return None
        if event.end.error:
            return Ending(Cause.CARGO_FAILED, error=event.end.error)
        return Ending(Cause.COMPLETED, finish_reason=event.end.finish_reason or "stop")

    def _take_items(self, event: RunEvent) -> Ending | None:
        if event.first != self.next:
            return _broken(f"position {event.first} came, {self.next} was due")
        if event.tokens and len(event.tokens) != len(event.texts):
            return _broken(f"{len(event.texts)} items came with {len(event.tokens)} tokens")
        self._has_tokens = self._has_tokens or bool(event.tokens)
        for text, token in zip(event.texts, event.tokens or (0,) * len(event.texts), strict=True):
            # A Cargo may count its own run only; positions count for the whole answer, so we cut.
            if self.next >= self.items_max:
                return Ending(Cause.COMPLETED, finish_reason="length")
            length = len(text.encode())
            if length > ITEM_BYTES_MAX:
                return _broken(f"an item of {length} bytes, {ITEM_BYTES_MAX} at most")
            size = self.size_bytes + length
            if size > self.bytes_max:
                return Ending(
                    Cause.LIMIT_EXCEEDED, error=f"more than {self.bytes_max} bytes of output"
                )
            self.size_bytes = size
            self._texts.append(text)
            self._tokens.append(token)
        return None

    @property
    def behind(self) -> bool:
        """Whether there are items to send."""
        return self._sent < len(self._texts)

    def say_again(self) -> None:
        """The line was broken, and what was on it may be lost: all is sent once more. Whoever has it drops it."""
        self._sent = 0
        self._told_prompt = False

    def flush(self) -> Chunk | None:
        """What is not yet handed out, in one chunk of a bounded size; None when there is nothing."""
        if not self.waiting:
            return None
        first = self.assignment.first_position + self._sent
        until = self._fitting()
        texts = tuple(self._texts[self._sent : until])
        tokens = tuple(self._tokens[self._sent : until])
        new = slice(self._chained, max(self._chained, until))
        self._chain = chain(zip(self._texts[new], self._tokens[new], strict=True), self._chain)
        self._chained = new.stop
        self._sent = until
        note, self._note = self._note, None
        prompt = 0 if self._told_prompt else self.prompt_tokens
        self._told_prompt = self._told_prompt or bool(prompt)
        return Chunk(
            first=first if texts else 0,
            texts=texts,
            tokens=tokens if self._has_tokens else (),
            prompt_tokens=prompt,
            cached_tokens=self.cached_tokens if prompt else 0,
            progress=note,
        )

    def _fitting(self) -> int:
        """Where a chunk that begins at the first unsent item ends; it holds one item at least."""
        size = 0
        for index in range(self._sent, len(self._texts)):
            size += len(self._texts[index].encode())
            if size > CHUNK_TEXT_BYTES_MAX and index > self._sent:
                return index
        return len(self._texts)

    def ask_to_stop(self, ending: Ending, *, silent: bool = False) -> bool:
        """The first wish counts, but an attempt taken from us is never reported. False: it was ending already."""
        self.silent = self.silent or silent
        if self.ending is not None or self.stop_with is not None:
            return False
        self.stop_with = ending
        return True

    def end(self, ending: Ending) -> None:
        """The first word stays."""
        if self.ending is None:
            self.ending = ending

    def last_chunk(self, usage: Usage) -> Chunk:
        """What is left, and the end. Flush while it is `behind` before."""
        assert self.ending is not None
        rest = self.flush() or Chunk()
        assert not self.behind
        return replace(rest, end=self.ending, next=self.next, usage=usage)

    def usage(self, now: float, share: Share, memory_peak_bytes: int) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens,
            output_items=len(self._texts),
            memory_peak_bytes=memory_peak_bytes,
            wall_ms=int((now - self.started) * 1000),
            **share._asdict(),
        )

    def report(self, usage: Usage, ended_at_ms: int) -> Report:
        """After the last chunk was taken: the whole of it, for signing."""
        assert self.ending is not None and self._chained == len(self._texts)
        # An item costs its text and a few bytes of framing and token.
        fits = self.size_bytes + 8 * len(self._texts) <= REPORT_TEXT_BYTES_MAX
        return Report(
            key=self.key,
            island_id=self.assignment.island_id,
            cargo_digest=self.assignment.cargo_digest,
            ending=self.ending,
            first_position=self.assignment.first_position,
            next_position=self.next,
            usage=usage,
            input_sha256=hashlib.sha256(self.assignment.input).digest(),
            output_chain=self._chain,
            started_at_ms=self.started_at_ms,
            ended_at_ms=ended_at_ms,
            texts=tuple(self._texts) if fits else (),
            tokens=tuple(self._tokens) if fits and self._has_tokens else (),
        )


def _broken(how: str) -> Ending:
    return Ending(Cause.CARGO_FAILED, error=f"the Cargo broke its protocol: {how}")
