"""How things look on a terminal, and plainly where there is none; and what a command's exit status says."""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, TextIO

from archipelag import Client

FAILED: Final = 1
WRONG_USAGE: Final = 2
UNREACHABLE: Final = 3
NOT_ALLOWED: Final = 4
NO_CREDITS: Final = 5
JOB_FAILED: Final = 6
TRY_LATER: Final = 7
INTERRUPTED: Final = 130

ClientOf = Callable[[str | None, str | None], Client]


def styled(text: str, code: str, stream: TextIO | None = None) -> str:
    """`text` in a terminal's style; as it is where colour is not wanted or not understood."""
    target = stream or sys.stdout
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not target.isatty()
    return text if plain else f"\033[{code}m{text}\033[0m"


def bold(text: str) -> str:
    return styled(text, "1")


def dim(text: str) -> str:
    return styled(text, "2")


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Columns as wide as their widest cell; only the values when nobody watches."""
    if not rows:
        print(empty, file=sys.stderr)
        return
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    print(bold(_line(titles, widths)))
    for row in cells:
        print(_line(row, widths))


def facts(rows: Mapping[str, str]) -> None:
    """Names and values, one a line."""
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{dim(name.ljust(width))}  {clean(value)}")


def as_json(value: Any) -> None:
    print(json.dumps(value, default=plain, ensure_ascii=False, indent=2))


def done(arguments: argparse.Namespace, told: str, **fields: object) -> None:
    """What a command has done that gives nothing back."""
    if arguments.format == "json":
        as_json(fields)
    else:
        print(clean(told))


def as_json_line(value: Any) -> None:
    """For programs that read one thing after another."""
    print(json.dumps(value, default=plain, ensure_ascii=False), flush=True)


def clean(text: str) -> str:
    """Without control characters: what others wrote must not steer this terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else "�" for c in text)


def short(text: str, characters: int) -> str:
    """At most so many of them, with a sign where more was said."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def moment(when: datetime | None) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S") if when else "–"


def credits_text(amount: Decimal | None) -> str:
    if amount is None:
        return "not known"
    # normalize() writes 100 as 1E+2; the format gives it back as people write it.
    return f"{amount.normalize():f} credits"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def plain(value: Any) -> Any:
    """What JSON does not know, as it does."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value) if f.name != "raw"}
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    raise TypeError(f"not JSON: {type(value).__name__}")


def to_the_end(command: Callable[[], int]) -> int:
    """Runs a command whose output somebody may stop reading (`head`, a pager): that is no failure of ours."""
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain of what is left once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
