"""The door: what the network is, for those who are not signed in; an overview for those who are."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from archipelag_coordinator.apps import cookies
from archipelag_coordinator.apps.web import chart
from archipelag_coordinator.apps.web.asking import (
    Visitor,
    local_path,
    settings_of,
    signed_in,
    visitor_of,
    world_of,
)
from archipelag_coordinator.apps.web.forms import read_form
from archipelag_coordinator.apps.web.render import THEMES, fragment, go, page
from archipelag_coordinator.apps.web.settings import THEME_COOKIE
from archipelag_coordinator.domain.ledger import Account
from archipelag_coordinator.services import read
from archipelag_coordinator.services.one_look import one_look
from archipelag_coordinator.services.world import World

RECENT: Final = 5
THEME_KEPT_S: Final = 365 * 24 * 3600
HERO: Final = (
    # id, across, down, radius: an archipelago that nobody owns.
    ("hero one", 165, 150, 74),
    ("hero two", 352, 92, 46),
    ("hero six", 398, 268, 62),
    ("hero four", 214, 330, 40),
    ("hero five", 300, 192, 17),
)
_LINES: Final = ((0, 1), (1, 2), (0, 3), (2, 3), (0, 4), (4, 2))


async def get_start(request: Request) -> Response:
    world = world_of(request)
    visitor = await visitor_of(request)
    if visitor is None:
        stats = await read.network_stats(world)
        model = next(
            (c.model_name for c in world.catalogue.cargos if c.manifest.kind == "chat"), "MODEL"
        )
        return page(
            request,
            "landing.html",
            stats=stats,
            lands=_lands(),
            routes=_routes(),
            model=model,
            base_url=world.public_url,
            enrol_address=settings_of(request).enrol_address,
        )
    return page(request, "overview.html", at="overview", **await _overview(world, visitor))


async def live_overview(request: Request) -> Response:
    visitor = await signed_in(request)
    return fragment(request, "overview_live.html", **await _overview(world_of(request), visitor))


async def live_stats(request: Request) -> Response:
    return fragment(request, "stats_live.html", stats=await read.network_stats(world_of(request)))


async def post_theme(request: Request) -> Response:
    form = await read_form(request)
    response = go(local_path(form.values.get("next")))
    theme = form.values.get("theme", "auto")
    response.set_cookie(
        THEME_COOKIE,
        theme if theme in THEMES else "auto",
        max_age=THEME_KEPT_S,
        path="/",
        secure=cookies.is_secure(world_of(request).public_url),
        httponly=True,
        samesite="lax",
    )
    return response


async def get_robots(request: Request) -> Response:  # noqa: ARG001
    return PlainTextResponse("User-agent: *\nAllow: /$\nDisallow: /\n")


async def _overview(world: World, visitor: Visitor) -> dict[str, Any]:
    async with one_look(world) as seen:
        jobs, total = await read.list_jobs(
            seen, visitor.user.id, limit=RECENT, offset=0, outputs=False
        )
        visible = await read.visible_islands(seen, visitor.user)
        account: Account = await read.read_account(seen, visitor.user)
    mine = [island for island in visible if island.owner_id == visitor.user.id]
    return {
        "jobs": jobs,
        "total": total,
        "account": account,
        "online": len(read.online_islands(world)),
        "marks": [chart.mark_of(island, visitor.user.id) for island in mine],
    }


def _lands() -> list[dict[str, object]]:
    return [
        {
            "x": x,
            "y": y,
            "shore": chart.shore(seed, radius),
            "hill": chart.hills(seed, radius),
            "depths": [
                chart.shore(f"{seed} {n}", radius * far, 0.12)
                for n, far in enumerate((2.05, 1.62, 1.28))
            ],
        }
        for seed, x, y, radius in HERO
    ]


def _routes() -> list[str]:
    return [chart.route((HERO[a][1], HERO[a][2]), (HERO[b][1], HERO[b][2])) for a, b in _LINES]


ROUTES: Final = (
    Route("/", get_start),
    Route("/live/overview", live_overview),
    Route("/live/stats", live_stats),
    Route("/theme", post_theme, methods=["POST"]),
    Route("/robots.txt", get_robots),
)
