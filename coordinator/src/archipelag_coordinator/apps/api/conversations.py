"""Conversations: kept, listed, searched and exported, and asked in. A question makes a chat job that runs to its end
whatever becomes of the page that asked; who wants to read along follows that job's stream."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

from archipelag_contracts.units import to_credits
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi
from archipelag_coordinator.apps.api.asking import submission_of
from archipelag_coordinator.apps.api.auth import Caller, Reading, TheWorld, Writing
from archipelag_coordinator.apps.api.body import parse, read_bytes
from archipelag_coordinator.apps.api.errors import BadRequest
from archipelag_coordinator.apps.api.present import time_text
from archipelag_coordinator.domain.conversation import Conversation, Message, Said, conversation_id
from archipelag_coordinator.errors import CoordinatorError, InvalidInput, NotFound
from archipelag_coordinator.services import converse
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.conversations import (
    ConversationView,
    as_markdown,
    begin_conversation,
    change_conversation,
    delete_conversation,
    list_conversations,
    read_conversation,
)
from archipelag_coordinator.services.dispatch import dispatch_in_turn
from archipelag_coordinator.services.submit import submit
from archipelag_coordinator.services.world import World

OFFSET_MAX: Final = 10_000
SEARCH_CHARS_MAX: Final = 500
_SETTINGS: Final = frozenset({"title", "model", "parameters"})
_WISH: Final = frozenset({"content", "model", "parameters"})
NUMBER_MAX: Final = 999_999_999
_QUESTION: Final = _WISH | {"after"}

router = APIRouter(tags=["conversations"])


@router.post(
    "/conversations",
    summary="Begin a conversation",
    openapi_extra=openapi.takes("ConversationRequest"),
    responses=openapi.answers(201, "ConversationAnswer", 400, 413, 422),
)
async def create_conversation(request: Request, world: TheWorld, caller: Writing) -> Response:
    """With an `Idempotency-Key`, the same again is the same conversation."""
    body = await _body(request, _SETTINGS)
    key = submission_of(request, caller, "", {}, interactive=True).idempotency_key
    made = await begin_conversation(world, caller.user.id, key=key, **body)
    headers = {"Location": f"/api/v1/conversations/{made.id}"}
    return JSONResponse({"data": conversation_object(made)}, 201, headers)


@router.get(
    "/conversations",
    summary="List one's conversations, newest first",
    responses=openapi.answers(200, "ConversationList", 422),
)
async def get_conversations(
    world: TheWorld,
    caller: Reading,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX)] = 0,
    search: Annotated[str, Query(max_length=SEARCH_CHARS_MAX)] = "",
) -> Response:
    """`search`: only those whose title, or one of whose messages, has words that begin so."""
    found, total = await list_conversations(
        world, caller.user.id, limit=limit, offset=offset, search=search
    )
    return JSONResponse(
        {
            "data": [conversation_object(one) for one in found],
            "meta": {"total": total, "limit": limit, "offset": offset},
        }
    )


@router.get(
    "/conversations/{conversation}",
    summary="Read a conversation",
    responses=openapi.answers(200, "WholeConversation", 404, 422),
)
async def get_conversation(
    conversation: str,
    world: TheWorld,
    caller: Reading,
    through: Annotated[int | None, Query(ge=1, le=NUMBER_MAX)] = None,
) -> Response:
    """Its newest branch, or the newest one `through` the message of this number; `versions` of a message are the
    numbers of those that stand in the same place."""
    view = await read_conversation(world, caller.user.id, conversation_id(conversation))
    branch = view.branch if through is None else view.through(through)
    return JSONResponse({"data": _whole(view, branch)})


@router.get(
    "/conversations/{conversation}/export",
    summary="Take a conversation along",
    responses=openapi.answers(200, "WholeConversation", 404, 422, binary=True),
)
async def export_conversation(
    conversation: str,
    world: TheWorld,
    caller: Reading,
    format: Annotated[str, Query(json_schema_extra={"enum": ["json", "markdown"]})] = "json",  # noqa: A002
) -> Response:
    """`json` has all branches, `markdown` what is shown."""
    if format not in ("json", "markdown"):
        raise InvalidInput({"format": ["must be json or markdown"]})
    view = await read_conversation(world, caller.user.id, conversation_id(conversation))
    name = f"{view.conversation.id}.{'json' if format == 'json' else 'md'}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if format == "json":
        return JSONResponse({"data": _whole(view, view.messages)}, headers=headers)
    return Response(as_markdown(view), media_type="text/markdown; charset=utf-8", headers=headers)


@router.patch(
    "/conversations/{conversation}",
    summary="Rename a conversation, or choose its model and parameters",
    openapi_extra=openapi.takes("ConversationRequest"),
    responses=openapi.answers(200, "ConversationAnswer", 400, 404, 413, 422),
)
async def patch_conversation(
    request: Request, conversation: str, world: TheWorld, caller: Writing
) -> Response:
    body = await _body(request, _SETTINGS)
    known = conversation_id(conversation)
    changed = await change_conversation(world, caller.user.id, known, **body)
    return JSONResponse({"data": conversation_object(changed)})


@router.delete(
    "/conversations/{conversation}",
    summary="Delete a conversation with all its messages",
    responses=openapi.answers(200, "ConversationDeleted", 404),
)
async def remove_conversation(conversation: str, world: TheWorld, caller: Writing) -> Response:
    """An answer that is still being written is stopped."""
    known = conversation_id(conversation)
    for job in await delete_conversation(world, caller.user.id, known):
        await cancel(world, caller.user.id, job, "its conversation was deleted")
    return JSONResponse({"data": {"id": known, "deleted": True}})


@router.post(
    "/conversations/{conversation}/messages",
    summary="Ask in a conversation",
    openapi_extra=openapi.takes("QuestionRequest"),
    responses=openapi.answers(201, "Asked", 400, 402, 404, 409, 413, 422),
)
async def post_message(
    request: Request, conversation: str, world: TheWorld, caller: Writing
) -> Response:
    """What was said before goes along as far as it fits the model. Follow the answer at `/jobs/{job_id}/stream`."""
    wish = await _wish(request, caller, _QUESTION)
    known = conversation_id(conversation)
    asking = await converse.say(world, caller.user.id, known, wish)
    return await _sent(request, world, caller, asking)


@router.post(
    "/conversations/{conversation}/messages/{number}/edit",
    summary="Ask something else in a question's place",
    openapi_extra=openapi.takes("EditRequest"),
    responses=openapi.answers(201, "Asked", 400, 402, 404, 409, 413, 422),
)
async def edit_message(
    request: Request, conversation: str, number: str, world: TheWorld, caller: Writing
) -> Response:
    """Begins another branch; the old one is kept, and the newest is shown."""
    wish = await _wish(request, caller, _WISH)
    known = conversation_id(conversation)
    asking = await converse.edit(world, caller.user.id, known, _number(number), wish)
    return await _sent(request, world, caller, asking)


@router.post(
    "/conversations/{conversation}/messages/{number}/regenerate",
    summary="Get another answer to the same question",
    openapi_extra=openapi.takes("AgainRequest", required=False),
    responses=openapi.answers(201, "Asked", 400, 402, 404, 409, 413, 422),
)
async def regenerate_message(
    request: Request, conversation: str, number: str, world: TheWorld, caller: Writing
) -> Response:
    """`number` is that of the answer, or of its question."""
    wish = await _wish(request, caller, _WISH - {"content"}, again=True)
    known = conversation_id(conversation)
    asking = await converse.regenerate(world, caller.user.id, known, _number(number), wish)
    return await _sent(request, world, caller, asking)


async def _sent(
    request: Request, world: World, caller: Caller, asking: converse.Asking
) -> Response:
    """The job of this answer, made once; refused, nothing was asked."""
    if asking.answer.job_id is None:
        where = f"{asking.conversation.id}/{asking.answer.number}"
        model = asking.conversation.model
        submission = replace(
            submission_of(request, caller, model, asking.request, interactive=True),
            # One answer has one job, whoever asks for it how often.
            idempotency_key=where,
            request_hash=hashlib.sha256(where.encode()).digest(),
            retry=False,
            goes_on_unread=True,
        )
        try:
            submitted = await submit(world, submission)
        except CoordinatorError:
            await converse.take_back(world, asking)
            raise
        asking = await converse.send(world, asking, submitted.job.id)
        if submitted.fresh:
            await dispatch_in_turn(world, submitted.job)
    shown = {
        "conversation": conversation_object(asking.conversation),
        "message": message_object(asking.question),
        "answer": message_object(asking.answer),
    }
    assert asking.answer.job_id is not None
    return JSONResponse({"data": shown}, 201, {"X-Archipelag-Job": asking.answer.job_id})


def conversation_object(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "title": conversation.title,
        "model": conversation.model or None,
        "parameters": dict(conversation.parameters),
        "created_at": time_text(conversation.created_at),
        "updated_at": time_text(conversation.updated_at),
    }


def message_object(message: Message) -> dict[str, Any]:
    """`figures` only of an answer that has ended."""
    shown: dict[str, Any] = {
        "number": message.number,
        "parent": message.parent or None,
        "role": message.said.value,
        "content": message.text,
        "status": message.status.value,
        "created_at": time_text(message.created_at),
    }
    if message.said is Said.ASSISTANT:
        shown |= {"job_id": message.job_id, "model": message.model, "error": message.error or None}
        ended = message.status != "writing"
        shown["figures"] = _figures(message) if ended else None
    return shown


def _figures(message: Message) -> dict[str, Any]:
    figures = message.figures
    return {
        "island": figures.island or None,
        "first_token_ms": figures.first_token_ms,
        "tokens": figures.tokens,
        "tokens_per_s": figures.tokens_per_s,
        "credits_used": to_credits(figures.charged),
        "attempts": figures.attempts,
        "finish_reason": figures.finish_reason or None,
    }


def _whole(view: ConversationView, messages: Sequence[Message]) -> dict[str, Any]:
    versions: dict[tuple[int, str], list[int]] = {}
    for message in view.messages:
        versions.setdefault((message.parent, message.said), []).append(message.number)
    return conversation_object(view.conversation) | {
        "messages": [
            message_object(one) | {"versions": versions[one.parent, one.said]} for one in messages
        ]
    }


async def _body(
    request: Request, known: frozenset[str], *, may_be_empty: bool = False
) -> Mapping[str, Any]:
    raw = await read_bytes(request, request.app.state.settings.body_bytes_max)
    body = parse(raw) if raw or not may_be_empty else {}
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    if unknown := sorted(body.keys() - known):
        raise InvalidInput({name[:64]: ["is not a known field"] for name in unknown})
    return body


async def _wish(
    request: Request, caller: Caller, fields: frozenset[str], *, again: bool = False
) -> converse.Wish:
    body = await _body(request, fields, may_be_empty=again)
    key = submission_of(request, caller, "", {}, interactive=True).idempotency_key
    return converse.Wish(
        content=None if again else body.get("content"),
        model=body.get("model"),
        parameters=body.get("parameters"),
        key=key,
        after=body.get("after"),
    )


def _number(text: str) -> int:
    """Raises NotFound for what cannot be a message's number."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise NotFound("message", text)
    return int(text)
