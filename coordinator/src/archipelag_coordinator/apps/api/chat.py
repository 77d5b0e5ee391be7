"""OpenAI's chat completions, streamed and whole: who is it, what do they want, submit, dispatch, stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from archipelag_contracts.units import to_credits
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api.asking import Asked, ask, last_event_id, submission_of
from archipelag_coordinator.apps.api.auth import TheWorld, Writing
from archipelag_coordinator.apps.api.body import read_object
from archipelag_coordinator.apps.api.errors import CLIENT_GONE, JobEnded
from archipelag_coordinator.apps.api.openapi import ENDINGS, answers, takes
from archipelag_coordinator.apps.api.relay_response import Departure, RelayResponse
from archipelag_coordinator.apps.api.sse import ChatFrames, finish_reason_of, usage_of
from archipelag_coordinator.domain.answer import Ending
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.errors import InvalidInput
from archipelag_coordinator.services.watch import note_reader
from archipelag_coordinator.services.world import World

WAIT_S: Final = 15.0

router = APIRouter(tags=["chat"])


@router.post(
    "/chat/completions",
    summary="Answer a chat",
    openapi_extra=takes("ChatRequest"),
    responses=answers(200, "ChatCompletion", 400, 402, 404, 413, *ENDINGS, stream=True),
)
async def create_chat_completion(request: Request, world: TheWorld, caller: Writing) -> Response:
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    model, streamed, include_usage = _delivery(body)
    after = last_event_id(request) if streamed else 0
    submission = submission_of(request, caller, model, body, interactive=True)
    asked = await ask(world, replace(submission, continues=after > 0))
    try:
        async with Departure(request.receive):
            if streamed:
                return await _stream(world, asked, after, include_usage=include_usage)
            return await _whole(world, asked)
    except BaseException:
        asked.reader.close()
        raise
    asked.reader.close()
    return Response(status_code=CLIENT_GONE)


async def _stream(world: World, asked: Asked, after: int, *, include_usage: bool) -> Response:
    """No status is sent before there is something to say: until then an error has a status of its own.

    `after`: the reader has everything before this position, of the same request that it sent before.
    """
    reader = asked.reader
    reader.seek(after)
    first: list[str] = []
    while not first and reader.final is None:
        await reader.wait(WAIT_S)
        if reader.final is None:
            first = reader.take()
    if reader.final is not None:
        _check(reader.final)
    elif not asked.cargo.manifest.resumable:
        await note_reader(world, asked.job.id)
    common = _common(asked, "chat.completion.chunk")
    return RelayResponse(
        reader,
        ChatFrames(common, include_usage=include_usage, opened=after > 0),
        first=first or reader.take(),
        headers=_headers(world, asked),
    )


async def _whole(world: World, asked: Asked) -> Response:
    """Nothing is taken before the end, so that another Island may begin anew for as long as possible."""
    reader = asked.reader
    ending = await reader.wait_final()
    _check(ending)
    text = "".join(reader.take())
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason_of(ending),
    }
    answer = _common(asked, "chat.completion") | {
        "choices": [choice],
        "usage": usage_of(ending, to_credits(ending.charged)),
    }
    response = JSONResponse(answer, headers=_headers(world, asked))
    reader.delivered()
    reader.close()
    return response


def _check(ending: Ending) -> None:
    if ending.cause is not Cause.COMPLETED:
        raise JobEnded(ending)


def _common(asked: Asked, shape: str) -> dict[str, Any]:
    job = asked.job
    return {
        "id": f"chatcmpl-{job.id.removeprefix('job_')}",
        "object": shape,
        "created": int(job.created_at.timestamp()),
        "model": asked.cargo.model_name,
        "system_fingerprint": f"fp_{job.cargo_digest.removeprefix('sha256:')[:12]}",
    }


def _headers(world: World, asked: Asked) -> dict[str, str]:
    headers: dict[str, str] = {"X-Archipelag-Job": asked.job.id}
    island = asked.reader.island_id
    known = world.fleet.get(island) if island is not None else None
    if known is not None:
        headers["X-Archipelag-Island"] = header_text(known.name)
    return headers


def header_text(name: str) -> str:
    """A name that its owner chose, without what does not belong into a header."""
    return "".join(c if " " <= c <= "~" else "?" for c in name)[:100]


def _delivery(body: dict[str, Any]) -> tuple[str, bool, bool]:
    """Model, whether to stream, whether the stream ends with usage. Raises InvalidInput."""
    errors: dict[str, list[str]] = {}
    model = body.get("model")
    if not isinstance(model, str) or not model:
        errors["model"] = ["is required: the name of a model, see /v1/models"]
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        errors["stream"] = ["must be true or false"]
    options = body.get("stream_options")
    include_usage = options.get("include_usage") if isinstance(options, dict) else None
    if options is not None and not isinstance(options, dict):
        errors["stream_options"] = ["must be an object"]
    if include_usage is not None and not isinstance(include_usage, bool):
        errors["stream_options.include_usage"] = ["must be true or false"]
    if errors:
        raise InvalidInput(errors)
    assert isinstance(model, str)
    return model, bool(stream), bool(include_usage)
