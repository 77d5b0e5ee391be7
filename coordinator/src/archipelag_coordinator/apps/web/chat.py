"""Where people ask: the chat, the pictures and the playground. The pages bring the frame and what is to be known of the
Cargos; their scripts do the rest over the public API, as any program does."""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from archipelag_coordinator.apps.web.asking import signed_in, world_of
from archipelag_coordinator.apps.web.queries import count_in
from archipelag_coordinator.apps.web.render import page
from archipelag_coordinator.apps.web.words import credits_text
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.conversation import conversation_id
from archipelag_coordinator.domain.job import Job, JobFilter, JobStatus
from archipelag_coordinator.domain.placement import Wanted, first_refusal
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services import conversations, read
from archipelag_coordinator.services.one_look import one_look
from archipelag_coordinator.services.world import World

DRAWN_SHOWN: Final = 24
DRAWN_MAX: Final = 600
"""As far back as the gallery goes; the list of jobs has the rest."""
IDEAS: Final = (
    ("Explain", "How do islands form? Tell it in three short paragraphs."),
    ("Write", "Write a short letter to a friend about a rainy day at the sea."),
    ("Code", "Write a Python function that says whether a word is a palindrome."),
    ("List", "Give me five ideas for a dinner without an oven, as a list."),
)


async def get_chat(request: Request) -> Response:
    """A new conversation, or one that is kept. Raises NotFound for somebody else's."""
    visitor = await signed_in(request)
    world = world_of(request)
    given = request.path_params.get("id", "")
    if given:
        await conversations.read_conversation(world, visitor.user.id, conversation_id(given))
    account = await read.read_account(world, visitor.user)
    return page(
        request,
        "chat.html",
        at="chat",
        conversation=given,
        models=[
            {
                "name": cargo.model_name,
                "title": cargo.manifest.name,
                "tokens_max": cargo.manifest.limits.output_items_max,
                "tokens": min(
                    world.policy.output_items_default, cargo.manifest.limits.output_items_max
                ),
            }
            for cargo in _to_choose_from(world, "chat")
        ],
        ideas=IDEAS,
        available=account.available,
    )


async def get_images(request: Request) -> Response:
    await signed_in(request)
    painters = _to_choose_from(world_of(request), "image")
    return page(request, "images.html", at="images", painters=[_told(cargo) for cargo in painters])


async def get_drawn(request: Request) -> Response:
    """Of the newest pictures, what was asked for; each comes from its job's own address when it is looked at."""
    visitor = await signed_in(request)
    world = world_of(request)
    offset = count_in(request, "offset", DRAWN_MAX)
    end = offset + DRAWN_SHOWN
    found: list[Job] = []
    async with one_look(world) as seen:
        for cargo in _of_kind(world, "image"):
            only = JobFilter(frozenset({JobStatus.SUCCEEDED}), workload=cargo.slug)
            found += (
                await read.list_jobs(
                    seen, visitor.user.id, limit=end + 1, offset=0, only=only, outputs=False
                )
            )[0]
    found.sort(key=lambda job: (job.created_at, job.id), reverse=True)
    shown = [
        {"id": job.id, "workload": job.cargo_slug, "input": json.loads(job.input)}
        for job in found[offset:end]
    ]
    return JSONResponse({"pictures": shown, "more": len(found) > end and end < DRAWN_MAX})


async def get_playground(request: Request) -> Response:
    await signed_in(request)
    return page(
        request, "playground.html", at="playground", cargos=world_of(request).catalogue.cargos
    )


async def get_playground_of(request: Request) -> Response:
    """Raises NotFound."""
    await signed_in(request)
    world = world_of(request)
    slug = request.path_params["slug"]
    cargo = next((one for one in world.catalogue.cargos if one.slug == slug), None)
    if cargo is None:
        raise NotFound("workload", slug)
    return page(
        request,
        "playground_of.html",
        at="playground",
        cargo=cargo,
        told=_told(cargo),
        prices=_prices(cargo),
        base_url=world.public_url,
    )


def _of_kind(world: World, kind: str) -> list[Cargo]:
    return [cargo for cargo in world.catalogue.cargos if cargo.manifest.kind == kind]


def _to_choose_from(world: World, kind: str) -> list[Cargo]:
    """Those first that somebody can take now: the first is what a page asks unless it is told."""
    return sorted(_of_kind(world, kind), key=lambda one: not _taken_now(world, one))


def _taken_now(world: World, cargo: Cargo) -> bool:
    """Whether some Island could take a question for it at this moment."""
    wanted = Wanted(cargo.slug, cargo.digest, 0, 0, price=cargo.manifest.price)
    candidates = world.fleet.candidates(cargo.slug, cargo.digest)
    return any(first_refusal(wanted, island) is None for island in candidates)


def _prices(cargo: Cargo) -> list[str]:
    price = cargo.manifest.price
    parts = (
        (price.job_ucredits, "a job"),
        (price.prompt_token_ucredits, "a token read"),
        (price.output_item_ucredits, "a token made"),
    )
    told = [f"{credits_text(amount)} {what}" for amount, what in parts if amount]
    return [f"{told[0].replace(' ', ' credits ', 1)}", *told[1:]] if told else ["free"]


def _told(cargo: Cargo) -> dict[str, Any]:
    """What a script must know to make a form. A chat's is one for a single question, whatever else it takes."""
    manifest = cargo.manifest
    chats = manifest.kind == "chat"
    return {
        "slug": cargo.slug,
        "name": manifest.name,
        "kind": manifest.kind,
        "schema": _CHAT_SCHEMA if chats else manifest.input,
        "example": {} if chats else manifest.example,
    }


_CHAT_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "title": "Prompt", "format": "multiline", "maxLength": 32_768},
        "system_prompt": {
            "type": "string",
            "title": "System prompt",
            "description": "How it should answer.",
            "format": "multiline",
            "maxLength": 32_768,
        },
        "max_tokens": {
            "type": "integer",
            "title": "Tokens at most",
            "minimum": 1,
            "maximum": 1_000_000,
            "default": 256,
        },
        "temperature": {
            "type": "number",
            "title": "Temperature",
            "description": "0 is sober, 2 is wild.",
            "minimum": 0,
            "maximum": 2,
        },
        "seed": {
            "type": "integer",
            "title": "Seed",
            "description": "The same seed, the same answer.",
        },
    },
}

ROUTES: Final = (
    Route("/chat", get_chat),
    Route("/chat/{id}", get_chat),
    Route("/images", get_images),
    Route("/images/drawn", get_drawn),
    Route("/playground", get_playground),
    Route("/playground/{slug}", get_playground_of),
)
