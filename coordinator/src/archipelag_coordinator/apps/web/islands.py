"""One's own Islands: paired by a code, what each can do, what it earned, and why it gets no work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
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
from archipelag_coordinator.apps.web.words import credits_text
from archipelag_coordinator.domain.island import Island, IslandStatus
from archipelag_coordinator.domain.ledger import PayKind
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services import read
from archipelag_coordinator.services.keys import create_pairing_code
from archipelag_coordinator.services.own_accounts import read_earned
from archipelag_coordinator.services.world import World

USAGE_SHOWN: Final = 20
USAGE_READ: Final = 500
"""Newest attempts that the plots are made from."""
NOTES_SHOWN: Final = 10
DAYS: Final = 14


@dataclass(frozen=True)
class Earnings:
    """Of the newest attempts: by day as a plot, and who paid."""

    plot: plots.Plot
    total: int
    owed: int
    attempts: int
    whole: bool
    """False where there were more attempts in this time than were read."""


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


async def get_island(request: Request) -> Response:
    visitor = await signed_in(request)
    return page(request, "island.html", at="islands", **await _one(request, visitor))


async def live_island(request: Request) -> Response:
    visitor = await signed_in(request)
    return fragment(request, "island_live.html", **await _one(request, visitor))


def known(request: Request) -> IslandId:
    """Raises NotFound for what cannot be an Island's id."""
    given = request.path_params["id"]
    try:
        return ids.island_id(given)
    except BadId:
        raise NotFound("host", given) from None


async def _mine(request: Request, visitor: Visitor) -> dict[str, Any]:
    world = world_of(request)
    visible = await read.visible_islands(world, visitor.user)
    mine = [island for island in visible if island.owner_id == visitor.user.id]
    earned = (await read_earned(world, visitor.user, limit=1)).account
    return {
        "islands": [(island, chart.mark_of(island), why_idle(world, island)) for island in mine],
        "earned": earned,
        "enrol_address": settings_of(request).enrol_address,
    }


async def _one(request: Request, visitor: Visitor) -> dict[str, Any]:
    world = world_of(request)
    island = await read.read_island(world, visitor.user, known(request))
    karma = await read.read_karma(world, visitor.user, island.id, limit=NOTES_SHOWN)
    whole = read.owns(visitor.user, island)
    rows = (
        await read.read_usage(world, visitor.user, island.id, limit=USAGE_READ, offset=0)
        if whole
        else []
    )
    return {
        "island": island,
        "mark_": chart.mark_of(island, visitor.user.id),
        "whole": whole,
        "mine": island.owner_id == visitor.user.id,
        "karma": karma,
        "rows": [(row, _paid(row)) for row in rows[:USAGE_SHOWN]],
        "earnings": _earnings(rows, world.clock.now().astimezone(UTC).date()),
        "why": why_idle(world, island),
        "busy": world.fleet.busy(island.id),
        "causes": Counter(row.usage.cause.value for row in rows).most_common(),
    }


def why_idle(world: World, island: Island) -> list[str]:
    """Why this Island gets no work now, in words with what would help; empty where it may."""
    if island.status is IslandStatus.SUSPENDED:
        return ["It is suspended: ask whoever runs this network."]
    reasons = []
    if not island.approved:
        reasons.append("It waits for an operator's approval.")
    match island.status:
        case IslandStatus.ENROLLED:
            reasons.append(
                "It has not been heard from yet: start its agent with archipelag-island run."
            )
        case IslandStatus.DRAINING:
            reasons.append(
                "It is draining: it finishes what runs. archipelag-island resume takes it back."
            )
        case IslandStatus.SILENT | IslandStatus.LOST:
            reasons.append(
                "It has not been heard from for a while. archipelag-island doctor says what is wrong."
            )
        case _:
            pass
    if island.status is IslandStatus.READY:
        reasons += _idle_offers(world, island)
    return reasons


def _idle_offers(world: World, island: Island) -> list[str]:
    listed = {cargo.slug: cargo.digest for cargo in world.catalogue.cargos}
    usable = [
        offer
        for offer in island.offers
        if listed.get(offer.slug) == offer.digest
        and (offer.state == "warm" or (offer.startable and offer.state != "failed"))
    ]
    if not usable:
        failed = [f"{o.slug}: {o.reason}" for o in island.offers if o.state == "failed"]
        told = "It has no Cargo that it could start now."
        return [told, *failed] if failed else [f"{told} It may still be loading one."]
    if island.slots and world.fleet.busy(island.id) >= island.slots:
        return ["All of its slots are busy: it works as much as it can."]
    return []


def _earnings(rows: Sequence[read.Billed], today: date) -> Earnings:
    first = today - timedelta(days=DAYS - 1)
    sums: Counter[date] = Counter()
    owed = attempts = 0
    for row in rows:
        day = row.usage.at.astimezone(UTC).date()
        if day < first:
            continue
        attempts += 1
        for pay in row.pays:
            if pay.kind is PayKind.OWED:
                owed += pay.amount
            else:
                sums[day] += pay.amount
    points = [
        plots.Point(f"{day:%d %b}", sums[day], credits_text(sums[day]))
        for day in plots.days(first, today)
    ]
    whole = len(rows) < USAGE_READ or attempts < len(rows)
    return Earnings(plots.bars(points), sum(sums.values()), owed, attempts, whole)


def _paid(row: read.Billed) -> int:
    return sum(pay.amount for pay in row.pays if pay.kind is not PayKind.OWED)


ROUTES: Final = (
    Route("/islands", get_islands),
    Route("/islands/pair", post_code, methods=["POST"]),
    Route("/islands/{id}", get_island),
    Route("/live/islands", live_islands),
    Route("/live/islands/{id}", live_island),
)
