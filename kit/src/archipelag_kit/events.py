"""What a run tells the Island, as values: the same for the real service and for tests without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ITEM_BYTES_MAX: Final = 32 * 1024
"""A longer text is cut into several items, between two characters."""
FILE_PART_BYTES: Final = 256 * 1024
PREVIEW_BYTES_MAX: Final = 64 * 1024
NOTE_CHARACTERS_MAX: Final = 200
ERROR_CHARACTERS_MAX: Final = 500


@dataclass(frozen=True)
class Items:
    """Consecutive items; `first` is the position of `texts[0]` in the job's whole answer."""

    first: int
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    step: int
    total: int
    note: str = ""
    preview: bytes = b""
    preview_type: str = ""


@dataclass(frozen=True)
class FilePart:
    """A piece of an output file, in order; the last one carries the SHA-256 of the whole."""

    name: str
    media_type: str
    data: bytes
    last: bool = False
    sha256: bytes = b""


@dataclass(frozen=True)
class PromptTokens:
    """Work units read, as far as is known now."""

    count: int
    cached: int = 0
    """So many of them did not have to be read again."""


@dataclass(frozen=True)
class Refused:
    """The customer's mistake, in a sentence."""

    why: str


@dataclass(frozen=True)
class End:
    """`finish_reason` is "stop" or "length"; an `error` says that the run failed."""

    finish_reason: str = ""
    error: str = ""
    output_items: int = 0
    prompt_tokens: int = 0
    wall_ms: int = 0


Event = Items | Progress | FilePart | PromptTokens | Refused | End


def pieces(text: str, bytes_max: int = ITEM_BYTES_MAX) -> list[str]:
    """The text as items of at most `bytes_max` bytes of UTF-8. Raises UnicodeEncodeError for half a character."""
    data = text.encode()
    if len(data) <= bytes_max:
        return [text]
    found, begin = [], 0
    while begin < len(data):
        end = min(begin + bytes_max, len(data))
        # A byte 10xxxxxx continues a character: never begin an item with one.
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        found.append(data[begin:end].decode())
        begin = end
    return found
