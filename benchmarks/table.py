"""Helper of the benchmarks: figures as a table, aligned, in Markdown, or beside those of an earlier run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from textwrap import fill
from typing import Final

from figures import Beside, Figure

HEAD: Final = ("", "ours", "unit", "peer", "× peer", "limit", "× limit")
HEAD_AGAINST: Final = ("", "before", "now", "unit", "now ÷ before", "")
SAME: Final = 0.05
"""What two runs of the same code may differ by without a word."""
WIDTH: Final = 110
NONE: Final = "–"


def text(figures: Sequence[Figure]) -> str:
    """A table for each path and way to measure, which stands above it."""
    parts = []
    for path, groups in by_path(figures):
        parts.append(path)
        for how, rows in groups:
            told = fill(how, WIDTH, initial_indent="  ", subsequent_indent="  ")
            parts.append(f"{told}\n{aligned([HEAD, *map(cells, rows)])}\n")
    return "\n".join(parts).rstrip()


def markdown(figures: Sequence[Figure]) -> str:
    parts = []
    for path, groups in by_path(figures):
        parts.append(f"## {path[:1].upper()}{path[1:]}")
        for how, rows in groups:
            parts += [how, ruled([HEAD, *map(cells, rows)])]
    return "\n\n".join(parts)


def against(before: Sequence[Figure], now: Sequence[Figure]) -> str:
    """Each of now's figures beside the earlier one of its name; what only one of them has is said."""
    old = {(one.path, one.what): one for one in before}
    rows = [HEAD_AGAINST]
    for figure in now:
        name = f"{figure.path}: {figure.what}"
        earlier = old.pop((figure.path, figure.what), None)
        if earlier is None:
            rows.append((name, NONE, number(figure.ours), figure.unit, NONE, "new"))
            continue
        ratio = figure.ours / earlier.ours if earlier.ours else math.nan
        shown = number(earlier.ours), number(figure.ours), figure.unit, number(ratio)
        rows.append((name, *shown, judged(ratio, figure.more_is_better)))
    for (path, what), gone in old.items():
        rows.append(
            (f"{path}: {what}", number(gone.ours), NONE, gone.unit, NONE, "not measured now")
        )
    return aligned(rows)


def judged(ratio: float, more_is_better: bool) -> str:
    if not math.isfinite(ratio) or ratio <= 0 or abs(ratio - 1) <= SAME:
        return ""
    return "better" if (ratio > 1) == more_is_better else "worse"


def by_path(figures: Sequence[Figure]) -> list[tuple[str, list[tuple[str, list[Figure]]]]]:
    """Path → how it was measured → the rows, in the order in which they came."""
    return [
        (path, [(how, list(rows)) for how, rows in groupby(ones, key=lambda one: one.how)])
        for path, ones in groupby(figures, key=lambda one: one.path)
    ]


def cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.what,
        number(figure.ours),
        figure.unit,
        beside(figure.peer),
        number(figure.times_peer),
        beside(figure.limit),
        number(figure.times_limit),
    )


def beside(one: Beside | None) -> str:
    return NONE if one is None else f"{number(one.value)} {one.name}"


def number(value: float) -> str:
    """Three digits that count, or all of a large whole number."""
    if not math.isfinite(value):
        return NONE
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *others = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"  {first}  {'  '.join(others)}".rstrip())
    return "\n".join(lines)


def ruled(rows: Sequence[Sequence[str]]) -> str:
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *others])
