"""Jobs: a list with filters, and one job with its way: where it ran, why there, why it waits, what came out."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import IslandId, JobId
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.job_words import STATUSES
from archipelag_coordinator.apps.web.asking import Visitor, signed_in, world_of
from archipelag_coordinator.apps.web.forms import read_form
from archipelag_coordinator.apps.web.queries import count_in, text_in, word_in
from archipelag_coordinator.apps.web.render import fragment, go, page
from archipelag_coordinator.domain.job import Job, JobFilter, JobStatus
from archipelag_coordinator.domain.media import media_type_of
from archipelag_coordinator.domain.placement import Verdict
from archipelag_coordinator.domain.reasons import MEANINGS
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services import read
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.files import files_of_job
from archipelag_coordinator.services.one_look import one_look
from archipelag_coordinator.services.why import JobWhy, why_job
from archipelag_coordinator.services.world import World

LIMIT: Final = 25
OFFSET_MAX: Final = 1_000_000
OUTPUT_SHOWN_MAX: Final = 200_000
"""Characters; the whole of a longer one can be saved."""
PICTURE_MAX: Final = 24 * 1024 * 1024
SINCE: Final = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
SINCE_WORDS: Final = {"hour": "hour", "day": "24 hours", "week": "7 days", "month": "30 days"}
_PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
"""Only what cannot hold a script."""


@dataclass(frozen=True)
class Try:
    """An attempt as the page tells it. `others` are the Islands that were not chosen, with why not."""

    view: read.AttemptView
    island: str
    chosen: Verdict | None
    others: tuple[Verdict, ...]

    @property
    def state(self) -> str:
        return self.view.attempt.status.value


@dataclass(frozen=True)
class Shown:
    """What came out of a job: text, or pictures and the rest of what stands beside them."""

    text: str
    cut: bool
    picture: bool
    json: bool


async def get_jobs(request: Request) -> Response:
    visitor = await signed_in(request)
    return page(request, "jobs.html", at="jobs", **await _listed(request, visitor))


async def live_jobs(request: Request) -> Response:
    visitor = await signed_in(request)
    return fragment(request, "jobs_live.html", **await _listed(request, visitor))


async def get_job(request: Request) -> Response:
    visitor = await signed_in(request)
    world = world_of(request)
    view = await read.read_job(world, visitor.user.id, known(request))
    why = await _why(world, visitor, view.job)
    files = await files_of_job(world, visitor.user.id, view.job.id)
    return page(
        request,
        "job.html",
        at="jobs",
        files=files,
        output=_output(view.job),
        input_text=_pretty(view.job.input),
        **_told(world, view, why),
    )


async def _why(world: World, visitor: Visitor, job: Job) -> JobWhy:
    """Only what waits has one that is shown."""
    if job.status is not JobStatus.QUEUED:
        return JobWhy(job, ())
    return await why_job(world, visitor.user.id, job.id)


async def live_job(request: Request) -> Response:
    visitor = await signed_in(request)
    world = world_of(request)
    async with one_look(world) as seen:
        view = await read.read_job(seen, visitor.user.id, known(request), outputs=False)
        why = await _why(seen, visitor, view.job)
    return fragment(request, "job_live.html", **_told(world, view, why))


async def get_output(request: Request) -> Response:
    """The whole of it, to be saved: never shown by the browser as anything but a file."""
    visitor = await signed_in(request)
    job = (await read.read_job(world_of(request), visitor.user.id, known(request))).job
    if job.output is None:
        raise NotFound("output of job", job.id)
    headers = {"Content-Disposition": f'attachment; filename="{job.id}.txt"'}
    return Response(job.output, headers=headers, media_type="text/plain; charset=utf-8")


async def get_picture(request: Request) -> Response:
    """Raises NotFound for what is no picture by its own bytes, whatever the Cargo calls it."""
    visitor = await signed_in(request)
    job = (await read.read_job(world_of(request), visitor.user.id, known(request))).job
    data = _picture_in(job)
    if data is None:
        raise NotFound("picture of job", job.id)
    headers = {"Cache-Control": "private, max-age=3600"}
    return Response(data, headers=headers, media_type=media_type_of(data))


async def post_cancel(request: Request) -> Response:
    await read_form(request)
    visitor = await signed_in(request)
    job = await cancel(world_of(request), visitor.user.id, known(request))
    return go(f"/jobs/{job.id}", "cancelled")


def known(request: Request) -> JobId:
    """Raises NotFound for what cannot be a job's id."""
    given = request.path_params["id"]
    try:
        return ids.job_id(given)
    except BadId:
        raise NotFound("job", given) from None


async def _listed(request: Request, visitor: Visitor) -> dict[str, Any]:
    status = word_in(request, "status", STATUSES)
    offset = count_in(request, "offset", OFFSET_MAX)
    workload, since = text_in(request, "workload"), word_in(request, "since", SINCE)
    world = world_of(request)
    only = JobFilter(
        statuses=frozenset({STATUSES[status]} if status else JobStatus),
        workload=workload or None,
        created_after=world.clock.now() - SINCE[since] if since else None,
    )
    jobs, total = await read.list_jobs(
        world, visitor.user.id, limit=LIMIT, offset=offset, only=only, outputs=False
    )
    asked = urlencode({"status": status, "workload": workload, "since": since})
    return {
        "jobs": jobs,
        "total": total,
        "limit": LIMIT,
        "offset": offset,
        "status": status,
        "workload": workload,
        "since": since,
        "filtered": bool(status or workload or since),
        "statuses": [("", "Any"), *((name, name) for name in STATUSES)],
        "workloads": [
            ("", "Any"),
            *sorted({(c.slug, c.manifest.name) for c in world.catalogue.cargos}),
        ],
        "sinces": [
            ("", "Any time"),
            *((name, f"Last {words}") for name, words in SINCE_WORDS.items()),
        ],
        "asked": asked,
        "path": f"/jobs?{asked}",
    }


def _told(world: World, view: read.JobView, why: JobWhy) -> dict[str, Any]:
    cargo = next((c for c in world.catalogue.cargos if c.slug == view.job.cargo_slug), None)
    return {
        "job": view.job,
        "tries": [_try(world, one) for one in view.attempts],
        "cargo_name": cargo.manifest.name if cargo else view.job.cargo_slug,
        "outlook": why.outlook,
        "hint": why.hint,
        "wait": why.wait,
        "reader_round_trip_s": why.reader_round_trip_s,
        "meanings": MEANINGS,
        "queue_left_s": (view.job.queue_until - world.clock.now()).total_seconds(),
    }


def _try(world: World, view: read.AttemptView) -> Try:
    attempt = view.attempt
    verdicts = attempt.placement.verdicts
    chosen = next((v for v in verdicts if v.island_id == attempt.island_id), None)
    others = tuple(v for v in verdicts if v.island_id != attempt.island_id)
    return Try(view, chosen.name if chosen else _name_of(world, attempt.island_id), chosen, others)


def _name_of(world: World, island_id: IslandId) -> str:
    island = world.fleet.get(island_id)
    return island.name if island else island_id


def _output(job: Job) -> Shown | None:
    if job.output is None:
        return None
    if _picture_in(job) is not None:
        value = json.loads(job.output)
        text = json.dumps(
            {k: v for k, v in value.items() if k != "image_data"}, indent=2, ensure_ascii=False
        )
        return Shown(text[:OUTPUT_SHOWN_MAX], len(text) > OUTPUT_SHOWN_MAX, picture=True, json=True)
    structured = job.output.startswith(("{", "["))
    text = _pretty(job.output.encode()) if structured else job.output
    cut = len(text) > OUTPUT_SHOWN_MAX
    return Shown(text[:OUTPUT_SHOWN_MAX], cut, picture=False, json=structured)


def _picture_in(job: Job) -> bytes | None:
    if not job.output or '"image_data"' not in job.output or len(job.output) > PICTURE_MAX:
        return None
    try:
        value = json.loads(job.output)
        encoded = value.get("image_data") if isinstance(value, dict) else None
        data = base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
    except (ValueError, RecursionError, binascii.Error):
        return None
    return data if media_type_of(data) in _PICTURES else None


def _pretty(raw: bytes) -> str:
    """JSON with its lines broken; anything else as it is."""
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return raw.decode(errors="replace")


ROUTES: Final = (
    Route("/jobs", get_jobs),
    Route("/jobs/{id}", get_job),
    Route("/jobs/{id}/output", get_output),
    Route("/jobs/{id}/picture", get_picture),
    Route("/jobs/{id}/cancel", post_cancel, methods=["POST"]),
    Route("/live/jobs", live_jobs),
    Route("/live/jobs/{id}", live_job),
)
