"""Credits: the balance, every transfer, what was used, and what each key may still spend."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web.asking import signed_in, world_of
from archipelag_coordinator.apps.web.queries import count_in, word_in
from archipelag_coordinator.apps.web.render import page
from archipelag_coordinator.services.own_accounts import LINES_MAX, read_earned, read_spending
from archipelag_coordinator.services.read import list_keys

LIMIT: Final = 25
ACCOUNTS: Final = ("spending", "earned")


async def get_credits(request: Request) -> Response:
    visitor = await signed_in(request)
    world = world_of(request)
    which = word_in(request, "account", ACCOUNTS, "spending")
    offset = count_in(request, "offset", LINES_MAX)
    spending = await read_spending(
        world, visitor.user, limit=LIMIT, offset=offset if which == "spending" else 0
    )
    earned = await read_earned(
        world, visitor.user, limit=LIMIT, offset=offset if which == "earned" else 0
    )
    keys = await list_keys(world, visitor.user.id)
    return page(
        request,
        "credits.html",
        at="credits",
        which=which,
        offset=offset,
        limit=LIMIT,
        spending=spending,
        earned=earned,
        shown=spending if which == "spending" else earned,
        keys=[key for key in keys if key.revoked_at is None],
    )


ROUTES: Final = (Route("/credits", get_credits),)
