"""For those who look after the network: its health, its Islands, its ledger, and the log of what was done."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web.asking import administering, looking_after, world_of
from archipelag_coordinator.apps.web.forms import read_form
from archipelag_coordinator.apps.web.islands import known
from archipelag_coordinator.apps.web.queries import text_in, word_in
from archipelag_coordinator.apps.web.render import fragment, go, page
from archipelag_coordinator.domain.island import Island, IslandStatus
from archipelag_coordinator.services.audit import audit_ledger
from archipelag_coordinator.services.health import network_health
from archipelag_coordinator.services.queues import read_queues
from archipelag_coordinator.services.read import all_islands
from archipelag_coordinator.services.stand import how_it_stands
from archipelag_coordinator.services.suspend import (
    approve_island,
    restore_island,
    suspend_island,
)
from archipelag_coordinator.services.why import hindrances_of

ISLANDS_SHOWN_MAX: Final = 200


async def get_health(request: Request) -> Response:
    await looking_after(request)
    return page(request, "admin.html", at="admin", drifted=None, **await _health(request))


async def live_health(request: Request) -> Response:
    await looking_after(request)
    return fragment(request, "admin_live.html", **await _health(request))


async def post_ledger_check(request: Request) -> Response:
    """Every balance is rebuilt from its entries: asked for by a button, since it reads all of them."""
    await read_form(request)
    await looking_after(request)
    drifted = await audit_ledger(world_of(request))
    return page(request, "admin.html", at="admin", drifted=drifted, **await _health(request))


async def get_islands(request: Request) -> Response:
    await looking_after(request)
    return page(request, "admin_islands.html", at="admin-islands", **await _islands(request))


async def live_islands(request: Request) -> Response:
    await looking_after(request)
    return fragment(request, "admin_islands_live.html", **await _islands(request))


async def post_approve(request: Request) -> Response:
    await read_form(request)
    visitor = await administering(request)
    await approve_island(world_of(request), visitor.user.id, known(request))
    return go("/admin/islands", "approved")


async def post_suspend(request: Request) -> Response:
    await read_form(request)
    visitor = await administering(request)
    await suspend_island(world_of(request), visitor.user.id, known(request))
    return go("/admin/islands", "suspended")


async def post_restore(request: Request) -> Response:
    await read_form(request)
    visitor = await administering(request)
    await restore_island(world_of(request), visitor.user.id, known(request))
    return go("/admin/islands", "restored")


async def _health(request: Request) -> dict[str, Any]:
    world = world_of(request)
    return {
        "stand": await how_it_stands(world),
        "health": await network_health(world),
        "queues": await read_queues(world),
    }


async def _islands(request: Request) -> dict[str, Any]:
    world = world_of(request)
    status = word_in(request, "status", ("approval", *IslandStatus))
    search = text_in(request, "search")
    found = [i for i in await all_islands(world) if _fits(i, status, search.lower())]
    # What waits for a decision comes first.
    found.sort(key=lambda i: (i.approved, i.status is not IslandStatus.SUSPENDED, i.name))
    return {
        "islands": [(island, hindrances_of(world, island)) for island in found[:ISLANDS_SHOWN_MAX]],
        "count": len(found),
        "limit": ISLANDS_SHOWN_MAX,
        "status": status,
        "search": search,
        "statuses": [
            ("", "Any"),
            ("approval", "awaits approval"),
            *((one.value, one.value) for one in IslandStatus),
        ],
    }


def _fits(island: Island, status: str, search: str) -> bool:
    if status == "approval" and island.approved:
        return False
    if status not in ("", "approval") and island.status.value != status:
        return False
    return (
        not search
        or search in f"{island.name} {island.id} {island.owner_id} {island.region}".lower()
    )


ROUTES: Final = (
    Route("/admin", get_health),
    Route("/live/admin", live_health),
    Route("/admin/ledger-check", post_ledger_check, methods=["POST"]),
    Route("/admin/islands", get_islands),
    Route("/live/admin/islands", live_islands),
    Route("/admin/islands/{id}/approve", post_approve, methods=["POST"]),
    Route("/admin/islands/{id}/suspend", post_suspend, methods=["POST"]),
    Route("/admin/islands/{id}/restore", post_restore, methods=["POST"]),
)
