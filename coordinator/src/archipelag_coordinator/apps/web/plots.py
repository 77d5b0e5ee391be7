"""Small plots as SVG, drawn on the server: bars by day, and how full something is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 160
FOOT: Final = 22
"""Room for the days below the bars."""
HEAD: Final = 14
GAP: Final = 0.28
"""Of a bar's room, left free."""


@dataclass(frozen=True)
class Bar:
    """One column, in the plot's own units; `label` says it in words."""

    x: float
    y: float
    width: float
    height: float
    label: str
    value: float
    text: str


@dataclass(frozen=True)
class Tick:
    x: float
    text: str


@dataclass(frozen=True)
class Plot:
    """What the template draws. `top` is the highest value, `empty` where all are zero."""

    width: int
    height: int
    floor: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    top: str
    empty: bool


@dataclass(frozen=True)
class Point:
    """A value and how it reads."""

    label: str
    value: float
    text: str


def bars(points: Sequence[Point], ticks_max: int = 6) -> Plot:
    """Columns from the left; the highest fills the height."""
    floor = float(HEIGHT - FOOT)
    room = WIDTH / max(1, len(points))
    highest = max(points, key=lambda one: one.value, default=None)
    top = highest.value if highest else 0.0
    drawn = tuple(_bar(number, point, room, floor, top) for number, point in enumerate(points))
    step = max(1, -(-len(points) // ticks_max))
    ticks = tuple(
        Tick(round((number + 0.5) * room, 1), points[number].label)
        for number in range(0, len(points), step)
    )
    said = highest.text if highest and top > 0 else ""
    return Plot(WIDTH, HEIGHT, floor, drawn, ticks, said, top <= 0)


def _bar(number: int, point: Point, room: float, floor: float, top: float) -> Bar:
    share = max(0.0, point.value) / top if top > 0 else 0.0
    height = round(share * (floor - HEAD), 1)
    if share > 0 and height < 2:
        height = 2.0  # Little is not nothing.
    return Bar(
        x=round((number + GAP / 2) * room, 2),
        y=round(floor - height, 1),
        width=round(room * (1 - GAP), 2),
        height=height,
        label=point.label,
        value=point.value,
        text=point.text,
    )


def days(first: date, last: date) -> list[date]:
    """Each day from the first to the last."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
