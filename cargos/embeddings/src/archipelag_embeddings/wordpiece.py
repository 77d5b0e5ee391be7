"""BERT's uncased tokenizer: words cut into the longest pieces that the vocabulary has."""

from __future__ import annotations

import functools
import gzip
import importlib.resources
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

UNKNOWN, START, END = "[UNK]", "[CLS]", "[SEP]"
_WORD_CHARACTERS_MAX: Final = 100
_CONTROL: Final = ("Cc", "Cf", "Co", "Cs")
# Blocks of ideographs, each of which is a word of its own.
_IDEOGRAPHS: Final = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self._vocabulary = vocabulary
        self._unknown = vocabulary[UNKNOWN]
        self._longest = max(map(len, vocabulary))
        self._pieces = functools.lru_cache(maxsize=20_000)(self._cut)

    def ids(self, text: str, tokens_max: int) -> list[int]:
        """With the marks for start and end; what is beyond `tokens_max` is left out."""
        room = tokens_max - 2
        found: list[int] = []
        for word in _words(text):
            found += self._pieces(word)
            if len(found) >= room:
                break
        return [self._vocabulary[START], *found[:room], self._vocabulary[END]]

    def _cut(self, word: str) -> tuple[int, ...]:
        if len(word) > _WORD_CHARACTERS_MAX:
            return (self._unknown,)
        pieces, begin = [], 0
        while begin < len(word):
            prefix = "##" if begin else ""
            end = min(len(word), begin + self._longest)
            while (piece := self._vocabulary.get(prefix + word[begin:end])) is None:
                end -= 1
                if end == begin:
                    return (self._unknown,)
            pieces.append(piece)
            begin = end
        return tuple(pieces)


@functools.cache
def bundled() -> WordPiece:
    """The vocabulary of the model whose weights the manifest names: part of its format, so it comes with the code."""
    packed = importlib.resources.files(__package__).joinpath("vocabulary.txt.gz").read_bytes()
    words = gzip.decompress(packed).decode().splitlines()
    return WordPiece({word: i for i, word in enumerate(words)})


def _words(text: str) -> Iterator[str]:
    """Lower case, without accents; punctuation and ideographs stand alone."""
    for word in _spaced(text).split():
        bare = unicodedata.normalize("NFD", word)
        bare = "".join(c for c in bare if unicodedata.category(c) != "Mn").lower()
        begin = 0
        for i, character in enumerate(bare):
            if _is_punctuation(character):
                if begin < i:
                    yield bare[begin:i]
                yield character
                begin = i + 1
        if begin < len(bare):
            yield bare[begin:]


def _spaced(text: str) -> str:
    """Without control characters, and with a space on each side of an ideograph."""
    parts = []
    for character in text:
        code = ord(character)
        if character in "\t\n\r" or unicodedata.category(character) == "Zs":
            parts.append(" ")
        elif code == 0xFFFD or unicodedata.category(character) in _CONTROL:
            continue
        elif code >= 0x3400 and any(low <= code <= high for low, high in _IDEOGRAPHS):
            parts.append(f" {character} ")
        else:
            parts.append(character)
    return "".join(parts)


def _is_punctuation(character: str) -> bool:
    code = ord(character)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(character).startswith("P")
