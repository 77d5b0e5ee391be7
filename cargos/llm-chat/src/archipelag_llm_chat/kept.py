"""What ended runs left in their slots: whose it is, which tokens, and which slot a new run takes by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

RUNS_TOLD_MAX: Final = 16
SALT_BYTES_MAX: Final = 32


@dataclass(frozen=True)
class Kept:
    """What stands in a slot: exactly these tokens, in this order, for runs under this salt alone."""

    run_id: str
    salt: bytes
    tokens: tuple[int, ...]
    prompt_tokens: int
    """So many of them were to be read; fewer stand there where the run was cancelled before."""
    ended_s: float

    @property
    def has_prompt(self) -> bool:
        return len(self.tokens) >= self.prompt_tokens


class Place(NamedTuple):
    slot: int
    shared: int
    """Tokens that stand there already."""


class KeptSlots:
    """By slot. What is older than `kept_s` seconds counts no more, and is to be dropped. Not for two threads."""

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._slots: dict[int, Kept] = {}

    def keep(self, slot: int, kept: Kept) -> bool:
        """False: nothing is kept of this, and the slot's cells are to be dropped."""
        if not kept.salt or not kept.tokens or self._kept_s <= 0:
            return False
        self._slots[slot] = kept
        return True

    def place(self, free: Iterable[int], salt: bytes, tokens: Sequence[int], now: float) -> Place:
        """The slot that a run takes, one of `free`, and how much of `tokens` it need not read.

        Nothing is kept there any more. One token at least is left to be read: the answer begins with what follows it.
        """
        slots = sorted(free)
        shared = {slot: self._shared(slot, salt, tokens, now) for slot in slots}
        # A beginning that is shorter than what would be lost for it is worth less than a slot that holds nothing.
        worth = [s for s in slots if shared[s] and 2 * shared[s] >= len(self._slots[s].tokens)]
        # The lowest: llama.cpp decodes neighbouring sequences in one go.
        bare = [slot for slot in slots if slot not in self._slots]
        if worth:
            slot = max(worth, key=lambda s: (shared[s], self._slots[s].ended_s))
        elif bare:
            slot = bare[0]
        else:
            slot = min(slots, key=lambda s: self._slots[s].ended_s)
        self._slots.pop(slot, None)
        return Place(slot, shared[slot])

    def cells(self, slot: int) -> int:
        """How many tokens are kept there."""
        return len(self._slots[slot].tokens) if slot in self._slots else 0

    def take_old(self, now: float) -> list[int]:
        """Slots whose cells are to be dropped by now; nothing is kept there any more."""
        old = [slot for slot in self._slots if self._is_old(slot, now)]
        for slot in old:
            del self._slots[slot]
        return old

    def next_old_s(self, now: float) -> float | None:
        """Seconds until something is to be dropped; None: nothing is kept."""
        if not self._slots:
            return None
        return max(0.0, min(kept.ended_s for kept in self._slots.values()) + self._kept_s - now)

    def runs(self, now: float) -> list[str]:
        """Those whose whole prompt is kept, the newest first."""
        told = [k for s, k in self._slots.items() if k.has_prompt and not self._is_old(s, now)]
        told.sort(key=lambda kept: kept.ended_s, reverse=True)
        return [kept.run_id for kept in told[:RUNS_TOLD_MAX]]

    def _is_old(self, slot: int, now: float) -> bool:
        return now - self._slots[slot].ended_s >= self._kept_s

    def _shared(self, slot: int, salt: bytes, tokens: Sequence[int], now: float) -> int:
        kept = self._slots.get(slot)
        if kept is None or not salt or kept.salt != salt or self._is_old(slot, now):
            return 0
        most = min(len(kept.tokens), len(tokens) - 1)
        return next((n for n in range(most) if kept.tokens[n] != tokens[n]), max(most, 0))
