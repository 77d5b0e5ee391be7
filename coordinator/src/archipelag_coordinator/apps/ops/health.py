"""Whether this process lives, and whether it can serve: for load balancers and operators."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

CHECK_TIMEOUT_S: Final = 2.0

_OPEN: Final = {"security": list[Any]()}

router = APIRouter(tags=["operations"])


def _answer(shape: str, description: str) -> dict[str, Any]:
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
    passed = {"database": await _database(request.app.state.world)}
    passed |= {name: check() for name, check in request.app.state.checks.items()}
    shown = {name: "ok" if reached else "out of reach" for name, reached in passed.items()}
    if all(passed.values()):
        return JSONResponse({"status": "ready", "checks": shown})
    return JSONResponse({"status": "not ready", "checks": shown}, 503)


async def _database(world: World) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S), world.store.begin() as tx:
            await tx.coordinators.alive(world.clock.now())
    except Exception as error:
        # Whatever it is, the answer is no; the cause is for the log, not for whoever asks.
        log.warning("database_out_of_reach error=%r", error)
        return False
    return True
