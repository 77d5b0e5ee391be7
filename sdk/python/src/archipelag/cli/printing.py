"""How things look on a terminal, and plainly where there is none."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TextIO


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
    print(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def clean(text: str) -> str:
    """Without control characters: what others wrote must not steer this terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else "�" for c in text)


def moment(when: datetime | None) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S") if when else "–"


def credits_text(amount: Decimal | None) -> str:
    if amount is None:
        return "not known"
    # normalize() writes 100 as 1E+2; the format gives it back as people write it.
    return f"{amount.normalize():f} credits"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {name: part for name, part in asdict(value).items() if name != "raw"}
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"not JSON: {type(value).__name__}")
