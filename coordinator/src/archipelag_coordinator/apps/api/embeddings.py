"""OpenAI's embeddings: texts in, vectors out."""

from __future__ import annotations

import base64
import struct
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api.asking import submission_of
from archipelag_coordinator.apps.api.auth import TheWorld, Writing
from archipelag_coordinator.apps.api.body import read_object
from archipelag_coordinator.apps.api.errors import CLIENT_GONE, BadResult
from archipelag_coordinator.apps.api.openapi import ENDINGS, answers, takes
from archipelag_coordinator.apps.api.results import (
    check_fields,
    count_of,
    model_of,
    number,
    result_of,
)
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.errors import InvalidInput, Unsupported

TEXTS_MAX: Final = 2048
DIMENSIONS_MAX: Final = 16_384
_KNOWN: Final = frozenset({"model", "input", "encoding_format", "dimensions", "user"})

router = APIRouter(tags=["models"])


@router.post(
    "/embeddings",
    summary="Embed texts",
    openapi_extra=takes("EmbeddingRequest"),
    responses=answers(200, "EmbeddingList", 400, 402, 404, 413, *ENDINGS),
)
async def create_embeddings(request: Request, world: TheWorld, caller: Writing) -> Response:
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    check_fields(body, _KNOWN, frozenset())
    cargo = model_of(world, body.get("model"), "embeddings")
    packed = _packed(body.get("encoding_format"))
    given: dict[str, Any] = {"texts": _texts(body.get("input"))}
    if body.get("dimensions") is not None:
        given["dimensions"] = _dimensions(cargo, body["dimensions"])
    submission = submission_of(request, caller, cargo.slug, given, interactive=True)
    result = await result_of(request, world, submission)
    if result is None:
        return Response(status_code=CLIENT_GONE)
    vectors = vectors_of(result.value.get("embeddings"), len(given["texts"]))
    tokens = count_of(result.value.get("tokens"))
    usage = {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "credits_used": result.credits_used,
    }
    data = [
        {"object": "embedding", "index": index, "embedding": pack(one) if packed else one}
        for index, one in enumerate(vectors)
    ]
    answer = {"object": "list", "data": data, "model": cargo.model_name, "usage": usage}
    return JSONResponse(answer, headers=result.headers)


def pack(vector: list[float]) -> str:
    """As OpenAI packs them: 32-bit floats, little end first, in base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def vectors_of(value: Any, count: int) -> list[list[float]]:
    """One for each text, all of one length. Raises BadResult."""
    if not isinstance(value, list) or len(value) != count:
        raise BadResult(f"the Cargo did not answer with {count} vectors")
    length = len(value[0]) if isinstance(value[0], list) else 0
    if not 1 <= length <= DIMENSIONS_MAX:
        raise BadResult("a vector is no list of numbers")
    for one in value:
        if not isinstance(one, list) or len(one) != length:
            raise BadResult("the vectors are not of one length")
        for part in one:
            if abs(number(part, "a part of a vector")) > 3.4e38:
                raise BadResult("a part of a vector is too large")
    return value


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and texts and isinstance(texts[0], (int, list)):
        raise Unsupported("input", "input: send texts; tokens of another model mean nothing here")
    fits = isinstance(texts, list) and 1 <= len(texts) <= TEXTS_MAX
    if not fits or not all(isinstance(one, str) and one for one in texts):
        raise InvalidInput({"input": [f"must be text, or a list of 1 to {TEXTS_MAX} texts"]})
    return list(texts)


def _packed(value: Any) -> bool:
    if value not in (None, "float", "base64"):
        raise InvalidInput({"encoding_format": ["must be float or base64"]})
    return bool(value == "base64")


def _dimensions(cargo: Cargo, value: Any) -> int:
    if "dimensions" not in cargo.manifest.input.get("properties", {}):
        raise Unsupported("dimensions", "dimensions: this model has vectors of one length only")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= DIMENSIONS_MAX:
        raise InvalidInput({"dimensions": [f"must be 1 to {DIMENSIONS_MAX}"]})
    return value
