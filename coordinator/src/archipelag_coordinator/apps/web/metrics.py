"""The last hour of this Coordinator as plots: what Prometheus is told, for who has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web import plots
from archipelag_coordinator.apps.web.asking import looking_after, world_of
from archipelag_coordinator.apps.web.render import fragment, page
from archipelag_coordinator.domain.histogram import Histogram
from archipelag_coordinator.domain.history import Minute


@dataclass(frozen=True)
class _Shown:
    title: str
    unit: str
    value: Callable[[Minute], float]
    places: int = 0


SHOWN: Final = (
    _Shown("Jobs submitted", "jobs", lambda one: one.rose.submitted),
    _Shown("Jobs that succeeded", "jobs", lambda one: one.rose.succeeded),
    _Shown("Jobs that failed", "jobs", lambda one: one.rose.failed),
    _Shown("Items of output", "items", lambda one: one.rose.items),
    _Shown("Time to first item", "ms", lambda one: 1000 * one.first_item_s, 1),
    _Shown("Requests refused", "requests", lambda one: one.rose.refused),
    _Shown("Streams at once", "streams", lambda one: one.highest.streams),
    _Shown("Jobs that wait at once", "jobs", lambda one: one.highest.waiting),
    _Shown("Slots taken at once", "slots", lambda one: one.highest.slots_busy),
)


async def get_metrics(request: Request) -> Response:
    await looking_after(request)
    return page(request, "metrics.html", at="admin-metrics", **_drawn(request))


async def live_metrics(request: Request) -> Response:
    await looking_after(request)
    return fragment(request, "metrics_live.html", **_drawn(request))


def _drawn(request: Request) -> dict[str, Any]:
    world = world_of(request)
    minutes = world.history.minutes()
    tally = world.tally
    return {
        "plots": [(shown.title, shown.unit, _plot(minutes, shown)) for shown in SHOWN],
        "speeds": [
            ("Time to first item", *_speeds(tally.first_item)),
            ("Time between items", *_speeds(tally.between_items)),
            ("Wait for an Island", *_speeds(tally.queue_wait)),
            ("Choice of an Island", *_speeds(tally.placement)),
            ("Assignment", *_speeds(tally.assigning)),
            ("Settlement", *_speeds(tally.settlement)),
        ],
        "home": world.home,
    }


def _plot(minutes: Sequence[Minute], shown: _Shown) -> plots.Plot:
    return plots.bars(
        [
            plots.Point(
                f"{one.began_at:%H:%M}",
                shown.value(one),
                f"{shown.value(one):,.{shown.places}f}",
            )
            for one in minutes
        ]
    )


def _speeds(measured: Histogram) -> tuple[int, str, str]:
    """How many were measured, and within which bound one half and nineteen of twenty were."""
    return measured.count, _within(measured, 0.5), _within(measured, 0.95)


def _within(measured: Histogram, part: float) -> str:
    if not measured.count:
        return "–"
    for bound, so_far in zip(measured.bounds_s, measured.rising(), strict=False):
        if so_far >= part * measured.count:
            return f"{1000 * bound:g} ms" if bound < 1 else f"{bound:g} s"
    return f"more than {measured.bounds_s[-1]:g} s"


ROUTES: Final = (
    Route("/admin/metrics", get_metrics),
    Route("/live/admin/metrics", live_metrics),
)
