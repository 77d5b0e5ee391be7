"""One's own Islands: paired by a code, what each can do, what it earned, and why it gets no work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date
from typing import Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import IslandId
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web import chart, plots
from archipelag_coordinator.apps.web.asking import Visitor, settings_of, signed_in, world_of
from archipelag_coordinator.apps.web.forms import read_form
from archipelag_coordinator.apps.web.render import fragment, page
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.ledger import PayKind
from archipelag_coordinator.domain.sums import EarnedBy, EarnedSum, days_of
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services import read
from archipelag_coordinator.services.keys import create_pairing_code
from archipelag_coordinator.services.one_look import one_look
from archipelag_coordinator.services.own_accounts import read_own_accounts
from archipelag_coordinator.services.statement import earnings_of
from archipelag_coordinator.services.why import hindrances_of, why_host
from archipelag_coordinator.services.world import World

USAGE_SHOWN: Final = 20
NOTES_SHOWN: Final = 10
DAYS: Final = 14


@dataclass(frozen=True)
class Earnings:
    """By day as a plot, by Cargo as shares, and what is still owed."""

    plot: plots.Plot
    total: int
    owed: int
    by_workload: tuple[EarnedSum, ...]
    first: date
    last: date


async def get_islands(request: Request) -> Response:
    visitor = await signed_in(request)
    return page(request, "islands.html", at="islands", code=None, **await _mine(request, visitor))


async def live_islands(request: Request) -> Response:
    visitor = await signed_in(request)
    return fragment(request, "islands_live.html", **await _mine(request, visitor))


async def post_code(request: Request) -> Response:
    """Shown at once: a code in an address would stay in the browser's history."""
    await read_form(request)
    visitor = await signed_in(request)
    code = await create_pairing_code(world_of(request), visitor.user)
    return page(request, "islands.html", at="islands", code=code, **await _mine(request, visitor))


async def live_island(request: Request) -> Response:
    visitor = await signed_in(request)
    return fragment(request, "island_live.html", **await one_island(request, visitor))


def known(request: Request) -> IslandId:
    """Raises NotFound for what cannot be an Island's id."""
    given = request.path_params["id"]
    try:
        return ids.island_id(given)
    except BadId:
        raise NotFound("host", given) from None


async def _mine(request: Request, visitor: Visitor) -> dict[str, Any]:
    world = world_of(request)
    async with one_look(world) as seen:
        visible = await read.visible_islands(seen, visitor.user)
        earned = (await read_own_accounts(seen, visitor.user)).earned
    mine = [island for island in visible if island.owner_id == visitor.user.id]
    return {
        "islands": [
            (island, chart.mark_of(island), hindrances_of(world, island)) for island in mine
        ],
        "earned": earned,
        "enrol_address": settings_of(request).enrol_address,
    }


async def one_island(request: Request, visitor: Visitor) -> dict[str, Any]:
    """What its page and the part of it that looks again show. Raises NotFound."""
    world = world_of(request)
    async with one_look(world) as seen:
        return await _looked_at(seen, visitor, known(request))


async def _looked_at(world: World, visitor: Visitor, island_id: IslandId) -> dict[str, Any]:
    island = await read.read_island(world, visitor.user, island_id)
    karma = await read.read_karma(world, visitor.user, island.id, limit=NOTES_SHOWN)
    whole = read.owns(visitor.user, island)
    shown: dict[str, Any] = {
        "island": island,
        "mark_": chart.mark_of(island, visitor.user.id),
        "whole": whole,
        "mine": island.owner_id == visitor.user.id,
        "karma": karma,
        "busy": world.fleet.busy(island.id),
        "rows": [],
        "why": None,
    }
    if whole:
        rows = await read.read_usage(world, visitor.user, island.id, limit=USAGE_SHOWN, offset=0)
        shown["rows"] = [(row, _paid(row)) for row in rows]
        shown["earnings"] = await _earnings(world, visitor, island)
        shown["why"] = await why_host(world, visitor.user, island.id)
    return shown


async def _earnings(world: World, visitor: Visitor, island: Island) -> Earnings:
    last = world.clock.now().astimezone(UTC).date()
    days = days_of(plots.days_back(last, DAYS), last, now=world.clock.now())
    by_day = await earnings_of(world, visitor.user, island.id, days, EarnedBy.DAY)
    by_workload = await earnings_of(world, visitor.user, island.id, days, EarnedBy.WORKLOAD)
    paid = {row.group: row.charged + row.insured for row in by_day}
    return Earnings(
        plots.by_day(paid, days),
        sum(paid.values()),
        sum(row.owed for row in by_day),
        tuple(sorted(by_workload, key=lambda row: -(row.charged + row.insured))),
        days.first,
        days.last,
    )


def _paid(row: read.Billed) -> int:
    return sum(pay.amount for pay in row.pays if pay.kind is not PayKind.OWED)


ROUTES: Final = (
    Route("/islands", get_islands),
    Route("/islands/pair", post_code, methods=["POST"]),
    Route("/live/islands", live_islands),
    Route("/live/islands/{id}", live_island),
)
