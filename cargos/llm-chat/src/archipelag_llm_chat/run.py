"""One run inside the engine: what it still has to read, what it has answered, and what nobody has taken yet."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from archipelag_llm_chat.answer_text import AnswerText, Item
from archipelag_llm_chat.sampling import Sampling

# Items that may wait for a slow reader before its run is parked.
OUTBOX_ITEMS_MAX: Final = 64


@dataclass(frozen=True)
class Ending:
    """How a run ended: `finish_reason` "stop" or "length", or an `error`."""

    finish_reason: str = ""
    error: str = ""
    output_items: int = 0
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Ask:
    """What a run is to do; `resumed` are the tokens of the positions delivered already."""

    prompt: tuple[int, ...]
    sampling: Sampling
    items_max: int  # Positions of the whole answer, the resumed ones included.
    stop: tuple[str, ...] = ()
    resumed: tuple[int, ...] = ()
    salt: bytes = b""
    """What is computed for this run is used again under the same one only; empty: for none."""
    run_id: str = ""


@dataclass
class Outbox:
    """Items on their way from the decode thread to a reader. Bounded by `full`, which parks the run."""

    wake: Callable[[], None]
    _items: deque[tuple[int, Item]] = field(default_factory=deque)
    _ending: Ending | None = None
    _read: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def full(self) -> bool:
        return len(self._items) >= OUTBOX_ITEMS_MAX

    def put(self, first: int, items: Sequence[Item], ending: Ending | None = None) -> None:
        with self._lock:
            self._items.extend(enumerate(items, first))
            self._ending = ending
        if items or ending is not None:
            self.wake()

    def note_read(self, count: int) -> None:
        """So many tokens of the prompt have been read; only the newest number is kept."""
        with self._lock:
            self._read = count
        self.wake()

    def take_read(self) -> int | None:
        with self._lock:
            count, self._read = self._read, None
            return count

    def take(self) -> tuple[int, list[Item], Ending | None]:
        """Position of the first item, all that is there, and the ending once it has come."""
        with self._lock:
            first = self._items[0][0] if self._items else 0
            items = [item for _, item in self._items]
            self._items.clear()
            return first, items, self._ending


class Run:
    """State of a run; only the decode thread touches it, but for `cancelled` and the outbox."""

    def __init__(
        self,
        ask: Ask,
        outbox: Outbox,
        piece: Callable[[int], bytes],
        *,
        slot: int,
        shared: int = 0,
    ) -> None:
        """`shared`: so many of its tokens stand in the slot already."""
        self.ask = ask
        self.outbox = outbox
        self.slot = slot
        self.shared = shared
        self.begun = False
        self.cancelled = False
        self.ended = False
        self.failed = False
        self.cpu_s = 0.0
        self.tokens: list[int] = [*ask.prompt, *ask.resumed]
        self.cells = shared  # The first so many of the tokens stand in the context's memory.
        self._piece = piece
        self._text = AnswerText(ask.stop)
        self._counts: Counter[int] = Counter()
        self._position = 0  # Of the next token to choose.
        self._released = 0  # Position of the next item to release.
        self._produced = 0
        for token in ask.resumed:
            if self._text.stopped:
                break
            self._note(token)
            self._released += len(self._text.add(token, piece(token)))

    @property
    def unread(self) -> int:
        """Tokens that are to be decoded before the next one can be chosen."""
        return len(self.tokens) - self.cells

    @property
    def position(self) -> int:
        return self._position

    @property
    def counts(self) -> Counter[int]:
        return self._counts

    def begin(self) -> None:
        """Ends at once what was over before it was interrupted."""
        self.begun = True
        if self._text.stopped:
            self._end("stop", [])
        elif len(self.ask.resumed) >= self.ask.items_max:
            self._end("length", self._text.finish())

    def accept(self, token: int, *, is_end: bool) -> None:
        """The token chosen for `position`."""
        assert not self.ended
        if is_end:
            self._end("stop", self._text.finish())
            return
        self._note(token)
        self._produced += 1
        items = self._text.add(token, self._piece(token))
        if self._text.stopped:
            self._end("stop", items)
        elif self._position >= self.ask.items_max:
            self._end("length", items + self._text.finish())
        else:
            self.tokens.append(token)
            self._release(items)

    def read(self, count: int) -> None:
        """So many tokens stand in the context's memory by now, and so many fewer are to be read."""
        self.cells += count
        if self.unread:
            self.outbox.note_read(self.cells)

    def fail(self, error: str) -> None:
        if not self.ended:
            self.ended = self.failed = True
            self.outbox.put(self._released, [], self._ending(error=error))

    def _note(self, token: int) -> None:
        self._counts[token] += 1
        self._position += 1

    def _end(self, finish_reason: str, items: list[Item]) -> None:
        self.ended = True
        self._release(items, self._ending(finish_reason=finish_reason))

    def _release(self, items: list[Item], ending: Ending | None = None) -> None:
        """Sends on what is certain, but for positions that were delivered before this run began."""
        first = self._released
        self._released += len(items)
        known = min(len(items), max(0, len(self.ask.resumed) - first))
        self.outbox.put(first + known, items[known:], ending)

    def _ending(self, *, finish_reason: str = "", error: str = "") -> Ending:
        return Ending(finish_reason, error, output_items=self._produced, cpu_s=self.cpu_s)
