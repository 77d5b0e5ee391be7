"""OpenAI's pictures: a prompt in, a picture out, as data or as a link that is good for a while."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api.asking import ask, submission_of
from archipelag_coordinator.apps.api.auth import Caller, TheWorld, Writing
from archipelag_coordinator.apps.api.body import read_object
from archipelag_coordinator.apps.api.errors import CLIENT_GONE, JobEnded
from archipelag_coordinator.apps.api.image_frames import ImageFrames, usage_of
from archipelag_coordinator.apps.api.links import Links
from archipelag_coordinator.apps.api.openapi import ENDINGS, answers, takes
from archipelag_coordinator.apps.api.pictures import Picture, picture_of, size_text
from archipelag_coordinator.apps.api.relay_response import Departure, RelayResponse
from archipelag_coordinator.apps.api.results import (
    Result,
    check_fields,
    model_of,
    result_of,
    text_of,
)
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.file import JOB_OUTPUT, File
from archipelag_coordinator.domain.media import ending_of
from archipelag_coordinator.errors import InvalidInput, Unsupported
from archipelag_coordinator.services.asked import Submission
from archipelag_coordinator.services.files import files_of_job
from archipelag_coordinator.services.read import read_job
from archipelag_coordinator.services.upload import begin_upload
from archipelag_coordinator.services.watch import Reader
from archipelag_coordinator.services.world import World

PROMPT_CHARS_MAX: Final = 4000
WAIT_S: Final = 15.0
_SIZE: Final = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")
_KNOWN: Final = frozenset(
    {"model", "prompt", "n", "size", "response_format", "stream", "partial_images", "user"}
    | {"negative_prompt", "steps", "guidance_scale", "seed", "output_format", "safety_identifier"}
)
_CANNOT: Final = frozenset(
    {"background", "moderation", "output_compression", "quality", "style"}
    | {"complexity", "frame_count", "frame_duration_ms", "svg"}
)
_PASSED: Final[Mapping[str, tuple[type, ...]]] = {
    "negative_prompt": (str,),
    "steps": (int,),
    "guidance_scale": (int, float),
    "seed": (int,),
}

router = APIRouter(tags=["models"])


@dataclass(frozen=True)
class _Wanted:
    model: str
    given: dict[str, Any]
    as_link: bool
    streamed: bool
    partial_max: int


@router.post(
    "/images/generations",
    summary="Draw a picture",
    openapi_extra=takes("ImageRequest"),
    responses=answers(200, "ImageList", 400, 402, 404, 413, *ENDINGS, stream=True),
)
async def create_image(request: Request, world: TheWorld, caller: Writing) -> Response:
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    wanted = _wanted(world, body)
    submission = submission_of(request, caller, wanted.model, wanted.given, interactive=True)
    if wanted.streamed:
        return await _stream(request, world, submission, wanted)
    result = await result_of(request, world, submission)
    if result is None:
        return Response(status_code=CLIENT_GONE)
    picture = picture_of(result.value)
    shown: dict[str, Any] = {"b64_json": picture.encoded}
    if wanted.as_link:
        shown = {"url": await _link(request, world, caller, result, picture)}
    if isinstance(result.value.get("seed"), int):
        shown["seed"] = result.value["seed"]
    answer: dict[str, Any] = {
        "created": int(result.asked.job.created_at.timestamp()),
        "data": [shown],
        "output_format": ending_of(picture.media_type),
        "size": size_text(result.value),
        "usage": usage_of(result.ending),
    }
    return JSONResponse(answer, headers=result.headers)


async def _stream(
    request: Request, world: World, submission: Submission, wanted: _Wanted
) -> Response:
    """No status is sent before the work has begun: until then an error has a status of its own."""
    asked = await ask(world, submission)
    reader = asked.reader
    try:
        async with Departure(request.receive):
            while reader.final is None and not _draws(reader):
                await reader.wait(WAIT_S)
            if reader.final is not None and reader.final.cause is not Cause.COMPLETED:
                raise JobEnded(reader.final)
            frames = ImageFrames(asked.job, reader, wanted.partial_max)
            headers = {"X-Archipelag-Job": asked.job.id}
            return RelayResponse(reader, frames, first=[], headers=headers)
    except BaseException:
        reader.close()
        raise
    reader.close()
    return Response(status_code=CLIENT_GONE)


def _draws(reader: Reader) -> bool:
    """Whether the Cargo has begun; that it is being started is no beginning yet."""
    return reader.note is not None and (reader.note.step > 0 or bool(reader.note.preview))


async def _link(
    request: Request, world: World, caller: Caller, result: Result, picture: Picture
) -> str:
    """The picture as one of the customer's files, and a link to it."""
    file = await _kept(world, caller, result, picture)
    expires_at = min(world.clock.now() + timedelta(seconds=world.policy.link_s), file.expires_at)
    links = request.app.state.settings.links
    assert isinstance(links, Links)
    base = str(request.base_url).rstrip("/")
    return f"{base}/api/v1{links.path(file.id, expires_at)}"


async def _kept(world: World, caller: Caller, result: Result, picture: Picture) -> File:
    name = f"{result.asked.job.id}.{ending_of(picture.media_type)}"
    owner, job_id = caller.user.id, result.asked.job.id
    for before in await files_of_job(world, owner, job_id):
        if before.name == name:
            return before  # The same request came before.
    job = (await read_job(world, owner, job_id)).job
    upload = await begin_upload(world, owner)
    try:
        await upload.write(picture.data)
        return await upload.finish(
            name=name,
            purpose=JOB_OUTPUT,
            kept_s=world.policy.result_kept_s,
            job_id=job.id,
            epoch=job.epoch,
        )
    except BaseException:
        await upload.give_up()
        raise


def _wanted(world: World, body: dict[str, Any]) -> _Wanted:
    """Raises InvalidInput, Unsupported, NotFound."""
    check_fields(body, _KNOWN, _CANNOT)
    cargo = model_of(world, body.get("model"), "image")
    if body.get("n") not in (None, 1):
        raise Unsupported("n", "n: one picture a request; send several requests instead")
    if body.get("output_format") not in (None, "png"):
        raise Unsupported("output_format", "output_format: only png is available")
    how = body.get("response_format")
    if how not in (None, "url", "b64_json"):
        raise InvalidInput({"response_format": ["must be url or b64_json"]})
    stream, partial = body.get("stream"), body.get("partial_images")
    if stream not in (None, True, False):
        raise InvalidInput({"stream": ["must be true or false"]})
    if partial not in (None, 0, 1, 2, 3) or isinstance(partial, bool):
        raise InvalidInput({"partial_images": ["must be 0 to 3"]})
    given: dict[str, Any] = {"prompt": text_of(body, "prompt", PROMPT_CHARS_MAX)}
    given |= _size(body.get("size"))
    for name, kinds in _PASSED.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise InvalidInput({name: ["must be text" if kinds == (str,) else "must be a number"]})
        given[name] = value
    return _Wanted(cargo.slug, given, how == "url", bool(stream), partial or 0)


def _size(value: Any) -> dict[str, int]:
    if value in (None, "auto"):
        return {}
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidInput({"size": ["must be auto, or like 512x512"]})
    return {"width": int(found[1]), "height": int(found[2])}
