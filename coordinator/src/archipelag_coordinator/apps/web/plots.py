"""Small plots as SVG, drawn on the server: bars by day and by minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from archipelag_coordinator.apps.web.words import credits_text
from archipelag_coordinator.domain.essentials import Essential, Shows
from archipelag_coordinator.domain.history import Minute
from archipelag_coordinator.domain.sums import Days

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
    """What the template draws. `top` is the highest value; `empty` where all are zero, which `nothing` then says."""

    width: int
    height: int
    floor: float
    bars: tuple[Bar, ...]
    rows: tuple[Bar, ...]
    """Those of the table behind it."""
    ticks: tuple[Tick, ...]
    top: str
    empty: bool
    nothing: str = "Nothing yet in this time."


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
    rows = tuple(bar for bar in drawn if bar.value)
    return Plot(WIDTH, HEIGHT, floor, drawn, rows, ticks, said, top <= 0)


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


def by_day(amounts: Mapping[str, int], days: Days) -> Plot:
    """Micro-credits of each day, under its ISO date; a day without any is shown as none."""
    count = (days.last - days.first).days + 1
    shown = [days.first + timedelta(days=number) for number in range(count)]
    return bars(
        [
            Point(f"{day:%d %b}", value, credits_text(value))
            for day in shown
            for value in [amounts.get(day.isoformat(), 0)]
        ]
    )


def by_minute(minutes: Sequence[Minute], essential: Essential) -> Plot:
    """What an essential figure was in each minute; in the table, what it was not, too."""
    values = [one.value(essential) for one in minutes]
    unread = "not measured" if essential.shows is Shows.MEAN else "not read"
    drawn = bars(
        [
            Point(
                f"{one.began_at:%H:%M}",
                value or 0.0,
                unread if value is None else f"{value:,.{essential.places}f}",
            )
            for one, value in zip(minutes, values, strict=True)
        ]
    )
    nothing = f"0 {essential.unit}, the whole time."
    if None in values:
        nothing = f"0 {essential.unit} wherever it was {unread.removeprefix('not ')}."
    if not any(value is not None for value in values):
        nothing = f"{unread.capitalize()} in this time."
    return replace(drawn, rows=drawn.bars, nothing=nothing)


def days_back(last: date, count: int) -> date:
    """The first of so many days up to the last."""
    return last - timedelta(days=count - 1)
