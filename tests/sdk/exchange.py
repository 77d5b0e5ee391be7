"""Exchanges with the API as plain JSON: what a call sends, what it is answered, and what the SDKs make of it.

`exchanges.json` is a list of objects:

- `name`: what it shows. `recorded`: false where it was written by hand, from the reference.
- `call`: `method`, by its Python name (JavaScript writes it in camelCase), and `args` by name; `{"base64": …}` is
  bytes.
- `request`: `method`, `path` below `/api/v1`, `query` (a list where a name comes more than once), `headers` that must
  be there (`"*"`: any value that is not empty), `body` as JSON, or `{"form": {…}, "file": {"name", "base64"}}` for an
  upload, or null.
- `response`: `status`, `headers`, and `body` as JSON or `{"base64": …}`, or `events`: each `data` with its `id`.
  `cut`: the connection breaks after them.
- `then`: further pairs of `request` and `response` that the same call makes, where it makes more than one.
- `result`: what the caller gets. Times are ISO 8601 in UTC with milliseconds, credits are text, bytes are base64,
  names are Python's. A stream is the list of what it gives; a chat stream an object with `pieces` and what it knows at
  its end. An error is `{"error": {"type", "message", …}}` with its fields.

Nothing is tried again while they are replayed but what has a `then`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from archipelag import ArchipelagError

FILE = Path(__file__).with_name("exchanges.json")
API = "/api/v1"
KEY = "ak_recorded"
HEADERS_SENT = (
    *("authorization", "idempotency-key", "last-event-id", "range", "if-range"),
    *("x-archipelag-within", "x-archipelag-place"),
)
HEADERS_ANSWERED = (
    *("content-type", "retry-after", "x-archipelag-job", "x-archipelag-island", "x-should-retry"),
    *("etag", "content-range", "x-archipelag-place"),
)
ERROR_FIELDS = (
    *("status", "code", "param", "retry_after", "required", "available", "errors", "reasons"),
    "job_id",
)


def read() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def secrets(text: str) -> list[str]:
    """What looks like an API key."""
    return re.findall(r"ak_[A-Za-z0-9_-]{20,}", text)


def plain(value: Any) -> Any:
    """A value of the SDK as JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.name != "raw"}
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    if isinstance(value, datetime):
        at = value.astimezone(UTC).isoformat(timespec="milliseconds")
        return at.replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def plain_error(error: ArchipelagError) -> dict[str, Any]:
    shown = {"type": type(error).__name__, "message": str(error)}
    shown |= {
        name: plain(getattr(error, name))
        for name in ERROR_FIELDS
        if getattr(error, name, None) is not None
    }
    return {"error": shown}


def arguments(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call, with bytes where bytes are meant."""
    return {
        name: base64.b64decode(value["base64"])
        if isinstance(value, Mapping) and value.keys() == {"base64"}
        else value
        for name, value in args.items()
    }


def request_of(request: httpx.Request) -> dict[str, Any]:
    """A request, which has been read, as it stands in the file."""
    headers = {name: request.headers[name] for name in HEADERS_SENT if name in request.headers}
    return {
        "method": request.method,
        "path": unquote(request.url.path).removeprefix(API),
        "query": {
            name: _one_or_many(request.url.params.get_list(name)) for name in request.url.params
        },
        "headers": headers,
        "body": _body_of(request),
    }


def _one_or_many(given: list[str]) -> str | list[str]:
    return given[0] if len(given) == 1 else given


def _body_of(request: httpx.Request) -> Any:
    if not request.content:
        return None
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/"):
        return json.loads(request.content)
    boundary = kind.split("boundary=")[1].encode()
    form: dict[str, str] = {}
    whole: dict[str, Any] = {"form": form}
    for part in request.content.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        told = dict(
            piece.strip().split(b"=", 1) for piece in head.split(b"\r\n")[0].split(b";")[1:]
        )
        name, content = told[b"name"].strip(b'"').decode(), content.removesuffix(b"\r\n")
        if b"filename" in told:
            file = told[b"filename"].strip(b'"').decode()
            whole["file"] = {"name": file, "base64": base64.b64encode(content).decode()}
        else:
            form[name] = content.decode()
    return whole


def same_request(wanted: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Whether a request is the one that is expected; other headers than those named do not matter."""
    headers = wanted["headers"]
    if any(not sent["headers"].get(name) for name in headers):
        return False
    if any(value not in ("*", sent["headers"][name]) for name, value in headers.items()):
        return False
    return all(sent[part] == wanted[part] for part in ("method", "path", "query", "body"))


def response_of(response: httpx.Response) -> dict[str, Any]:
    """A response, which has been read, as it stands in the file."""
    kept = {name: response.headers[name] for name in HEADERS_ANSWERED if name in response.headers}
    shown: dict[str, Any] = {"status": response.status_code, "headers": kept}
    kind = kept.get("content-type", "")
    if kind.startswith("text/event-stream"):
        return shown | {"events": events_of(response.text)}
    if kind.startswith("application/json"):
        return shown | {"body": response.json()}
    return shown | {"body": {"base64": base64.b64encode(response.content).decode()}}


def events_of(text: str) -> list[dict[str, str]]:
    """What our server sends: one `id:` at most and one `data:`; signs of life are left out."""
    told = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":")
        if lines:
            assert lines.keys() <= {"id", "data"}, block
            told.append(lines)
    return told


def answer(response: Mapping[str, Any]) -> httpx.Response:
    """The response as it is played again."""
    body = response.get("body")
    if "events" in response:
        frames = [
            "".join(f"{name}: {value}\n" for name, value in event.items()) + "\n"
            for event in response["events"]
        ]
        content = "".join(frames).encode()
    elif isinstance(body, dict) and body.keys() == {"base64"}:
        content = base64.b64decode(body["base64"])
    else:
        content = json.dumps(body).encode()
    stream = _Cut(content) if response.get("cut") else None
    return httpx.Response(
        response["status"],
        headers=response["headers"],
        **({"stream": stream} if stream else {"content": content}),
    )


class _Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Bytes, and then a broken connection."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Any:
        yield self._content
        raise httpx.ReadError("cut")

    async def __aiter__(self) -> Any:
        yield self._content
        raise httpx.ReadError("cut")
