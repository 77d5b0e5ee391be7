"""People and their roles, credit that is given to them, and the log of what administrators did."""

from __future__ import annotations

import re
from typing import Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import UserId
from archipelag_contracts.units import UCREDITS_PER_CREDIT
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web.asking import administering, looking_after, world_of
from archipelag_coordinator.apps.web.forms import Form, read_form
from archipelag_coordinator.apps.web.queries import count_in, text_in
from archipelag_coordinator.apps.web.render import go, page
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.errors import Conflict, InvalidInput, NotFound
from archipelag_coordinator.services import people
from archipelag_coordinator.services.audit import check_audit, read_audit
from archipelag_coordinator.services.grant import grant_credit

LIMIT: Final = 50
OFFSET_MAX: Final = 1_000_000
GRANT_CREDITS_MAX: Final = 1_000_000_000
_CAUSE: Final = re.compile(r"[\x20-\x7e]{1,100}")


async def get_people(request: Request) -> Response:
    await looking_after(request)
    return await _shown(request)


async def post_role(request: Request) -> Response:
    form = await read_form(request)
    visitor = await administering(request)
    role = form.text("role")
    try:
        if role not in tuple(Role):
            raise InvalidInput({"role": [f"must be one of {', '.join(Role)}"]})
        await people.set_role(world_of(request), visitor.user.id, _known(request), Role(role))
    except (InvalidInput, Conflict) as error:
        return await _shown(request, errors=_told(error))
    return go(_back(form), "role")


async def post_suspend(request: Request) -> Response:
    form = await read_form(request)
    visitor = await administering(request)
    try:
        await people.suspend_user(world_of(request), visitor.user.id, _known(request))
    except Conflict as error:
        return await _shown(request, errors=_told(error))
    return go(_back(form), "user-suspended")


async def post_restore(request: Request) -> Response:
    form = await read_form(request)
    visitor = await administering(request)
    await people.restore_user(world_of(request), visitor.user.id, _known(request))
    return go(_back(form), "user-restored")


async def post_grant(request: Request) -> Response:
    form = await read_form(request)
    visitor = await administering(request)
    try:
        amount, cause = form.credits("credits"), form.text("cause")
        if amount is None or not 0 < amount <= GRANT_CREDITS_MAX * UCREDITS_PER_CREDIT:
            raise InvalidInput({"credits": [f"must be more than 0, at most {GRANT_CREDITS_MAX}"]})
        if not _CAUSE.fullmatch(cause):
            raise InvalidInput({"cause": ["must be 1 to 100 plain characters"]})
        world = world_of(request)
        *_, posted = await grant_credit(world, visitor.user.id, _known(request), amount, cause)
    except (InvalidInput, Conflict) as error:
        return await _shown(request, errors=_told(error))
    return go(_back(form), "granted" if posted else "granted-before")


async def get_audit(request: Request) -> Response:
    await looking_after(request)
    return await _log(request)


async def post_audit_check(request: Request) -> Response:
    """By a button, since it reads every entry."""
    await read_form(request)
    await looking_after(request)
    return await _log(request, checked=await check_audit(world_of(request)))


async def _shown(request: Request, *, errors: list[str] | None = None) -> Response:
    search, offset = text_in(request, "search"), count_in(request, "offset", OFFSET_MAX)
    found, total = await people.list_users(
        world_of(request), limit=LIMIT, offset=offset, search=search
    )
    return page(
        request,
        "admin_people.html",
        status_code=422 if errors else 200,
        at="admin-people",
        people=found,
        total=total,
        offset=offset,
        limit=LIMIT,
        search=search,
        roles=[(role.value, role.value) for role in Role],
        errors=errors or [],
    )


async def _log(request: Request, **more: Any) -> Response:
    before = count_in(request, "before", 2**53) or None
    entries = await read_audit(world_of(request), limit=LIMIT, before=before)
    return page(
        request,
        "admin_audit.html",
        at="admin-audit",
        entries=entries,
        limit=LIMIT,
        before=before,
        **({"checked": None} | more),
    )


def _told(error: InvalidInput | Conflict) -> list[str]:
    if isinstance(error, InvalidInput):
        return [f"{name} {why}" for name, told in error.errors.items() for why in told]
    return [str(error)]


def _back(form: Form) -> str:
    """To the same search; an id or an address, and nothing that could be a path."""
    search = re.sub(r"[^0-9A-Za-z@._+-]", "", form.values.get("search", ""))[:100]
    return f"/admin/people?search={search}"


def _known(request: Request) -> UserId:
    """Raises NotFound for what cannot be a user's id."""
    given = request.path_params["id"]
    try:
        return ids.user_id(given)
    except BadId:
        raise NotFound("user", given) from None


ROUTES: Final = (
    Route("/admin/people", get_people),
    Route("/admin/people/{id}/role", post_role, methods=["POST"]),
    Route("/admin/people/{id}/suspend", post_suspend, methods=["POST"]),
    Route("/admin/people/{id}/restore", post_restore, methods=["POST"]),
    Route("/admin/people/{id}/grant", post_grant, methods=["POST"]),
    Route("/admin/audit", get_audit),
    Route("/admin/audit/check", post_audit_check, methods=["POST"]),
)
