"""The items of an answer: what each says, the state that another Island goes on from, where each ends in the whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Items:
    """Consecutive items from position `first` on. As many tokens as texts; 0 where the Cargo has none."""

    first: int = 0
    texts: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.texts) == len(self.tokens)

    @property
    def next(self) -> int:
        """One past the last position."""
        return self.first + len(self.texts)


def joined(pieces: Iterable[Items]) -> Items:
    """What follows from position 0 without a gap; what is there twice counts once."""
    texts: list[str] = []
    tokens: list[int] = []
    for piece in sorted(pieces, key=lambda one: (one.first, -one.next)):
        if piece.first > len(texts):
            break
        skip = len(texts) - piece.first
        texts += piece.texts[skip:]
        tokens += piece.tokens[skip:]
    return Items(0, tuple(texts), tuple(tokens))


def cuts_of(texts: Sequence[str]) -> bytes:
    """Where each item ends in the joined text: its length in bytes of UTF-8, as LEB128 (low bits first)."""
    lengths = [len(text.encode("utf-8", "replace")) for text in texts]
    if not lengths or max(lengths) < 0x80:
        return bytes(lengths)
    cuts = bytearray()
    for length in lengths:
        while length >= 0x80:
            cuts.append(length & 0x7F | 0x80)
            length >>= 7
        cuts.append(length)
    return bytes(cuts)


def cut(output: str, cuts: bytes) -> list[str]:
    """The texts that were joined. What the cuts leave over belongs to the last one."""
    data = output.encode("utf-8", "replace")
    texts: list[str] = []
    at = length = shift = 0
    for byte in cuts:
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            texts.append(data[at : at + length].decode("utf-8", "replace"))
            at += length
            length = shift = 0
    if at < len(data):
        rest = data[at:].decode("utf-8", "replace")
        if texts:
            texts[-1] += rest
        else:
            texts.append(rest)
    return texts
