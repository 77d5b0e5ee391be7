"""From tokens to texts: an answer's items, with whole characters only and never a part of a stop sequence.

One item is one token. Its text may be empty, where a character is not complete yet. An item is held back as long as
its text could be the beginning of a stop sequence. Both follow from the tokens alone, so that feeding the tokens of
an interrupted answer rebuilds the very state it had.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Of an answer's text only the tail matters; it is cut to this when it has doubled.
_TAIL_CHARACTERS: Final = 4096


@dataclass(frozen=True)
class Item:
    token: int
    text: str


@dataclass(frozen=True)
class _Held:
    """A token whose text stands in `[start, end)` of the answer."""

    token: int
    start: int
    end: int


class AnswerText:
    """The state of one answer. `add` gives the items that are certain by now; `finish` the rest."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._stop_max = max((len(stop) for stop in stops), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._text = ""
        self._dropped = 0  # Characters cut off the front of `_text`.
        self._held: list[_Held] = []
        self.stopped = False

    def add(self, token: int, piece: bytes) -> list[Item]:
        """One more token. After a stop sequence `stopped` holds, and the items are the last ones."""
        assert not self.stopped
        start = self._dropped + len(self._text)
        self._text += self._decoder.decode(piece)
        end = self._dropped + len(self._text)
        self._held.append(_Held(token, start, end))
        found = self._first_stop(start, end)
        if found is not None:
            self.stopped = True
            return self._release(len(self._held), cut=found)
        certain = end - self._longest_beginning()
        ready = 0
        while ready < len(self._held) and self._held[ready].end <= certain:
            ready += 1
        return self._release(ready, cut=end)

    def finish(self) -> list[Item]:
        """What was held back, when no stop sequence came. An incomplete character is left out."""
        return self._release(len(self._held), cut=self._dropped + len(self._text))

    def _first_stop(self, start: int, end: int) -> int | None:
        """Where the earliest stop sequence begins that the newest text completes."""
        if start == end:
            return None
        since = max(0, start - self._dropped - self._stop_max + 1)
        places = [place for stop in self._stops if (place := self._text.find(stop, since)) >= 0]
        return self._dropped + min(places) if places else None

    def _longest_beginning(self) -> int:
        """How many of the last characters could be the beginning of a stop sequence."""
        for size in range(min(self._stop_max - 1, len(self._text)), 0, -1):
            tail = self._text[-size:]
            if any(len(stop) > size and stop.startswith(tail) for stop in self._stops):
                return size
        return 0

    def _release(self, count: int, *, cut: int) -> list[Item]:
        items = [
            Item(
                held.token,
                self._text[
                    held.start - self._dropped : max(held.start, min(held.end, cut)) - self._dropped
                ],
            )
            for held in self._held[:count]
        ]
        del self._held[:count]
        if not self._held and len(self._text) > 2 * _TAIL_CHARACTERS:
            excess = len(self._text) - _TAIL_CHARACTERS
            self._text = self._text[excess:]
            self._dropped += excess
        return items
