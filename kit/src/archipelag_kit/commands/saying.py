"""How the commands speak: a table or facts for people, JSON for programs, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def line(text: str = "") -> None:
    print(clean(text))


def note(text: str) -> None:
    """On standard error: what a person wants to see and a program does not."""
    print(clean(text), file=sys.stderr, flush=True)


def facts(rows: Mapping[str, str]) -> None:
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        print(f"{name.ljust(width)}  {clean(value)}")


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    for row in [list(titles), *cells]:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


def as_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def size(count: int) -> str:
    """Bytes as people read them."""
    number, units = float(count), ["B", "kB", "MB", "GB"]
    while number >= 1000 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.0f} {units[0]}" if units[0] == "B" else f"{number:.1f} {units[0]}"


def clean(text: str) -> str:
    """Without control characters: what others wrote must not steer this terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else "�" for c in text)


class Steps:
    """Progress of long work: one line rewritten on a terminal, one line a step elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._live = sys.stderr.isatty() and not quiet
        self._quiet = quiet
        self._open = False

    def step(self, text: str) -> None:
        if self._quiet:
            return
        if self._live:
            print(f"\r\033[K{clean(text)}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            print(clean(text), file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._open:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._open = False
