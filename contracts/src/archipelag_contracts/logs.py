"""One shape of a log line for every part: text for people, or one JSON object a line for programs."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, TextIO

TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
VALUE_MAX: Final = 2_000
_PLACE: Final = re.compile(r"(?:(\w+)=)?%(?:%|[-+ #0]*[\d.]*[sdrfgix])")
_IDS: Final = {"job": "job_id", "island": "island_id", "trace": "trace_id"}
"""What events call it → what every part's lines call it."""


def set_up(
    level: int | str,
    log_format: str,
    stream: TextIO | None = None,
    trace_id: Callable[[], str] = lambda: "",
) -> None:
    """Of the whole process. `log_format` is `text` or `json`; `trace_id` tells what is being followed now, or empty."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(trace_id) if log_format == "json" else TextLines())
    logging.basicConfig(level=level, handlers=[handler])


class TextLines(logging.Formatter):
    """What an event says is one line of printable characters, whatever came from outside and is told in it: nobody
    writes a line of their own, or steers the terminal of whoever reads."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line = super().formatMessage(record)
        if line.isprintable():
            return line
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


class JsonLines(logging.Formatter):
    """`time`, `level`, `logger`, `event`, `message`, the ids that an event names, and its other values in `fields`.

    Values are taken by the event's own `name=%s` and never looked for in what came from outside: nobody can make a
    line say another job's id by the text of an error.
    """

    def __init__(self, trace_id: Callable[[], str] = lambda: "") -> None:
        super().__init__()
        self._trace_id = trace_id

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "event": _event(record),
            "message": record.getMessage(),
        }
        if trace_id := self._trace_id():
            line["trace_id"] = trace_id
        fields = {}
        for name, value in _values(record):
            told = value if isinstance(value, int | float) else str(value)[:VALUE_MAX]
            if name in _IDS:
                line[_IDS[name]] = told
            else:
                fields[name] = told
        if fields:
            line["fields"] = fields
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str)


def _event(record: logging.LogRecord) -> str:
    return str(record.msg).split(maxsplit=1)[0] if str(record.msg).strip() else ""


def _values(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    arguments = record.args
    if not isinstance(arguments, tuple) or not isinstance(record.msg, str):
        return
    places = [one for one in _PLACE.finditer(record.msg) if not one.group().endswith("%%")]
    for place, value in zip(places, arguments, strict=False):
        if place.group(1):
            yield place.group(1), value
