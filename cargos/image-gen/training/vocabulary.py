"""The small model's tokenizer: CLIP's own kind, with a vocabulary in which every word of the captions is one token."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
TOKENS_MAX = 20
ROUNDS_MAX = 1_000

Merge = tuple[str, str]


def write(folder: Path, words: list[str]) -> dict[str, int]:
    """Writes `vocab.json` and `merges.txt`, which `transformers` loads, and returns the vocabulary."""
    merges = _merges(words)
    characters = [chr(i) for i in range(ord("a"), ord("z") + 1)] + list("0123456789.,-")
    tokens = characters + [c + END_OF_WORD for c in characters]
    tokens += [joined for a, b in merges if (joined := a + b) not in tokens]
    vocabulary = {token: i for i, token in enumerate([*dict.fromkeys(tokens), START, END])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    return vocabulary


def _merges(words: list[str]) -> list[Merge]:
    """Merges in an order in which no word is broken by an earlier one's: "ring" would take the "ri" of "triangle"."""
    order = list(words)
    for _ in range(ROUNDS_MAX):
        merges = list(dict.fromkeys(merge for word in order for merge in _chain(word)))
        broken = next((word for word in order if len(_pieces(word, merges)) > 1), None)
        if broken is None:
            return merges
        order.remove(broken)
        order.insert(0, broken)
    raise ValueError("these words cannot all be single tokens: change one")


def _letters(word: str) -> list[str]:
    return [*word[:-1], word[-1] + END_OF_WORD]


def _chain(word: str) -> list[Merge]:
    letters = _letters(word)
    return [("".join(letters[:i]), letters[i]) for i in range(1, len(letters))]


def _pieces(word: str, merges: list[Merge]) -> list[str]:
    """What byte-pair encoding makes of the word."""
    rank = {merge: i for i, merge in enumerate(merges)}
    pieces = _letters(word)
    while pairs := [pair for pair in pairwise(pieces) if pair in rank]:
        a, b = min(pairs, key=lambda pair: rank[pair])
        joined: list[str] = []
        while pieces:
            take = 2 if pieces[:2] == [a, b] else 1
            joined.append("".join(pieces[:take]))
            pieces = pieces[take:]
        pieces = joined
    return pieces
