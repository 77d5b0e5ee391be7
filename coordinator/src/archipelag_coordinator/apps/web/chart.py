"""The archipelago as a picture: every Island as an island, near its region's others, drawn from its id.

The same Island has the same shore each time; what changes is its colour, its load and whether it is there at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from archipelag_contracts.ids import UserId

from archipelag_coordinator.domain.island import Island, IslandStatus

WIDTH: Final = 1000
DRAWN_MAX: Final = 160
"""More are counted in words: a picture of thousands says nothing."""
NOWHERE: Final = "no region"
GOLDEN: Final = math.pi * (3 - math.sqrt(5))
SHORE_POINTS: Final = 26
WAVES: Final = (1, 2, 3, 4, 6)
_SHOWN: Final = {
    IslandStatus.READY: 0,
    IslandStatus.DRAINING: 1,
    IslandStatus.SILENT: 2,
    IslandStatus.ENROLLED: 3,
    IslandStatus.LOST: 4,
}


@dataclass(frozen=True)
class Mark:
    """One Island on the chart."""

    id: str
    name: str
    state: str
    x: float
    y: float
    radius: float
    shore: str
    hill: str
    arc: str
    """How much of it is busy, as a path around it; empty for idle."""
    load_percent: int
    rtt_ms: float
    mine: bool
    linked: bool
    """Whether it has a line to the Coordinator now."""


@dataclass(frozen=True)
class Sea:
    """One region: its Islands and the depth lines around them."""

    name: str
    x: float
    y: float
    radius: float
    depths: tuple[str, ...]
    marks: tuple[Mark, ...]
    rtt_ms: float | None
    """The median of those that are here."""
    online: int
    route: str
    """The way from the Coordinator, as a path."""


@dataclass(frozen=True)
class Chart:
    width: int
    height: int
    seas: tuple[Sea, ...]
    hub: tuple[float, float]
    left_out: int


def draw(islands: Sequence[Island], mine: UserId | None = None) -> Chart:
    """One's own first, then those that work, then the others."""
    here = [island for island in islands if island.status in _SHOWN]
    here.sort(key=lambda one: (one.owner_id != mine, _SHOWN[one.standing], one.id))
    drawn = here[:DRAWN_MAX]
    regions: dict[str, list[Island]] = {}
    for island in drawn:
        regions.setdefault(island.region or NOWHERE, []).append(island)
    names = sorted(regions)
    height = 560 if len(names) <= 3 else 700
    hub = (WIDTH / 2, height / 2)
    places = _places(len(names), height)
    seas = tuple(
        _sea(name, regions[name], place, hub, mine)
        for name, place in zip(names, places, strict=True)
    )
    return Chart(WIDTH, height, seas, hub, len(here) - len(drawn))


def shore(seed: str, radius: float, roughness: float = 0.36) -> str:
    """A closed path around the origin, always the same for the same seed."""
    return _coast(seed, radius, roughness, 0.0, 0.0)


def hills(seed: str, radius: float) -> str:
    """Two height lines within the shore of the same seed, leaning to the side that the seed says."""
    lean = sha256(seed.encode()).digest()[31] / 255 * 2 * math.pi
    x, y = radius * 0.14 * math.cos(lean), radius * 0.12 * math.sin(lean)
    return _coast(seed, radius * 0.66, 0.34, x, y) + _coast(
        f"{seed} top", radius * 0.33, 0.4, 1.7 * x, 1.7 * y
    )


def _coast(seed: str, radius: float, roughness: float, x: float, y: float) -> str:
    chances = sha256(seed.encode()).digest()
    points = []
    for number in range(SHORE_POINTS):
        angle = 2 * math.pi * number / SHORE_POINTS
        wave = sum(
            math.cos(turns * angle + chances[turns] / 255 * 2 * math.pi)
            * (0.35 + chances[8 + turns] / 400)
            / turns**0.75
            for turns in WAVES
        )
        reach = radius * (0.96 + roughness * 0.55 * wave)
        points.append((x + reach * math.cos(angle), y + reach * math.sin(angle) * 0.86))
    return smooth(points)


def smooth(points: Sequence[tuple[float, float]]) -> str:
    """A closed curve through the points (Catmull and Rom's, as Bézier's)."""
    count = len(points)
    told = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for number in range(count):
        before, here = points[number - 1], points[number]
        there, after = points[(number + 1) % count], points[(number + 2) % count]
        first = (here[0] + (there[0] - before[0]) / 6, here[1] + (there[1] - before[1]) / 6)
        second = (there[0] - (after[0] - here[0]) / 6, there[1] - (after[1] - here[1]) / 6)
        told.append(
            f"C{first[0]:.1f} {first[1]:.1f} {second[0]:.1f} {second[1]:.1f} {there[0]:.1f} {there[1]:.1f}"
        )
    return "".join(told) + "Z"


def mark_of(island: Island, mine: UserId | None = None) -> Mark:
    """One Island by itself, in a picture of 96 by 96."""
    mark = _mark(island, 0, 40.0, False, mine)
    load = mark.load_percent / 100
    # The same size for all, and the ring at the picture's edge.
    return replace(
        mark,
        x=0,
        y=0,
        shore=shore(island.id, 33.0),
        hill=hills(island.id, 33.0),
        arc=arc(44.0, load) if mark.linked else "",
    )


def arc(radius: float, share: float) -> str:
    """From the top, clockwise; a whole circle is drawn as almost one."""
    if share <= 0:
        return ""
    angle = 2 * math.pi * min(share, 0.9999) - math.pi / 2
    x, y = radius * math.cos(angle), radius * math.sin(angle)
    return f"M0 {-radius:.1f}A{radius:.1f} {radius:.1f} 0 {int(share > 0.5)} 1 {x:.1f} {y:.1f}"


def _places(count: int, height: int) -> list[tuple[float, float]]:
    """Around the Coordinator in the middle, which stands in the open sea."""
    if count == 1:
        return [(WIDTH * 0.5, height * 0.5)]
    across, down = WIDTH * 0.31, height * 0.28
    turn = -math.pi / 2 - (math.pi / count if count % 2 == 0 else 0)
    return [
        (
            WIDTH / 2 + across * math.cos(turn + 2 * math.pi * number / count),
            height / 2 + down * math.sin(turn + 2 * math.pi * number / count),
        )
        for number in range(count)
    ]


def _sea(
    name: str,
    islands: Sequence[Island],
    place: tuple[float, float],
    hub: tuple[float, float],
    mine: UserId | None,
) -> Sea:
    spread = (
        40.0
        if len(islands) < 5
        else 30.0
        if len(islands) < 12
        else 20.0
        if len(islands) < 40
        else 12.0
    )
    alone = place == hub
    marks = tuple(
        _mark(island, number, spread, alone, mine) for number, island in enumerate(islands)
    )
    reach = max(math.hypot(mark.x, mark.y / 0.86) + mark.radius for mark in marks) * 1.06 + 14
    rtts = sorted(mark.rtt_ms for mark in marks if mark.linked)
    return Sea(
        name=name,
        x=place[0],
        y=place[1],
        radius=reach,
        depths=tuple(
            shore(f"{name} {step}", reach * factor, 0.12)
            for step, factor in enumerate((1.0, 1.16, 1.34))
        ),
        marks=marks,
        rtt_ms=rtts[len(rtts) // 2] if rtts else None,
        online=len(rtts),
        route="" if alone else route(hub, place),
    )


def _mark(island: Island, number: int, spread: float, alone: bool, mine: UserId | None) -> Mark:
    # Some steps out where the Coordinator stands in the middle.
    step = number + (2.5 if alone else 0.5)
    distance = spread * 1.42 * math.sqrt(step)
    angle = GOLDEN * step + 0.6
    radius = min(spread * 0.82, spread * (0.5 + 0.1 * math.sqrt(max(1, island.slots))))
    load = min(1.0, max(0.0, island.load))
    linked = island.status in (IslandStatus.READY, IslandStatus.DRAINING)
    return Mark(
        id=island.id,
        name=island.name,
        state=island.standing.value,
        x=round(distance * math.cos(angle), 1),
        y=round(distance * math.sin(angle) * 0.86, 1),
        radius=round(radius, 1),
        shore=shore(island.id, radius),
        hill=hills(island.id, radius),
        arc=arc(radius * 1.32, load) if linked else "",
        load_percent=round(100 * load),
        rtt_ms=island.broker_rtt_ms,
        mine=mine is not None and island.owner_id == mine,
        linked=linked,
    )


def route(start: tuple[float, float], end: tuple[float, float]) -> str:
    """A slightly bent line, as ships go."""
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    bend = 0.12
    x = middle[0] - (end[1] - start[1]) * bend
    y = middle[1] + (end[0] - start[0]) * bend
    return f"M{start[0]:.1f} {start[1]:.1f}Q{x:.1f} {y:.1f} {end[0]:.1f} {end[1]:.1f}"
