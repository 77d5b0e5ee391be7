"""Credits: the balance, what was used by day, key and workload, every transfer, and what each key may still spend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web import plots
from archipelag_coordinator.apps.web.asking import signed_in, world_of
from archipelag_coordinator.apps.web.queries import count_in, text_in
from archipelag_coordinator.apps.web.render import page
from archipelag_coordinator.domain.ledger import AccountId
from archipelag_coordinator.domain.sums import Place, Spent, SpentBy, days_of
from archipelag_coordinator.services.own_accounts import read_own_accounts
from archipelag_coordinator.services.read import list_keys
from archipelag_coordinator.services.statement import transfers_of, usage_of

LIMIT: Final = 25
PLACE_LENGTH_MAX: Final = 500
SPANS: Final = (30, 90, 365)
SHARES_SHOWN: Final = 12


@dataclass(frozen=True)
class Share:
    """One key or workload among all that was used."""

    name: str
    jobs: int
    tokens: int
    charged: int


async def get_credits(request: Request) -> Response:
    visitor = await signed_in(request)
    world = world_of(request)
    span = count_in(request, "days", max(SPANS), SPANS[0])
    span = span if span in SPANS else SPANS[0]
    last = world.clock.now().astimezone(UTC).date()
    days = days_of(plots.days_back(last, span), last, now=world.clock.now())
    by_day = await usage_of(world, visitor.user.id, days, SpentBy.DAY)
    by_key = await usage_of(world, visitor.user.id, days, SpentBy.KEY)
    by_workload = await usage_of(world, visitor.user.id, days, SpentBy.WORKLOAD)
    moved, more = await transfers_of(world, visitor.user.id, before=_place(request), limit=LIMIT)
    keys = await list_keys(world, visitor.user.id)
    return page(
        request,
        "credits.html",
        at="credits",
        accounts=await read_own_accounts(world, visitor.user),
        span=span,
        spans=[(one, f"{one} days") for one in SPANS],
        first=days.first,
        last=days.last,
        plot=plots.by_day({row.group or "": row.charged for row in by_day}, days),
        used=sum(row.charged for row in by_day),
        by_key=_shares(by_key, "without a key"),
        by_workload=_shares(by_workload, "unknown"),
        moved=moved,
        older=f"/credits?{_place_text(more)}#transfers" if more else "",
        newest=_place(request) is None,
        keys=[key for key in keys if key.revoked_at is None],
    )


def _shares(rows: Sequence[Spent], unnamed: str) -> list[Share]:
    found = [
        Share(
            row.name or row.group or unnamed,
            row.jobs,
            row.prompt_tokens + row.output_items,
            row.charged,
        )
        for row in rows
    ]
    return sorted(found, key=lambda one: (-one.charged, -one.jobs, one.name))[:SHARES_SHOWN]


def _place(request: Request) -> Place | None:
    """Where the page before ended; None for what is no place."""
    transfer, account = (text_in(request, name, PLACE_LENGTH_MAX) for name in ("id", "account"))
    try:
        at = datetime.fromisoformat(text_in(request, "at", PLACE_LENGTH_MAX))
    except ValueError:
        return None
    if at.tzinfo is None or not 2000 <= at.year <= 9998 or not transfer or not account:
        return None
    return Place(at, transfer, AccountId(account))


def _place_text(place: Place) -> str:
    return urlencode(
        {"at": place.at.isoformat(), "id": place.transfer_id, "account": place.account_id}
    )


ROUTES: Final = (Route("/credits", get_credits),)
