"""Files in OpenAI's shape: uploaded, listed, read, downloaded, deleted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import FileId
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi
from archipelag_coordinator.apps.api.asking import idempotency_key
from archipelag_coordinator.apps.api.auth import Reading, TheWorld, Writing
from archipelag_coordinator.apps.api.content import content_response
from archipelag_coordinator.apps.api.form import Form
from archipelag_coordinator.apps.api.links import Links
from archipelag_coordinator.domain.file import JOB_OUTPUT, PURPOSES, File, check_purpose
from archipelag_coordinator.errors import InvalidInput, NotFound
from archipelag_coordinator.services import files
from archipelag_coordinator.services.upload import Upload, upload
from archipelag_coordinator.services.world import World

KEPT_MIN_S: Final = 3600
LIMIT_MAX: Final = 1000

router = APIRouter(tags=["files"])
links = APIRouter(tags=["files"])


@dataclass(frozen=True)
class Sent:
    """A form that has come whole: its file is in the store, and not yet written down."""

    upload: Upload
    name: str
    media_type: str
    fields: dict[str, str]


async def receive(world: World, caller_id: ids.UserId, request: Request) -> Sent:
    """Raises BadRequest, InvalidInput, TooLarge, TooSlow, StorageExceeded."""
    form = Form(request)
    begun = await upload(world, caller_id, form.file())
    assert form.head is not None
    return Sent(begun, form.head.name, form.head.media_type, form.fields)


@router.post(
    "/files",
    summary="Upload a file",
    openapi_extra=openapi.takes_form("FileRequest"),
    responses=openapi.answers(200, "File", 400, 409, 413, 422),
)
async def create_file(request: Request, world: TheWorld, caller: Writing) -> Response:
    """A form with `file` and `purpose`. It is kept for 30 days, or as long as `expires_after` says."""
    file_id = _file_id(caller.user.id, idempotency_key(request))
    sent = await receive(world, caller.user.id, request)
    try:
        purpose, kept_s = _wanted(sent.fields, world.policy.file_kept_s)
        file = await sent.upload.finish(
            name=sent.name,
            purpose=purpose,
            kept_s=kept_s,
            claimed=sent.media_type,
            file_id=file_id,
        )
    except BaseException:
        await sent.upload.give_up()
        raise
    return JSONResponse(file_object(file))


@router.get(
    "/files", summary="List one's files", responses=openapi.answers(200, "FileList", 404, 422)
)
async def get_files(
    world: TheWorld,
    caller: Reading,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 100,
    after: str | None = None,
    purpose: Annotated[
        str | None, Query(json_schema_extra={"enum": [*PURPOSES, JOB_OUTPUT]})
    ] = None,
    order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
) -> Response:
    """Newest first; `after` is the last file that was seen."""
    found, more = await files.list_files(
        world,
        caller.user.id,
        limit=limit,
        after=None if after is None else known(after),
        purpose=purpose,
        oldest_first=order == "asc",
    )
    shown = [file_object(file) for file in found]
    return JSONResponse(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": more,
        }
    )


@router.get(
    "/files/{file_id}", summary="Read about a file", responses=openapi.answers(200, "File", 404)
)
async def get_file(file_id: str, world: TheWorld, caller: Reading) -> Response:
    return JSONResponse(file_object(await files.find_file(world, caller.user.id, known(file_id))))


@router.get(
    "/files/{file_id}/content",
    summary="Download a file",
    responses=openapi.answers(200, None, 404, 410, 416, binary=True),
)
async def get_content(file_id: str, request: Request, world: TheWorld, caller: Reading) -> Response:
    """Whole, or the `Range` that was asked for; always as something to be saved."""
    file = await files.find_file(world, caller.user.id, known(file_id))
    return await content_response(world, file, request)


@router.delete(
    "/files/{file_id}",
    summary="Delete a file",
    responses=openapi.answers(200, "FileDeleted", 404),
)
async def delete_file(file_id: str, world: TheWorld, caller: Writing) -> Response:
    """A job that reads it goes on reading it."""
    file = known(file_id)
    await files.delete_file(world, caller.user.id, file)
    return JSONResponse({"id": file, "object": "file", "deleted": True})


@links.get(
    "/links/{file_id}/{until}/{signature}",
    summary="Download by a link that was signed",
    openapi_extra=openapi.OPEN,
    responses=openapi.answers(200, None, 404, 410, 416, binary=True),
)
async def get_linked(
    file_id: str, until: int, signature: str, request: Request, world: TheWorld
) -> Response:
    file, made = known(file_id), request.app.state.settings.links
    assert isinstance(made, Links)
    made.check(file, until, signature, world.clock.now())
    return await content_response(world, await files.linked_file(world, file), request)


def _file_id(owner: ids.UserId, key: str | None) -> FileId | None:
    """The same for the same Idempotency-Key of the same customer, so that an upload sent again is one file."""
    if key is None:
        return None
    return ids.file_id("file_" + sha256(f"{owner} {key}".encode()).hexdigest()[:32])


def known(file_id: str) -> FileId:
    """Raises NotFound for what cannot be a file's id."""
    try:
        return ids.file_id(file_id)
    except BadId:
        raise NotFound("file", file_id) from None


def file_object(file: File) -> dict[str, Any]:
    """OpenAI's, with what else there is to know."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": int(file.expires_at.timestamp()),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "media_type": file.media_type,
        "sha256": file.sha256,
        "job_id": file.job_id,
    }


def _wanted(fields: dict[str, str], kept_s: float) -> tuple[str, float]:
    """Purpose, and for how long. Raises InvalidInput."""
    known_fields = {"purpose", "expires_after[anchor]", "expires_after[seconds]"}
    unknown = sorted(fields.keys() - known_fields)
    if unknown:
        raise InvalidInput({name[:64]: ["is not a known field"] for name in unknown})
    purpose = check_purpose(fields.get("purpose", ""))
    if fields.get("expires_after[anchor]", "created_at") != "created_at":
        raise InvalidInput({"expires_after[anchor]": ["must be created_at"]})
    seconds = fields.get("expires_after[seconds]")
    if seconds is None:
        return purpose, kept_s
    if not re.fullmatch(r"[0-9]{1,9}", seconds) or not KEPT_MIN_S <= int(seconds) <= kept_s:
        told = f"must be {KEPT_MIN_S} to {round(kept_s)}"
        raise InvalidInput({"expires_after[seconds]": [told]})
    return purpose, float(seconds)
