"""Batches: many inputs in one request, each an ordinary job when its turn comes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import BatchId
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi
from archipelag_coordinator.apps.api.asking import idempotency_key
from archipelag_coordinator.apps.api.auth import Caller, Reading, TheWorld, Writing
from archipelag_coordinator.apps.api.body import read_object
from archipelag_coordinator.apps.api.present_batch import (
    batch_object,
    batch_status_object,
    batches_object,
)
from archipelag_coordinator.domain.batch import (
    INPUTS_MAX,
    PARALLELISM_DEFAULT,
    BatchStatus,
    FailMode,
    Merge,
)
from archipelag_coordinator.errors import InvalidInput, NotFound
from archipelag_coordinator.services.batch import (
    BatchWanted,
    list_batches,
    read_batch,
    submit_batch,
)

OFFSET_MAX: Final = 1_000_000
_STATUSES: Final = {
    "running": {BatchStatus.RUNNING},
    "stopping": {BatchStatus.FAILING, BatchStatus.CANCELLING},
    "completed": {BatchStatus.COMPLETED},
    "failed": {BatchStatus.FAILED},
    "cancelled": {BatchStatus.CANCELLED},
}
_FIELDS = ("workload", "inputs", "merge_strategy", "fail_mode", "max_parallelism", "priority")

router = APIRouter(tags=["batches"])

Word = TypeVar("Word", bound=StrEnum)


@router.post(
    "/jobs/batch",
    summary="Make a batch of jobs",
    openapi_extra=openapi.takes("BatchRequest"),
    responses=openapi.answers(201, "BatchAnswer", 400, 402, 404, 409, 413, 422),
)
async def create_batch(request: Request, world: TheWorld, caller: Writing) -> Response:
    """All inputs are checked before anything is made; each becomes a job when its turn comes."""
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    view = await submit_batch(world, _wanted(request, caller, body))
    headers = {"Location": f"/api/v1/jobs/{view.batch.id}/batch-status"}
    return JSONResponse({"data": batch_object(view)}, 201, headers)


@router.get(
    "/jobs/batches",
    summary="List one's batches, newest first",
    responses=openapi.answers(200, "BatchList", 422),
)
async def get_batches(
    world: TheWorld,
    caller: Reading,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX)] = 0,
    status: Annotated[list[str] | None, Query(description="Once or more")] = None,
) -> Response:
    """`status` is `running`, `stopping`, `completed`, `failed` or `cancelled`."""
    views, total = await list_batches(
        world, caller.user.id, limit=limit, offset=offset, statuses=_statuses(status)
    )
    return JSONResponse(batches_object(views, total, limit, offset))


@router.get(
    "/jobs/{batch_id}/batch-status",
    summary="Read how far a batch is",
    responses=openapi.answers(200, "BatchStatusAnswer", 404),
)
async def get_batch_status(batch_id: str, world: TheWorld, caller: Reading) -> Response:
    """With each job's status and error, and the merged output once all have ended."""
    view = await read_batch(world, caller.user.id, known_batch(batch_id))
    # Beside the loop: a merged output may have mebibytes.
    return await asyncio.to_thread(JSONResponse, {"data": batch_status_object(view)})


def _statuses(named: list[str] | None) -> frozenset[BatchStatus]:
    """Raises InvalidInput."""
    words = _STATUSES.keys() if named is None else named
    if not set(words) <= _STATUSES.keys():
        raise InvalidInput({"status": [f"must be one or more of {', '.join(_STATUSES)}"]})
    return frozenset().union(*(_STATUSES[word] for word in words))


def known_batch(batch_id: str) -> BatchId:
    """Raises NotFound for what cannot be a batch's id."""
    try:
        return ids.batch_id(batch_id)
    except BadId:
        raise NotFound("batch", batch_id) from None


def _wanted(request: Request, caller: Caller, body: dict[str, Any]) -> BatchWanted:
    """Raises InvalidInput with every problem of shape; bounds are the verb's business."""
    errors: dict[str, list[str]] = {}
    for name in sorted(body.keys() - set(_FIELDS)):
        errors[name[:64]] = ["is not a known field"]
    workload, inputs = body.get("workload"), body.get("inputs")
    if not isinstance(workload, str) or not workload:
        errors["workload"] = ["is required: a slug, see /api/v1/workloads"]
    if not isinstance(inputs, list) or not 1 <= len(inputs) <= INPUTS_MAX:
        errors["inputs"] = [f"is required: a list of 1 to {INPUTS_MAX} objects"]
        inputs = []
    for number, one in enumerate(inputs):
        if not isinstance(one, dict):
            errors[f"inputs.{number}"] = ["must be an object"]
    merge = _word(body, "merge_strategy", Merge.CONCAT, errors)
    fail_mode = _word(body, "fail_mode", FailMode.BEST_EFFORT, errors)
    parallelism = _whole(body, "max_parallelism", PARALLELISM_DEFAULT, errors)
    priority = _whole(body, "priority", 0, errors)
    if errors:
        raise InvalidInput(errors)
    return BatchWanted(
        user=caller.user,
        key=caller.key,
        workload=str(workload),
        inputs=inputs,
        merge=merge,
        fail_mode=fail_mode,
        max_parallelism=parallelism,
        priority=priority,
        idempotency_key=idempotency_key(request),
        request_hash=hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest(),
    )


def _word(body: dict[str, Any], field: str, default: Word, errors: dict[str, list[str]]) -> Word:
    given, words = body.get(field, default.value), type(default)
    known = [word.value for word in words]
    if given not in known:
        errors[field] = [f"must be one of {', '.join(known)}"]
        return default
    return words(given)


def _whole(body: dict[str, Any], field: str, default: int, errors: dict[str, list[str]]) -> int:
    given = body.get(field, default)
    if isinstance(given, bool) or not isinstance(given, int):
        errors[field] = ["must be a whole number"]
        return default
    return given
