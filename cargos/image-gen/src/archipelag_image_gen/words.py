"""The small model's prompts: whole words of a short list. What it has never seen is left out and said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+")
_UNKNOWN_MAX: Final = 16


@dataclass(frozen=True)
class Vocabulary:
    ids: Mapping[str, int]
    start: int
    end: int
    tokens_max: int

    def read(self, prompt: str) -> tuple[list[int], tuple[str, ...]]:
        """Token ids, filled up to `tokens_max`, and the words that were left out."""
        known: list[int] = []
        unknown: dict[str, None] = {}
        for word in _WORD.findall(prompt.lower()):
            found = self.ids.get(word)
            if found is None or len(known) == self.tokens_max - 2:
                unknown[word[:40]] = None
            else:
                known.append(found)
        filled = [self.start, *known, *[self.end] * (self.tokens_max - 1 - len(known))]
        return filled, tuple(unknown)[:_UNKNOWN_MAX]
