"""The API's description in OpenAPI 3.1: what FastAPI finds in the routes, with our shapes and our words."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from archipelag_coordinator.apps.api.shapes import SHAPES
from archipelag_coordinator.apps.cookies import COOKIE

OPEN: Final[dict[str, Any]] = {"security": []}
"""For routes that need no key."""

DESCRIPTION: Final = """\
An open compute network. Send work as jobs; Islands all over the network run it.

The OpenAI-shaped routes also answer under `/v1`: an OpenAI client needs only this base URL and a key. Every error has
one shape, with a stable `code`. Credits are decimal text; 1 credit is worth about one US cent.
"""

_MEANINGS: Final = {
    200: "Done",
    201: "Made",
    206: "A part, as Range asked for",
    304: "As you have it, by If-None-Match",
    400: "Not readable, or not possible with this model",
    401: "No API key, or one that does not hold",
    402: "Not enough credits: `required`, `available`",
    403: "The key lacks a scope, or the person a role",
    404: "No such thing, or not yours",
    408: "The body did not come in time; the connection is closed",
    409: "In conflict with what stands",
    410: "Its content was lost, upload it again; or its Cargo is no longer offered",
    413: "Too large",
    416: "The range lies outside of the file",
    422: "Not valid; `errors` names the fields",
    429: "Too many requests; see Retry-After",
    502: "The Cargo failed, or answered something else than it should; another try gives the same",
    503: "Nobody can take it now; see `reasons` and Retry-After",
    504: "The job did not end within its time",
}

ENDINGS: Final = (409, 410, 422, 502, 503, 504)
"""What a request that waits for a job's answer is told where the job ends without one."""


def takes(shape: str, *, required: bool = True) -> dict[str, Any]:
    """A JSON body of this shape."""
    content = {"application/json": {"schema": _ref(shape)}}
    return {"requestBody": {"required": required, "content": content}}


def takes_form(shape: str) -> dict[str, Any]:
    """A form with a file."""
    content = {"multipart/form-data": {"schema": _ref(shape)}}
    return {"requestBody": {"required": True, "content": content}}


def answers(
    status: int,
    shape: str | None,
    *errors: int,
    stream: bool = False,
    binary: bool = False,
    text: str = "",
) -> dict[int | str, dict[str, Any]]:
    """What a route may answer; 401, 403 and 429 are added where a key is needed. `text`: another media type."""
    content: dict[str, Any] = {}
    parts: dict[int | str, dict[str, Any]] = {}
    if shape is not None:
        content["application/json"] = {"schema": _ref(shape)}
    if stream:
        # In OpenAPI 3.1 this is the shape of each event.
        content["text/event-stream"] = {"schema": _ref("Event")}
    if text:
        content[text] = {"schema": {"type": "string"}}
    if binary:
        bytes_of_it = {"schema": {"type": "string", "format": "binary"}}
        content["application/octet-stream"] = bytes_of_it
        parts[206] = {"description": _MEANINGS[206], "content": content}
        parts[304] = {"description": _MEANINGS[304]}
    told: dict[int | str, dict[str, Any]] = {
        status: {"description": _MEANINGS[status], "content": content}
    }
    return told | parts | {error: _error(error) for error in errors}


def describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title="Archipelag",
        version=app.version,
        openapi_version="3.1.0",
        description=DESCRIPTION,
        routes=app.routes,
    )
    parts = document.setdefault("components", {})
    parts["schemas"] = dict(SHAPES)
    parts["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key: ak_…"},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": "A browser that is signed in; what changes something also carries X-CSRF-Token",
        },
    }
    document["security"] = [{"key": []}, {"session": []}]
    for path in document["paths"].values():
        for operation in path.values():
            _complete(operation)
    return document


def _complete(operation: dict[str, Any]) -> None:
    told = operation["responses"]
    told.pop("200", None) if told.get("200", {}).get("description") == "Successful Response" else 0
    errors = [] if operation.get("security") == [] else [401, 403, 429]
    if operation.get("parameters"):
        errors.append(422)
    if "requestBody" in operation:
        errors.append(408)
    for status in (*errors, 500):
        told[str(status)] = _error(status)
    operation["responses"] = dict(sorted(told.items()))


def _error(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref("Error")}}
    return {"description": _MEANINGS.get(status, "Our mistake"), "content": content}


def _ref(shape: str) -> dict[str, str]:
    assert shape in SHAPES, shape
    return {"$ref": f"#/components/schemas/{shape}"}
