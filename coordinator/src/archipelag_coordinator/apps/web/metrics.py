"""The last hour as plots, by the dashboards' names: what Prometheus is told, for who has none."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web import plots
from archipelag_coordinator.apps.web.asking import looking_after, world_of
from archipelag_coordinator.apps.web.queries import word_in
from archipelag_coordinator.apps.web.render import fragment, page
from archipelag_coordinator.domain.essentials import ESSENTIALS
from archipelag_coordinator.domain.histogram import Histogram

TITLES: Final = {
    "network": "Network",
    "jobs": "Jobs",
    "islands": "Islands",
    "ledger": "Ledger",
    "fabric": "Fabric",
}
FIRST: Final = "network"


async def get_metrics(request: Request) -> Response:
    await looking_after(request)
    return page(request, "metrics.html", at="admin-metrics", **_drawn(request))


async def live_metrics(request: Request) -> Response:
    await looking_after(request)
    return fragment(request, "metrics_live.html", **_drawn(request))


def _drawn(request: Request) -> dict[str, Any]:
    world = world_of(request)
    of = word_in(request, "of", ESSENTIALS, fallback=FIRST)
    minutes = world.history.minutes()
    tally = world.tally
    return {
        "of": of,
        "titles": TITLES,
        "plots": [(one, plots.by_minute(minutes, one)) for one in ESSENTIALS[of]],
        "speeds": [
            ("Time to first item", *_speeds(tally.first_item)),
            ("Time between items", *_speeds(tally.between_items)),
            ("Wait for an Island", *_speeds(tally.queue_wait)),
            ("Choice of an Island", *_speeds(tally.placement)),
            ("Assignment", *_speeds(tally.assigning)),
            ("Settlement", *_speeds(tally.settlement)),
            ("Round trip to readers", *_speeds(tally.reader_round_trip)),
        ],
        "home": world.home,
    }


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
