"""Jobs of every kind: made, listed, read, followed and cancelled."""

from __future__ import annotations

from typing import Annotated, Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import JobId
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi, present
from archipelag_coordinator.apps.api.account import time_of
from archipelag_coordinator.apps.api.asking import last_event_id, make_job, submission_of
from archipelag_coordinator.apps.api.auth import Reading, TheWorld, Writing
from archipelag_coordinator.apps.api.batches import known_batch
from archipelag_coordinator.apps.api.body import read_object
from archipelag_coordinator.apps.api.files import file_object
from archipelag_coordinator.apps.api.job_frames import JobFrames
from archipelag_coordinator.apps.api.present_batch import batch_object, pending_job_object
from archipelag_coordinator.apps.api.relay_response import RelayResponse
from archipelag_coordinator.apps.job_words import STATUSES
from archipelag_coordinator.domain.job import JobFilter
from archipelag_coordinator.errors import InvalidInput, NotFound
from archipelag_coordinator.services.batch import cancel_batch, cancel_member, read_member
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.files import files_of_job
from archipelag_coordinator.services.read import list_jobs, read_job
from archipelag_coordinator.services.watch import note_reader, watch

OFFSET_MAX: Final = 1_000_000

router = APIRouter(tags=["jobs"])


@router.post(
    "/jobs",
    summary="Make a job",
    openapi_extra=openapi.takes("JobRequest"),
    responses=openapi.answers(201, "JobAnswer", 400, 402, 404, 409, 413, 422),
)
async def create_job(request: Request, world: TheWorld, caller: Writing) -> Response:
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    workload, given, priority = _wanted(body)
    submission = submission_of(
        request, caller, workload, given, interactive=False, priority=priority
    )
    made = await make_job(world, submission)
    headers = {"Location": f"/api/v1/jobs/{made.job.id}", "X-Archipelag-Job": made.job.id}
    return JSONResponse({"data": present.job_object(made.job)}, 201, headers)


@router.get(
    "/jobs", summary="List one's jobs, newest first", responses=openapi.answers(200, "JobList", 422)
)
async def get_jobs(
    world: TheWorld,
    caller: Reading,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX)] = 0,
    status: Annotated[list[str] | None, Query(description="Once or more")] = None,
    workload: Annotated[str | None, Query(description="A slug", max_length=100)] = None,
    created_after: Annotated[str | None, Query(description="A time with its zone")] = None,
    created_before: Annotated[str | None, Query(description="A time with its zone")] = None,
) -> Response:
    """`status` is `queued`, `running`, `completed`, `failed` (with those timed out), `timeout` (only those) or
    `cancelled`. `created_after` includes that moment, `created_before` does not."""
    only = _filter(status, workload, created_after, created_before)
    jobs, total = await list_jobs(world, caller.user.id, limit=limit, offset=offset, only=only)
    return JSONResponse(
        {
            "data": [present.job_object(job) for job in jobs],
            "meta": {"total": total, "limit": limit, "offset": offset},
        }
    )


@router.get(
    "/jobs/{job_id}", summary="Read a job", responses=openapi.answers(200, "JobAnswer", 404)
)
async def get_job(job_id: str, world: TheWorld, caller: Reading) -> Response:
    """One whose turn in its batch has not come is `pending`."""
    wanted = known(job_id)
    try:
        view = await read_job(world, caller.user.id, wanted)
    except NotFound:
        batch, member = await read_member(world, caller.user.id, wanted)
        return JSONResponse({"data": pending_job_object(batch, member)})
    return JSONResponse({"data": present.job_object(view.job, view.attempts, view.wait)})


@router.get(
    "/jobs/{job_id}/output",
    summary="Read a job's whole output",
    responses=openapi.answers(200, "JobOutputAnswer", 404),
)
async def get_output(job_id: str, world: TheWorld, caller: Reading) -> Response:
    """`output` is null until the job has ended; `status` says where it stands."""
    job = (await read_job(world, caller.user.id, known(job_id))).job
    shown = present.job_object(job)
    kept = ("id", "status", "output", "error", "finish_reason", "usage")
    return JSONResponse({"data": {name: shown[name] for name in kept}})


@router.get(
    "/jobs/{job_id}/files",
    summary="List the files that a job has made",
    responses=openapi.answers(200, "JobFiles", 404),
)
async def get_job_files(job_id: str, world: TheWorld, caller: Reading) -> Response:
    """None before it has completed. They are kept for 7 days."""
    made = await files_of_job(world, caller.user.id, known(job_id))
    return JSONResponse({"data": [file_object(file) for file in made]})


@router.get(
    "/jobs/{job_id}/stream",
    summary="Follow a job",
    responses=openapi.answers(200, None, 404, 422, stream=True),
)
async def stream_job(request: Request, job_id: str, world: TheWorld, caller: Reading) -> Response:
    """Server-sent events; `Last-Event-ID` continues after the last one that was read."""
    view = await read_job(world, caller.user.id, known(job_id))
    job = view.job
    after = last_event_id(request)
    if not job.finished:
        await note_reader(world, job.id)
    reader = await watch(world, job.id)
    reader.seek(after)
    headers = {"X-Archipelag-Job": job.id}
    return RelayResponse(
        reader, JobFrames(job, after, view.wait), first=reader.take(), headers=headers
    )


@router.delete(
    "/jobs/{job_id}",
    summary="Cancel a job or a batch",
    responses=openapi.answers(200, "CancelAnswer", 404),
)
async def cancel_job(job_id: str, world: TheWorld, caller: Writing) -> Response:
    """What was delivered until now is charged. What has ended already is returned as it is. Of a batch (`bat_…`), what
    waits never begins, and what runs is cancelled."""
    if job_id.startswith("bat_"):
        view = await cancel_batch(world, caller.user.id, known_batch(job_id))
        return JSONResponse({"data": batch_object(view)})
    wanted = known(job_id)
    try:
        job = await cancel(world, caller.user.id, wanted)
    except NotFound:
        dropped = await cancel_member(world, caller.user.id, wanted)
        if dropped is not None:
            return JSONResponse({"data": pending_job_object(*dropped)})
        job = await cancel(world, caller.user.id, wanted)  # Its turn came in between.
    return JSONResponse({"data": present.job_object(job)})


def _filter(
    status: list[str] | None, workload: str | None, after: str | None, before: str | None
) -> JobFilter:
    errors: dict[str, list[str]] = {}
    named = set(STATUSES if status is None else status)
    timed_out = "timeout" in named
    named.discard("timeout")
    if not named <= STATUSES.keys():
        errors["status"] = [f"must be one or more of {', '.join((*STATUSES, 'timeout'))}"]
    since = time_of("created_after", after, errors)
    until = time_of("created_before", before, errors)
    if errors:
        raise InvalidInput(errors)
    statuses = frozenset(STATUSES[name] for name in named)
    return JobFilter(statuses, timed_out, workload, since, until)


def known(job_id: str) -> JobId:
    """Raises NotFound for what cannot be a job's id."""
    try:
        return ids.job_id(job_id)
    except BadId:
        raise NotFound("job", job_id) from None


def _wanted(body: dict[str, Any]) -> tuple[str, dict[str, Any], int]:
    """Workload, input and priority. Raises InvalidInput with every problem."""
    errors: dict[str, list[str]] = {}
    for name in sorted(body.keys() - {"workload", "input", "priority"}):
        errors[name[:64]] = ["is not a known field"]
    workload, given, priority = body.get("workload"), body.get("input"), body.get("priority", 0)
    if not isinstance(workload, str) or not workload:
        errors["workload"] = ["is required: a slug, see /api/v1/workloads"]
    if not isinstance(given, dict):
        errors["input"] = ["is required: an object"]
    if isinstance(priority, bool) or not isinstance(priority, int):
        errors["priority"] = ["must be a whole number"]
    if errors:
        raise InvalidInput(errors)
    assert isinstance(workload, str) and isinstance(given, dict) and isinstance(priority, int)
    return workload, given, priority
