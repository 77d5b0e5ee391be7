"""Whether this process lives, and whether it can serve: for load balancers and operators."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[object]]
"""Raises when the part cannot be reached."""
CHECK_TIMEOUT_S: Final = 2.0

_OPEN: Final = {"security": list[object]()}

router = APIRouter(tags=["operations"])


def _answer(shape: str, description: str) -> dict[str, object]:
    schema = {"$ref": f"#/components/schemas/{shape}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


@router.get(
    "/health",
    summary="Alive",
    openapi_extra=_OPEN,
    responses={200: _answer("Health", "This process answers")},
)
async def get_health(request: Request) -> Response:
    """Asks nothing else: a process that cannot reach its database is not helped by being restarted."""
    return JSONResponse({"status": "ok", "version": request.app.state.world.version})


@router.get(
    "/ready",
    summary="Ready to serve",
    openapi_extra=_OPEN,
    responses={
        200: _answer("Ready", "Database and broker can be reached"),
        503: _answer("Ready", "Not now; `checks` says which part"),
    },
)
async def get_ready(request: Request) -> Response:
    world: World = request.app.state.world
    checks: dict[str, Check] = {"database": lambda: _database(world), **request.app.state.checks}
    results = await asyncio.gather(*(_passes(name, check) for name, check in checks.items()))
    told = dict(zip(checks, results, strict=True))
    ready = all(results)
    shown = {name: "ok" if passed else "out of reach" for name, passed in told.items()}
    status = "ready" if ready else "not ready"
    return JSONResponse({"status": status, "checks": shown}, 200 if ready else 503)


async def _database(world: World) -> None:
    async with world.store.begin() as tx:
        await tx.coordinators.alive(world.clock.now())


async def _passes(name: str, check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except Exception as error:
        # Whatever it is, the answer is no; the cause is for the log, not for whoever asks.
        log.warning("check_failed check=%s error=%r", name, error)
        return False
    return True
