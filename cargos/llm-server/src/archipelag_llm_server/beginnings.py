"""Who may begin from whose prompt: what a request tells the server, so that nothing is used for another customer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

KEPT_S: Final = 600.0
"""What was computed for an earlier prompt is used again within this time."""
RUNS_TOLD_MAX: Final = 16


class Beginnings(Protocol):
    """Of one server, for all of its runs. An Island asks for no more of them at once than there are slots."""

    def run(
        self, salt: bytes, messages: Sequence[Any], run_id: str = ""
    ) -> AbstractContextManager[Mapping[str, Any]]:
        """What is added to a run's request; leave it when the run has ended."""
        ...

    def kept_runs(self) -> list[str]:
        """Ended runs whose prompt the server may still have, the newest first."""
        ...


class NoBeginnings:
    """For a llama.cpp that others ask too: nothing is used again, since whose it was is not known."""

    @contextmanager
    def run(
        self, salt: bytes, messages: Sequence[Any], run_id: str = ""
    ) -> Iterator[Mapping[str, Any]]:
        del salt, messages, run_id
        yield {"cache_prompt": False}

    def kept_runs(self) -> list[str]:
        return []


class SaltedBeginnings:
    """vLLM hashes a salt into the names of its blocks. Who has none gets one that nobody will have again."""

    @contextmanager
    def run(
        self, salt: bytes, messages: Sequence[Any], run_id: str = ""
    ) -> Iterator[Mapping[str, Any]]:
        del messages, run_id
        # Of different lengths, so that neither can be taken for the other.
        yield {"cache_salt": f"s{salt.hex()}" if salt else f"once-{secrets.token_hex(32)}"}

    def kept_runs(self) -> list[str]:
        """It does not say what it has thrown out."""
        return []


@dataclass
class _Slot:
    """What llama.cpp's slot of this number holds, as far as that is certain."""

    salt: bytes = b""
    """Empty: nobody's, or not known."""
    messages: tuple[Any, ...] = ()
    run_id: str = ""
    ended_s: float = 0.0
    taken: bool = False


class SlotBeginnings:
    """llama.cpp's slots, each of which goes on from its own last prompt, or begins anew when it is told to.

    The server itself would take any slot whose prompt is alike, whoever asked it: so each request names its slot.
    """

    def __init__(
        self, slots: int, now: Callable[[], float] = time.monotonic, kept_s: float = KEPT_S
    ) -> None:
        self._slots = [_Slot() for _ in range(slots)]
        self._now = now
        self._kept_s = kept_s

    @contextmanager
    def run(
        self, salt: bytes, messages: Sequence[Any], run_id: str = ""
    ) -> Iterator[Mapping[str, Any]]:
        free = [n for n, slot in enumerate(self._slots) if not slot.taken]
        assert free, (
            "no more runs at once than slots: in a place of the server's choice it would leave what it read"
        )
        alike = {n: self._alike(self._slots[n], salt, messages) for n in free}
        number = max(free, key=lambda n: (self._worth(n, alike[n]), -self._slots[n].ended_s))
        slot = self._slots[number]
        slot.taken, slot.salt = True, b""
        try:
            yield {"id_slot": number, "cache_prompt": alike[number] > 0}
            # Else it may not have begun at all, and somebody else's prompt is still there.
            slot.salt, slot.messages, slot.run_id = salt, tuple(messages), run_id
        finally:
            slot.taken, slot.ended_s = False, self._now()

    def kept_runs(self) -> list[str]:
        kept = [slot for slot in self._slots if slot.salt and not self._is_old(slot)]
        kept.sort(key=lambda slot: slot.ended_s, reverse=True)
        return [slot.run_id for slot in kept[:RUNS_TOLD_MAX]]

    def _alike(self, slot: _Slot, salt: bytes, messages: Sequence[Any]) -> int:
        """With how many messages both begin; none of them under another salt, or when it is too long ago."""
        if not salt or slot.salt != salt or self._is_old(slot):
            return 0
        pairs = zip(slot.messages, messages, strict=False)
        most = min(len(slot.messages), len(messages))
        return next((n for n, (old, new) in enumerate(pairs) if old != new), most)

    def _worth(self, number: int, alike: int) -> int:
        """A common greeting is not worth the conversation that would be lost for it."""
        return alike if 2 * alike >= len(self._slots[number].messages) else 0

    def _is_old(self, slot: _Slot) -> bool:
        return self._now() - slot.ended_s >= self._kept_s
