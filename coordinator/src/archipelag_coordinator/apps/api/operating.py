"""What an operator looks at: queues, the books, and how every part is."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from archipelag_contracts.units import to_credits
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi
from archipelag_coordinator.apps.api.auth import Administering, TheWorld
from archipelag_coordinator.apps.api.present import time_text
from archipelag_coordinator.domain.ledger import Account
from archipelag_coordinator.services.audit import audit_ledger
from archipelag_coordinator.services.health import network_health
from archipelag_coordinator.services.queues import read_queues

CHECK_TIMEOUT_S: Final = 2.0

router = APIRouter(prefix="/admin", tags=["admin"])


@router.get("/queues", summary="What waits and runs", responses=openapi.answers(200, "Queues"))
async def get_queues(world: TheWorld, caller: Administering) -> Response:  # noqa: ARG001
    """Jobs by workload, and background work by its state."""
    queues = await read_queues(world)
    now = world.clock.now()
    jobs = [
        {
            "workload": work.workload,
            "queued": work.queued,
            "running": work.running,
            "oldest_wait_s": None
            if work.oldest_at is None
            else max(0.0, round((now - work.oldest_at).total_seconds(), 3)),
        }
        for work in queues.work
    ]
    chores = [
        {
            "name": chore.name,
            "status": chore.status,
            "count": chore.count,
            "oldest_at": time_text(chore.oldest_at),
            "attempts_max": chore.attempts_max,
        }
        for chore in queues.chores
    ]
    return JSONResponse({"data": {"jobs": jobs, "chores": chores}})


@router.get(
    "/ledger-check",
    summary="Rebuild every balance from its entries",
    responses=openapi.answers(200, "LedgerCheck"),
)
async def get_ledger_check(world: TheWorld, caller: Administering) -> Response:  # noqa: ARG001
    """`drifted` names every account that is kept otherwise than its entries and reservations say: none is right."""
    drifted = await audit_ledger(world)
    shown = {
        "balanced": not drifted,
        "checked_at": time_text(world.clock.now()),
        "drifted": [
            {"account": kept.id, "kept": _account(kept), "rebuilt": _account(rebuilt)}
            for kept, rebuilt in drifted
        ],
    }
    return JSONResponse({"data": shown})


@router.get(
    "/health",
    summary="How every part of the network is",
    responses=openapi.answers(200, "NetworkHealth"),
)
async def get_network_health(
    request: Request,
    world: TheWorld,
    caller: Administering,  # noqa: ARG001
) -> Response:
    """As this Coordinator finds it. Load balancers ask `/ready`."""
    health = await network_health(world)
    parts = [{"name": one.name, "ok": one.ok, "said": one.said} for one in health.parts]
    if (stream := request.app.state.stream) is not None:
        parts.insert(2, await _stream(stream))
    shown: dict[str, Any] = {
        "status": "ok" if all(part["ok"] for part in parts) else "degraded",
        "version": world.version,
        "parts": parts,
        "coordinators": [
            {
                "id": one.relay,
                "seen_at": time_text(one.at),
                "alive": one.relay in health.alive,
                "this": one.relay == world.home,
            }
            for one in health.coordinators
        ],
    }
    return JSONResponse({"data": shown})


async def _stream(answers: Any) -> dict[str, Any]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            said = await answers()
    except Exception as error:
        # Whatever it is, it does not answer; which error helps whoever looks here.
        return {"name": "stream", "ok": False, "said": f"does not answer: {type(error).__name__}"}
    return {"name": "stream", "ok": True, "said": said}


def _account(account: Account) -> dict[str, str]:
    return {"balance": to_credits(account.balance), "held": to_credits(account.held)}
