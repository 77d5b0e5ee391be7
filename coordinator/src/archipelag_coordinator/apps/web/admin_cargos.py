"""Cargos to review: what the checks found, what each is made of, and a person's word on it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from archipelag_contracts.tiers import TIERS_OF_TRUST, TRUST_MAX
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web.asking import (
    Visitor,
    administering,
    looking_after,
    world_of,
)
from archipelag_coordinator.apps.web.forms import Form, read_form
from archipelag_coordinator.apps.web.queries import count_in, word_in
from archipelag_coordinator.apps.web.render import go, page
from archipelag_coordinator.domain.cargo import CargoStatus
from archipelag_coordinator.domain.review import CHECKS
from archipelag_coordinator.errors import Conflict, InvalidInput, NotFound
from archipelag_coordinator.services import review
from archipelag_coordinator.services.list_cargos import list_cargos
from archipelag_coordinator.services.made_of import read_with_sbom

LIMIT: Final = 50
OFFSET_MAX: Final = 100_000
PARTS_SHOWN: Final = 300
MANIFEST_SHOWN_MAX: Final = 100_000
REASON_LENGTH_MAX: Final = 2_000
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Part:
    """A component of a bill of materials, as it names itself."""

    name: str
    version: str
    license: str


async def get_cargos(request: Request) -> Response:
    await looking_after(request)
    status = word_in(request, "status", tuple(CargoStatus))
    offset = count_in(request, "offset", OFFSET_MAX)
    wanted = CargoStatus(status) if status else None
    found = await review.all_cargos(world_of(request), wanted, limit=LIMIT + 1, offset=offset)
    return page(
        request,
        "admin_cargos.html",
        at="admin-cargos",
        cargos=found[:LIMIT],
        more=len(found) > LIMIT,
        status=status,
        statuses=[("", "Any"), *((one.value, one.value) for one in CargoStatus)],
        offset=offset,
        limit=LIMIT,
    )


async def get_cargo(request: Request) -> Response:
    return await _shown(request, await looking_after(request))


async def get_sbom(request: Request) -> Response:
    """To be saved: its words are its publisher's."""
    visitor = await looking_after(request)
    cargo, sbom = await read_with_sbom(world_of(request), visitor.user, _number(request))
    if not sbom:
        raise NotFound("bill of materials of cargo", str(cargo.id))
    headers = {"Content-Disposition": f'attachment; filename="cargo-{cargo.id}-sbom.json"'}
    return Response(sbom, headers=headers, media_type="application/json")


async def post_approve(request: Request) -> Response:
    form = await read_form(request)
    visitor = await administering(request)
    try:
        trust = form.count("trust")
        if trust is None:
            raise InvalidInput({"trust": ["is required: 0 to 3"]})
        await review.approve(world_of(request), visitor.user, _number(request), trust)
    except (InvalidInput, Conflict) as error:
        return await _refused(request, visitor, error)
    return await _done(request, "listed", listing=True)


async def post_reject(request: Request) -> Response:
    form = await read_form(request)
    visitor = await administering(request)
    try:
        await review.reject(world_of(request), visitor.user, _number(request), _reason(form))
    except (InvalidInput, Conflict) as error:
        return await _refused(request, visitor, error)
    return await _done(request, "rejected", listing=False)


async def post_revoke(request: Request) -> Response:
    form = await read_form(request)
    visitor = await administering(request)
    try:
        await review.revoke(world_of(request), visitor.user, _number(request), _reason(form))
    except (InvalidInput, Conflict) as error:
        return await _refused(request, visitor, error)
    return await _done(request, "cargo-revoked", listing=True)


async def post_withdraw(request: Request) -> Response:
    await read_form(request)
    visitor = await administering(request)
    try:
        await review.withdraw(world_of(request), visitor.user, _number(request))
    except Conflict as error:
        return await _refused(request, visitor, error)
    return await _done(request, "withdrawn", listing=True)


def _reason(form: Form) -> str:
    return form.text("reason", REASON_LENGTH_MAX)


async def _done(request: Request, word: str, *, listing: bool) -> Response:
    if listing:
        await list_cargos(world_of(request))
    return go(f"/admin/cargos/{_number(request)}", word)


async def _refused(request: Request, visitor: Visitor, error: InvalidInput | Conflict) -> Response:
    errors = (
        [f"{name} {why}" for name, told in error.errors.items() for why in told]
        if isinstance(error, InvalidInput)
        else [str(error)]
    )
    return await _shown(request, visitor, errors=errors, status=422)


async def _shown(
    request: Request, visitor: Visitor, *, errors: list[str] | None = None, status: int = 200
) -> Response:
    cargo, sbom = await read_with_sbom(world_of(request), visitor.user, _number(request))
    known = {check.name: check for check in cargo.checks}
    parts = _parts(sbom)
    manifest = json.dumps(json.loads(cargo.manifest.canonical()), indent=2, ensure_ascii=False)
    return page(
        request,
        "admin_cargo.html",
        status_code=status,
        at="admin-cargos",
        cargo=cargo,
        checks=[(name, known.get(name)) for name in CHECKS],
        parts=parts[:PARTS_SHOWN],
        parts_count=len(parts),
        has_sbom=bool(sbom),
        manifest=manifest[:MANIFEST_SHOWN_MAX],
        trusts=[(level, f"{level}: {_tier_of(level)}") for level in range(TRUST_MAX + 1)],
        errors=errors or [],
    )


def _tier_of(level: int) -> str:
    return ", ".join(sorted(TIERS_OF_TRUST[level]))


def _parts(sbom: bytes) -> list[Part]:
    """CycloneDX's components or SPDX's packages, as far as they can be read: strangers wrote them."""
    try:
        whole = json.loads(sbom) if sbom else {}
    except (ValueError, RecursionError):
        return []
    listed = (whole.get("components") or whole.get("packages")) if isinstance(whole, dict) else None
    if not isinstance(listed, list):
        return []
    return [_part(one) for one in listed if isinstance(one, dict)]


def _part(one: dict[str, Any]) -> Part:
    version = one.get("version") or one.get("versionInfo") or ""
    told = one.get("licenses") or one.get("licenseConcluded") or ""
    if isinstance(told, list):
        inner = [e.get("license", e) for e in told if isinstance(e, dict)]
        words = [
            e.get("id") or e.get("name") or e.get("expression")
            for e in inner
            if isinstance(e, dict)
        ]
        told = ", ".join(str(word) for word in words if word)
    return Part(str(one.get("name", ""))[:200], str(version)[:100], str(told)[:200])


def _number(request: Request) -> int:
    """Raises NotFound for what cannot be a Cargo's number."""
    given = request.path_params["number"]
    if not _NUMBER.fullmatch(given):
        raise NotFound("cargo", given)
    return int(given)


ROUTES: Final = (
    Route("/admin/cargos", get_cargos),
    Route("/admin/cargos/{number}", get_cargo),
    Route("/admin/cargos/{number}/sbom", get_sbom),
    Route("/admin/cargos/{number}/approve", post_approve, methods=["POST"]),
    Route("/admin/cargos/{number}/reject", post_reject, methods=["POST"]),
    Route("/admin/cargos/{number}/revoke", post_revoke, methods=["POST"]),
    Route("/admin/cargos/{number}/withdraw", post_withdraw, methods=["POST"]),
)
