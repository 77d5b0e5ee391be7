"""A publisher's doors: Cargos submitted, followed and withdrawn; and an administrator's, who decides on them."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi, present
from archipelag_coordinator.apps.api.auth import Administering, Reading, TheWorld, Writing
from archipelag_coordinator.apps.api.body import read_object
from archipelag_coordinator.domain.cargo import CargoStatus
from archipelag_coordinator.domain.review import CHECKS, SAID_MAX, Check
from archipelag_coordinator.errors import InvalidInput, NotFound
from archipelag_coordinator.services import review
from archipelag_coordinator.services.list_cargos import list_cargos
from archipelag_coordinator.services.publish import Submitted, submit_cargo

OFFSET_MAX: Final = 1_000_000
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_BASE64: Final = ("manifest", "payload", "signature")

Limit = Annotated[int, Query(ge=1, le=100)]
Offset = Annotated[int, Query(ge=0, le=OFFSET_MAX)]

router = APIRouter(tags=["publishing"])


@router.post(
    "/cargos",
    summary="Submit a Cargo to be listed",
    openapi_extra=openapi.takes("CargoRequest"),
    responses=openapi.answers(201, "CargoAnswer", 400, 409, 413, 422),
)
async def post_cargo(request: Request, world: TheWorld, caller: Writing) -> Response:
    """Signed by its publisher in cosign's form. The same manifest again is the same submission: 200."""
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    cargo, fresh = await submit_cargo(world, caller.user, caller.key, _submitted(body))
    headers = {"Location": f"/api/v1/cargos/{cargo.id}"}
    shown = {"data": present.submission_object(cargo)}
    return JSONResponse(shown, 201 if fresh else 200, headers)


@router.get(
    "/cargos",
    summary="List one's submissions, newest first",
    responses=openapi.answers(200, "CargoList"),
)
async def get_cargos(
    world: TheWorld, caller: Reading, limit: Limit = 20, offset: Offset = 0
) -> Response:
    found = await review.cargos_of(world, caller.user.id, limit=limit, offset=offset)
    return JSONResponse({"data": [present.submission_object(cargo) for cargo in found]})


@router.get(
    "/cargos/{cargo_id}",
    summary="Read a submission: where it stands, and why",
    responses=openapi.answers(200, "CargoAnswer", 404),
)
async def get_cargo(cargo_id: str, world: TheWorld, caller: Reading) -> Response:
    cargo = await review.read_cargo(world, caller.user, _number(cargo_id))
    return JSONResponse({"data": present.submission_object(cargo)})


@router.delete(
    "/cargos/{cargo_id}",
    summary="Withdraw a Cargo",
    responses=openapi.answers(200, "CargoAnswer", 404, 409),
)
async def delete_cargo(cargo_id: str, world: TheWorld, caller: Writing) -> Response:
    """No longer offered; jobs that wait fail and cost nothing, those that run may finish."""
    cargo = await review.withdraw(world, caller.user, _number(cargo_id))
    await list_cargos(world)
    return JSONResponse({"data": present.submission_object(cargo)})


@router.get(
    "/admin/cargos",
    summary="List Cargos of every publisher, newest first",
    responses=openapi.answers(200, "CargoList"),
    tags=["admin"],
)
async def get_all_cargos(
    world: TheWorld,
    caller: Administering,  # noqa: ARG001
    limit: Limit = 20,
    offset: Offset = 0,
    status: Annotated[
        str | None, Query(json_schema_extra={"enum": [one.value for one in CargoStatus]})
    ] = None,
) -> Response:
    if status is not None and status not in [one.value for one in CargoStatus]:
        raise InvalidInput({"status": [f"must be one of {', '.join(CargoStatus)}"]})
    wanted = None if status is None else CargoStatus(status)
    found = await review.all_cargos(world, wanted, limit=limit, offset=offset)
    return JSONResponse({"data": [present.submission_object(cargo) for cargo in found]})


@router.post(
    "/admin/cargos/{cargo_id}/checks",
    summary="Note what was found out about a Cargo",
    openapi_extra=openapi.takes("ChecksRequest"),
    responses=openapi.answers(200, "CargoAnswer", 400, 404, 409, 413, 422),
    tags=["admin"],
)
async def post_checks(
    cargo_id: str,
    request: Request,
    world: TheWorld,
    caller: Administering,
) -> Response:
    """With every check passed it waits for a person. `sbom` is kept as it comes."""
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    checks, sbom = _checks(body)
    cargo = await review.take_checks(world, caller.user.id, _number(cargo_id), checks, sbom)
    return JSONResponse({"data": present.submission_object(cargo)})


@router.post(
    "/admin/cargos/{cargo_id}/approve",
    summary="List a Cargo with a trust level",
    openapi_extra=openapi.takes("ApproveRequest"),
    responses=openapi.answers(200, "CargoAnswer", 400, 404, 409, 413, 422),
    tags=["admin"],
)
async def approve(
    cargo_id: str, request: Request, world: TheWorld, caller: Administering
) -> Response:
    """The level decides the tier: 0 restricted, 1 and 2 standard at most, 3 elevated."""
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    errors = _unknown(body, {"trust"})
    trust = body.get("trust")
    if isinstance(trust, bool) or not isinstance(trust, int):
        errors["trust"] = ["is required: 0 to 3"]
    if errors:
        raise InvalidInput(errors)
    assert isinstance(trust, int)
    cargo = await review.approve(world, caller.user, _number(cargo_id), trust)
    await list_cargos(world)
    return JSONResponse({"data": present.submission_object(cargo)})


@router.post(
    "/admin/cargos/{cargo_id}/reject",
    summary="Turn a Cargo away",
    openapi_extra=openapi.takes("ReasonRequest"),
    responses=openapi.answers(200, "CargoAnswer", 400, 404, 409, 413, 422),
    tags=["admin"],
)
async def reject(
    cargo_id: str, request: Request, world: TheWorld, caller: Administering
) -> Response:
    """For good; its publisher reads the reason and may submit another version."""
    reason = await _reason(request)
    cargo = await review.reject(world, caller.user, _number(cargo_id), reason)
    return JSONResponse({"data": present.submission_object(cargo)})


@router.post(
    "/admin/cargos/{cargo_id}/revoke",
    summary="Stop a Cargo everywhere, for good",
    openapi_extra=openapi.takes("ReasonRequest"),
    responses=openapi.answers(200, "CargoAnswer", 400, 404, 409, 413, 422),
    tags=["admin"],
)
async def revoke(
    cargo_id: str, request: Request, world: TheWorld, caller: Administering
) -> Response:
    """Islands end it within seconds; its jobs fail and cost nothing."""
    reason = await _reason(request)
    cargo = await review.revoke(world, caller.user, _number(cargo_id), reason)
    await list_cargos(world)
    return JSONResponse({"data": present.submission_object(cargo)})


def _number(text: str) -> int:
    """Raises NotFound for what cannot be a Cargo's number."""
    if not _NUMBER.fullmatch(text):
        raise NotFound("cargo", text)
    return int(text)


def _unknown(body: Mapping[str, Any], known: set[str]) -> dict[str, list[str]]:
    return {name[:64]: ["is not a known field"] for name in sorted(body.keys() - known)}


def _submitted(body: dict[str, Any]) -> Submitted:
    """Raises InvalidInput with every problem."""
    errors = _unknown(body, {"reference", "public_key", *_BASE64})
    for name in ("reference", "public_key", *_BASE64):
        if not isinstance(body.get(name), str) or not body[name]:
            errors[name] = ["is required: text"]
    decoded: dict[str, bytes] = {}
    for name in _BASE64:
        if name not in errors:
            try:
                decoded[name] = base64.b64decode(body[name], validate=True)
            except (binascii.Error, ValueError):
                errors[name] = ["must be base64"]
    if errors:
        raise InvalidInput(errors)
    return Submitted(reference=body["reference"], public_key=body["public_key"].encode(), **decoded)


def _checks(body: dict[str, Any]) -> tuple[list[Check], bytes]:
    """Raises InvalidInput with every problem."""
    errors = _unknown(body, {"checks", "sbom"})
    told, sbom = body.get("checks"), body.get("sbom")
    checks: list[Check] = []
    if not isinstance(told, list) or not 0 < len(told) <= len(CHECKS):
        errors["checks"] = [f"is required: a list of at most {len(CHECKS)}"]
    else:
        for index, one in enumerate(told):
            check = _check(one)
            if check is None:
                errors[f"checks.{index}"] = [
                    f"must have a name of {', '.join(CHECKS)} and `passed`"
                ]
            else:
                checks.append(check)
    if sbom is not None and not isinstance(sbom, dict):
        errors["sbom"] = ["must be an object: CycloneDX or SPDX as JSON"]
    if errors:
        raise InvalidInput(errors)
    kept = b"" if sbom is None else json.dumps(sbom, separators=(",", ":")).encode()
    return checks, kept


def _check(told: Any) -> Check | None:
    if not isinstance(told, dict) or told.keys() - {"name", "passed", "said"}:
        return None
    name, passed, said = told.get("name"), told.get("passed"), told.get("said", "")
    if name not in CHECKS or not isinstance(passed, bool) or not isinstance(said, str):
        return None
    return Check(name, passed, " ".join(said.split())[:SAID_MAX])


async def _reason(request: Request) -> str:
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    errors = _unknown(body, {"reason"})
    reason = body.get("reason")
    if not isinstance(reason, str):
        errors["reason"] = ["is required: text"]
    if errors:
        raise InvalidInput(errors)
    assert isinstance(reason, str)
    return reason
