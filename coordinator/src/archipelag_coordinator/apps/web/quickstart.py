"""The first minutes: a key and a question, or a pairing code and a machine."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipelag_coordinator.apps.web.asking import Visitor, settings_of, signed_in, world_of
from archipelag_coordinator.apps.web.forms import read_form
from archipelag_coordinator.apps.web.render import page
from archipelag_coordinator.apps.web.samples import samples
from archipelag_coordinator.domain.island import PairingCode
from archipelag_coordinator.domain.user import ApiKey, Scope
from archipelag_coordinator.services import read
from archipelag_coordinator.services.keys import create_key, create_pairing_code

KEY_NAME: Final = "Quickstart"


async def get_quickstart(request: Request) -> Response:
    return await _shown(request, await signed_in(request))


async def post_key(request: Request) -> Response:
    """Shown in this answer and never again."""
    await read_form(request)
    visitor = await signed_in(request)
    _, secret = await create_key(
        world_of(request), visitor.user, name=KEY_NAME, scopes=[Scope.READ, Scope.WRITE]
    )
    return await _shown(request, visitor, secret=secret)


async def post_code(request: Request) -> Response:
    await read_form(request)
    visitor = await signed_in(request)
    code = await create_pairing_code(world_of(request), visitor.user)
    return await _shown(request, visitor, code=code)


async def _shown(
    request: Request, visitor: Visitor, *, secret: str = "", code: PairingCode | None = None
) -> Response:
    world = world_of(request)
    chat = next((c for c in world.catalogue.cargos if c.manifest.kind == "chat"), None)
    model = chat.model_name if chat else "MODEL"
    return page(
        request,
        "quickstart.html",
        at="quickstart",
        secret=secret,
        keys=_in_use(await read.list_keys(world, visitor.user.id), world.clock.now()),
        code=code,
        chat=chat,
        account=await read.read_account(world, visitor.user),
        samples=samples(world.public_url, secret or "ak_…", model),
        enrol_address=settings_of(request).enrol_address,
    )


def _in_use(keys: list[ApiKey], now: datetime) -> list[ApiKey]:
    """Those that a program can still sign in by, the newest first."""
    held = [
        k for k in keys if k.revoked_at is None and (k.expires_at is None or k.expires_at > now)
    ]
    return sorted(held, key=lambda key: key.created_at, reverse=True)


ROUTES: Final = (
    Route("/quickstart", get_quickstart),
    Route("/quickstart/key", post_key, methods=["POST"]),
    Route("/quickstart/pair", post_code, methods=["POST"]),
)
