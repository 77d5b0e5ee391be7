"""Server-sent events out of bytes, in whatever pieces the network delivers them."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from archipelag.errors import BadAnswerError

EVENT_BYTES_MAX: Final = 32 << 20  # an image travels in one event


@dataclass(frozen=True)
class Event:
    """One event. `id` is the last id seen so far, as the standard wants it."""

    data: str
    event: str = "message"
    id: str = ""


class Parser:
    """Collects bytes into events (WHATWG HTML, "Server-sent events"). Lines end in LF, CR or CRLF."""

    def __init__(self) -> None:
        self.last_id = ""
        # The BOM at the very start is dropped by this codec; a later one is data.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._pending: list[str] = []  # the parts of a line that has not ended
        self._after_cr = False
        self._data: list[str] = []
        self._event = ""
        self._size = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes. An event without its empty line is never delivered."""
        text = self._decoder.decode(data)
        if self._after_cr and text:
            # A CR has ended a line already; an LF right after it belongs to it.
            text = text.removeprefix("\n")
            self._after_cr = False
        if not text:
            return
        self._after_cr = text.endswith("\r")
        self._size += len(text)
        if self._size > EVENT_BYTES_MAX:
            raise BadAnswerError(f"one event is larger than {EVENT_BYTES_MAX} characters")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._pending.append(lines[0])
        for following in lines[1:]:
            line, self._pending = "".join(self._pending), [following]
            event = self._line(line)
            if event is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self.last_id = value
            case _:  # a comment (no name), `retry`, or a field of the future
                pass
        return None

    def _dispatch(self) -> Event | None:
        data, event = self._data, self._event
        self._data, self._event, self._size = [], "", 0
        return Event("\n".join(data), event or "message", self.last_id) if data else None
