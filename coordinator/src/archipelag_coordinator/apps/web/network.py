"""The whole network as a chart: Islands by region, their load, their state and how far away they are."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web import chart
from archipelag_coordinator.apps.web.asking import Visitor, signed_in, world_of
from archipelag_coordinator.apps.web.render import fragment, page
from archipelag_coordinator.domain.island import IslandStatus
from archipelag_coordinator.services import read

LISTED_MAX: Final = 200


async def get_network(request: Request) -> Response:
    visitor = await signed_in(request)
    return page(request, "network.html", at="network", **await _drawn(request, visitor))


async def live_network(request: Request) -> Response:
    visitor = await signed_in(request)
    return fragment(request, "network_live.html", **await _drawn(request, visitor))


async def _drawn(request: Request, visitor: Visitor) -> dict[str, Any]:
    world = world_of(request)
    islands = await read.visible_islands(world, visitor.user)
    here = [i for i in islands if i.status in (IslandStatus.READY, IslandStatus.DRAINING)]
    slots = sum(island.slots for island in here)
    return {
        "chart": chart.draw(islands, visitor.user.id),
        "islands": islands[:LISTED_MAX],
        "count": len(islands),
        "stats": await read.network_stats(world),
        "slots": slots,
        "busy": min(slots, sum(world.fleet.busy(island.id) for island in here)),
    }


ROUTES: Final = (Route("/network", get_network), Route("/live/network", live_network))
