"""An answer as it arrives: items in order of position, each accepted once, and how far readers have got."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from archipelag_contracts.ids import Epoch, IslandId, JobId

from archipelag_coordinator.domain.attempt import Cause, Usage
from archipelag_coordinator.domain.items import Items
from archipelag_coordinator.domain.prefixes import Prefix
from archipelag_coordinator.domain.waits import Wait

ITEM_BYTES_MAX: Final = 64 * 1024
PREVIEW_BYTES_MAX: Final = 64 * 1024


class Progress(NamedTuple):
    """How far an attempt is, by its Cargo's word. A later one takes its place."""

    step: int
    total: int
    note: str = ""
    preview: bytes = b""
    """A small picture."""
    preview_type: str = ""


@dataclass(frozen=True)
class Ending:
    """How an attempt's output ended, or, with `final`, the whole job."""

    cause: Cause
    finish_reason: str = ""
    error: str = ""
    usage: Usage = Usage()
    cached_tokens: int = 0
    """Of the prompt, what did not have to be read again; 0 where it is not known."""
    charged: int = 0
    status: str = ""
    """The job's status once it is settled."""
    reasons: tuple[str, ...] = ()


class Answer:
    """Guards a running job's output in the process that relays it: no position twice, none left out.

    Not for two threads. Listeners are called after anything that a reader may wait for; they must not block.
    """

    __slots__ = (
        "attempt_end",
        "cached_tokens",
        "counted",
        "delivered",
        "epoch",
        "final",
        "first_item_at",
        "follows",
        "goes_on_unread",
        "heard_at",
        "interactive",
        "interrupted",
        "island_id",
        "items_max",
        "job_id",
        "left_at",
        "listeners",
        "marked",
        "note",
        "opened_at",
        "orphaned",
        "placing",
        "prefixes",
        "prompt_tokens",
        "reader_round_trip_s",
        "readers",
        "recalled",
        "refused",
        "running",
        "size_bytes",
        "size_bytes_max",
        "stands",
        "stored",
        "taken",
        "texts",
        "tokens",
        "waiting",
        "workload",
    )

    def __init__(
        self,
        job_id: JobId,
        *,
        items_max: int,
        size_bytes_max: int,
        now: float,
        interactive: bool = True,
        goes_on_unread: bool = False,
        workload: str = "",
        prefixes: tuple[Prefix, ...] = (),
    ) -> None:
        self.job_id = job_id
        self.workload = workload
        self.interactive = interactive
        """A reader waits for it: silence and a reader's leaving end it soon."""
        self.goes_on_unread = goes_on_unread
        """Although a reader waits for it, it runs to its end without one."""
        self.follows = False
        """Another process is the job's home; this is a copy for readers here, and decides nothing."""
        self.recalled = False
        """Its beginning was relayed by another process: what readers were given there is not known exactly."""
        self.opened_at = now
        self.items_max, self.size_bytes_max = items_max, size_bytes_max
        self.epoch = Epoch(0)
        self.island_id: IslandId | None = None
        self.texts: list[str] = []
        self.tokens: list[int] = []
        self.size_bytes = self.prompt_tokens = self.cached_tokens = 0
        """The last are those of the prompt that did not have to be read again."""
        self.prefixes = prefixes
        """Of its prompt, that Islands may keep; none after a no, or in a process that has taken the job over."""
        self.note: Progress | None = None
        self.waiting: tuple[str, ...] = ()
        """Why no Island has taken the job yet, in words."""
        self.stands: Wait | None = None
        """Where it stood in line a moment ago, for readers; None before anybody looked."""
        self.taken = 0
        """One past the highest position that was handed to any reader for writing."""
        self.delivered = 0
        """One past the highest position that was written to any reader."""
        self.stored = 0
        """One past the highest position that PostgreSQL has."""
        self.marked = 0
        """The mark that PostgreSQL has."""
        self.counted = 0
        """One past the highest position that a tally has counted."""
        self.placing = False
        """Somebody in this process is finding an Island for it; nobody else need try."""
        self.running = False
        """An Island has accepted the current attempt."""
        self.interrupted = False
        """The current attempt is over, here too: the next one may begin."""
        self.refused = 0
        """Items dropped because they were there already."""
        self.heard_at = now
        """Monotonic seconds of the last sign of life of the current attempt."""
        self.first_item_at: float | None = None
        self.attempt_end: Ending | None = None
        """What the current attempt said of its end; not yet settled."""
        self.final: Ending | None = None
        """The job has ended and is settled."""
        self.readers = 0
        self.reader_round_trip_s: float | None = None
        """To whoever read here last and was measured, and back."""
        self.left_at: float | None = None
        """When the last reader left; None while there is one, or before the first."""
        self.orphaned = False
        """Its last reader did not leave: the process that served them died."""
        self.listeners: set[Callable[[], None]] = set()

    @property
    def next(self) -> int:
        """The position that is expected next."""
        return len(self.texts)

    @property
    def mark(self) -> int:
        """What counts as delivered: written to a reader, or, where nobody waits, readable at `output`."""
        return self.delivered if self.interactive and not self.goes_on_unread else self.next

    @property
    def handed_out(self) -> int:
        """One past the highest position that any reader may have been given."""
        return max(self.taken, self.next) if self.recalled and self.interactive else self.taken

    def begin(self, epoch: Epoch, now: float, island_id: IslandId | None = None) -> None:
        """A new attempt carries on from `next`."""
        assert epoch > self.epoch
        self.epoch = epoch
        self.island_id = island_id
        self.stands = None
        self.heard_at = now
        self.attempt_end = None
        self.running = False
        self.interrupted = False

    def accept(
        self, first: int, texts: Sequence[str], tokens: Sequence[int], now: float
    ) -> str | None:
        """Takes what comes next. Returns None, or what is wrong: the attempt must then be ended as bad output.

        An overlap is dropped; a gap, too much output or items after the end are wrong.
        """
        self.heard_at = now
        count, added = len(self.texts), len(texts)
        if first != count:
            if first > count:
                return f"a gap: position {first} came, {count} was expected"
            skip = count - first
            self.refused += min(skip, added)
            texts, tokens = texts[skip:], tokens[skip:]
            added = len(texts)
        if not added:
            return None
        if self.attempt_end is not None or self.final is not None:
            return "items after the end"
        if tokens and len(tokens) != added:
            return "as many tokens as texts were expected"
        size = self.size_bytes
        for text in texts:
            size += len(text) if text.isascii() else len(text.encode())
        if size > self.size_bytes_max or count + added > self.items_max:
            return f"more output than the {self.items_max} items or {self.size_bytes_max} bytes allowed"
        if self.first_item_at is None:
            self.first_item_at = now
        self.size_bytes = size
        self.texts += texts
        self.tokens += tokens or [0] * added
        for listener in tuple(self.listeners):
            listener()
        return None

    def read(self, prompt_tokens: int, cached_tokens: int) -> None:
        """What the attempt that begins the answer says of its prompt. The first word stays."""
        if not self.prompt_tokens and prompt_tokens:
            self.prompt_tokens = prompt_tokens
            self.cached_tokens = min(cached_tokens, prompt_tokens)

    def accepted(self, now: float) -> None:
        """The Island has said yes; from now on its silence counts."""
        self.running = True
        self.heard_at = max(self.heard_at, now)
        self.waiting = ()
        self.wake()

    def stand(self, wait: Wait) -> None:
        """Somebody has looked where the job stands in line."""
        if wait == self.stands:
            return
        self.stands = wait
        self.wake()

    def wait(self, reasons: tuple[str, ...]) -> None:
        """No Island takes the job now, and why."""
        if reasons != self.waiting:
            self.waiting = reasons
            self.wake()

    def interrupt(self) -> None:
        """The attempt has ended and the job has not: nothing runs until the next one begins."""
        self.running = False
        self.interrupted = True
        self.attempt_end = None

    def cut_back(self, position: int) -> None:
        """Forgets what an attempt said that came to nothing, from here on. Nobody may have been given any of it."""
        if self.next > position:
            assert self.handed_out <= position and self.delivered <= position
            lost = self.texts[position:]
            del self.texts[position:], self.tokens[position:]
            self.size_bytes -= sum(len(text.encode("utf-8", "replace")) for text in lost)
            self.marked = min(self.marked, position)
        self.stored = min(max(self.stored, position), self.next)
        if self.next == 0:
            self.prompt_tokens = self.cached_tokens = 0
            self.first_item_at = None
        self.running = False

    def load(self, items: Items, *, stored: bool = False) -> None:
        """Takes over items that are known from elsewhere, from where this answer ends on.

        `stored`: they come from PostgreSQL.
        """
        assert items.first == 0
        texts = items.texts[self.next :]
        self.tokens += items.tokens[self.next :]
        self.texts += texts
        self.size_bytes += sum(len(text.encode("utf-8", "replace")) for text in texts)
        if stored:
            self.stored = max(self.stored, items.next)
        if texts:
            self.wake()

    def end_attempt(self, ending: Ending) -> None:
        self.attempt_end = ending
        self.wake()

    def finish(self, ending: Ending) -> None:
        """The job is settled. The first word stays."""
        if self.final is None:
            self.final = ending
            self.running = False
            self.wake()

    def wake(self) -> None:
        for listener in tuple(self.listeners):
            listener()
