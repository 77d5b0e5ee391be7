"""Why: for a job, why these Islands and why it still waits; for an Island's owner, why it gets no work now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi
from archipelag_coordinator.apps.api.auth import Reading, TheWorld
from archipelag_coordinator.apps.api.jobs import known
from archipelag_coordinator.apps.api.network import known_island
from archipelag_coordinator.apps.api.present import time_text, wait_object
from archipelag_coordinator.apps.job_words import job_status_text
from archipelag_coordinator.domain.attempt import Attempt
from archipelag_coordinator.domain.placement import Obstacle
from archipelag_coordinator.domain.reasons import MEANINGS
from archipelag_coordinator.services.why import CargoWhy, JobWhy, why_host, why_job

router = APIRouter(tags=["why"])


@router.get(
    "/jobs/{job_id}/why",
    summary="Why these Islands, and why it still waits",
    responses=openapi.answers(200, "JobWhyAnswer", 404),
)
async def get_job_why(job_id: str, world: TheWorld, caller: Reading) -> Response:
    """Attempts as they were decided on; what a queued job waits for as it is at this moment."""
    why = await why_job(world, caller.user.id, known(job_id))
    away_s = why.reader_round_trip_s
    shown = {
        "job_id": why.job.id,
        "status": job_status_text(why.job.status, why.job.cause),
        "attempts": [_attempt(attempt) for attempt in why.attempts],
        "waiting": _waiting(why),
        "reader_round_trip_ms": None if away_s is None else round(1000 * away_s, 3),
    }
    return JSONResponse({"data": shown})


@router.get(
    "/hosts/{host_id}/why",
    summary="Why an Island gets no work now",
    responses=openapi.answers(200, "HostWhyAnswer", 404),
)
async def get_host_why(host_id: str, world: TheWorld, caller: Reading) -> Response:
    """For its owner and for operators, as it is at this moment."""
    why = await why_host(world, caller.user, known_island(host_id))
    shown = {
        "island_id": why.island.id,
        "gets_work": why.gets_work,
        "reasons": [{"code": one.code, "reason": one.reason} for one in why.reasons],
        "cargos": [_cargo(one) for one in why.cargos],
    }
    return JSONResponse({"data": shown})


def _attempt(attempt: Attempt) -> dict[str, Any]:
    placement = attempt.placement
    name = next((v.name for v in placement.verdicts if v.island_id == attempt.island_id), None)
    return {
        "epoch": attempt.epoch,
        "island_id": attempt.island_id,
        "island": name,
        "status": attempt.status.value,
        "why": placement.why,
        "score": placement.score,
        "asked": placement.asked,
        "fit": placement.fit,
        "preferences": [
            {
                "name": one.name,
                "weight": one.weight,
                "value": one.value,
                "gave": round(one.weight * one.value, 4),
            }
            for one in placement.preferences
        ],
        "kept_out": _obstacles(placement.kept_out),
    }


def _waiting(why: JobWhy) -> dict[str, Any] | None:
    if why.outlook is None or why.wait is None:
        return None
    ended = [attempt.ended_at for attempt in why.attempts if attempt.ended_at]
    return {
        "since": time_text(max(ended, default=why.job.created_at)),
        "until": time_text(why.job.queue_until),
        "asked": why.outlook.asked,
        "fit": why.outlook.fit,
        "reasons": _obstacles(why.outlook.kept_out),
        "hint": why.hint,
        **wait_object(why.wait),
    }


def _obstacles(found: Sequence[Obstacle]) -> list[dict[str, Any]]:
    # A newer Coordinator may have kept a rule that is not known here.
    return [
        {"rule": one.rule, "meaning": MEANINGS.get(one.rule, one.rule), "count": one.count}
        for one in found
    ]


def _cargo(one: CargoWhy) -> dict[str, Any]:
    stands = one.in_line
    return {
        "slug": one.offer.slug,
        "state": one.offer.state,
        "fits": stands.rule is None,
        "reason": stands.reason,
        "rank": stands.rank,
        "of": stands.of,
        "score": stands.score,
        "best_score": stands.best_score,
        "queued": one.queued,
        "asked_lately": one.asked_lately,
    }
