"""Reads what a module writes to its standard output: JSON lines, each one event, within bounds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

LINE_BYTES_MAX: Final = 256 << 10
TEXT_BYTES_MAX: Final = 32 << 10
NOTE_MAX: Final = 200
ERROR_MAX: Final = 1_000
COUNT_MAX: Final = 2**31 - 1


class BrokenProtocol(Exception):
    """What the module wrote is no event, or too much; the text is for the customer."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    step: int
    total: int
    note: str


@dataclass(frozen=True, slots=True)
class PromptTokens:
    count: int


@dataclass(frozen=True, slots=True)
class End:
    finish_reason: str = ""
    error: str = ""
    bad_input: str = ""
    """Set: the customer's mistake."""


Event = Text | Note | PromptTokens | End


class Lines:
    """One run's. `bytes_max` is of everything that it writes."""

    def __init__(self, bytes_max: int) -> None:
        self._left = bytes_max
        self._bytes_max = bytes_max
        self._rest = bytearray()
        self._number = 0
        self._ended = False

    def read(self, data: bytes) -> list[Event]:
        """The events of every line that is whole now. Raises BrokenProtocol."""
        self._left -= len(data)
        if self._left < 0:
            raise BrokenProtocol(f"it wrote more than {self._bytes_max} bytes")
        self._rest += data
        *whole, rest = self._rest.split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            raise BrokenProtocol(
                f"line {self._number + len(whole) + 1} is longer than {LINE_BYTES_MAX} bytes"
            )
        self._rest = rest
        return [event for line in whole if (event := self._event(bytes(line))) is not None]

    def finish(self) -> list[Event]:
        """What stands after the last line's end. Raises BrokenProtocol."""
        return self.read(b"\n") if self._rest else []

    def _event(self, line: bytes) -> Event | None:
        self._number += 1
        if len(line) > LINE_BYTES_MAX:
            raise BrokenProtocol(f"line {self._number} is longer than {LINE_BYTES_MAX} bytes")
        if not line.strip():
            return None
        if self._ended:
            raise BrokenProtocol(f"line {self._number} comes after the end")
        try:
            raw = json.loads(line.decode())
        except UnicodeDecodeError:
            raise BrokenProtocol(f"line {self._number} is not UTF-8") from None
        except (ValueError, RecursionError):
            raise BrokenProtocol(f"line {self._number} is not JSON") from None
        if not isinstance(raw, dict):
            raise BrokenProtocol(f"line {self._number} is not a JSON object")
        try:
            event = _read(raw)
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenProtocol(f"line {self._number} is no event: {error}") from None
        self._ended = isinstance(event, End)
        return event


def _read(raw: dict[str, Any]) -> Event:
    """Raises KeyError, TypeError, ValueError."""
    match raw:
        case {"text": text}:
            said = _text(text, "text")
            if len(said.encode()) > TEXT_BYTES_MAX:
                raise ValueError(f"text is longer than {TEXT_BYTES_MAX} bytes")
            return Text(said)
        case {"progress": {"step": step, "total": total, **rest}}:
            note = _text(rest.get("note", ""), "note")[:NOTE_MAX]
            return Note(_count(step, "step"), _count(total, "total"), note)
        case {"prompt_tokens": count}:
            return PromptTokens(_count(count, "prompt_tokens"))
        case {"bad_input": why}:
            return End(bad_input=_text(why, "bad_input")[:ERROR_MAX] or "not acceptable")
        case {"end": {"error": why}}:
            return End(error=_text(why, "error")[:ERROR_MAX] or "it failed without saying why")
        case {"end": {"finish_reason": reason}}:
            return End(_text(reason, "finish_reason")[:32] or "stop")
    raise ValueError("give text, progress, prompt_tokens, bad_input or end")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text")
    # Half of a pair is no character: it could not be sent on.
    value.encode()
    return value


def _count(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= COUNT_MAX:
        raise ValueError(f"{name} must be a whole number from 0 to {COUNT_MAX}")
    return value
