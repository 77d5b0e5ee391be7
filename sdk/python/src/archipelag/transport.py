"""What both clients share and no network touches: settings, addresses, retries, and how streams are read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx

from archipelag import errors, values
from archipelag.errors import BadAnswer, NotReachable, from_body
from archipelag.operations import Operation
from archipelag.sse import Event

T = TypeVar("T")

BASE_URL: Final = "http://127.0.0.1:8420"
API: Final = "/api/v1"
RETRY_STATUSES: Final = frozenset({429, 502, 503, 504})
BACKOFF_S: Final = 0.5
BACKOFF_MAX_S: Final = 8.0
# Told to wait longer than this, a program does better to hear of it than to hang.
RETRY_AFTER_MAX_S: Final = 30.0


@dataclass(frozen=True)
class Settings:
    """How to reach the network. `timeout_s` bounds each wait for bytes, not a whole stream."""

    addresses: tuple[str, ...]
    """Coordinators of one network; where one does not answer, the next one is asked."""
    api_key: str | None
    timeout_s: float
    connect_timeout_s: float
    retries_max: int

    @property
    def timeout(self) -> httpx.Timeout:
        return httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s)

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "archipelag-python"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers


def settings(
    base_url: str | None,
    api_key: str | None,
    timeout_s: float,
    connect_timeout_s: float,
    retries_max: int,
) -> Settings:
    """Arguments first, then ARCHIPELAG_API_URL and ARCHIPELAG_API_KEY. Several addresses by comma."""
    assert timeout_s > 0 and connect_timeout_s > 0 and 0 <= retries_max <= 10
    given = base_url or os.environ.get("ARCHIPELAG_API_URL") or BASE_URL
    addresses = tuple(root(one.strip()) for one in given.split(",") if one.strip())
    key = api_key or os.environ.get("ARCHIPELAG_API_KEY") or None
    return Settings(addresses or (root(given),), key, timeout_s, connect_timeout_s, retries_max)


def root(address: str) -> str:
    """The address with our path; also from an address meant for an OpenAI client (…/v1)."""
    bare = address.rstrip("/").removesuffix(API).removesuffix("/v1").rstrip("/")
    if not bare.startswith(("http://", "https://")):
        raise ValueError(f"the address must begin with http:// or https://: {address!r}")
    return bare + API


def request(
    client: httpx.Client | httpx.AsyncClient,
    operation: Operation[Any],
    address: str,
    key: str,
    *,
    stream: bool,
    last_event_id: str = "",
) -> httpx.Request:
    """The request as it is sent, and sent again: every try carries the same Idempotency-Key."""
    headers = dict(operation.headers)
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    if operation.method == "POST":
        headers.setdefault("Idempotency-Key", key)
    if stream:
        headers["Accept"] = "text/event-stream, */*"
    upload = operation.file
    return client.build_request(
        operation.method,
        address + operation.path,
        json=operation.body,
        data=dict(operation.form) if operation.form is not None else None,
        files={"file": (upload.name, upload.content)} if upload is not None else None,
        params=dict(operation.params) or None,
        headers=headers,
    )


def delay_s(tries: int, retry_after_s: float | None, chance: Callable[[], float]) -> float | None:
    """How long to wait after the `tries`-th failure; None when it is longer than one should."""
    if retry_after_s is not None:
        # Spread over a little more than asked, so that all who were refused do not return at once.
        wait = retry_after_s * (1 + chance() / 10)
        return wait if wait <= RETRY_AFTER_MAX_S * 1.1 else None
    return float(min(BACKOFF_MAX_S, BACKOFF_S * 2 ** (tries - 1)) * (0.5 + chance() / 2))


def unreachable(base_url: str, error: httpx.TransportError) -> NotReachable:
    why = str(error) or type(error).__name__
    return NotReachable(f"no answer from {base_url.removesuffix(API)}: {why}")


def refusal(response: httpx.Response) -> errors.ApiError:
    """The error of a response that has been read."""
    return errors.from_response(
        response.status_code, response.text, response.headers.get("Retry-After")
    )


def answer(operation: Operation[T], response: httpx.Response) -> T:
    """The value of a response that succeeded. Raises BadAnswer."""
    body: Any = None
    if response.content:
        try:
            body = json.loads(response.content)
        except ValueError:
            raise BadAnswer(f"{operation.path} did not answer in JSON") from None
    return operation.read(body, response.headers)


def chat_piece(event: Event, job_id: str, island: str) -> values.ChatPiece | None:
    """The piece in one event; None at the end of the stream. Raises ApiError as the stream tells it."""
    if event.data.strip() == "[DONE]":
        return None
    raw = _decoded(event)
    if raw.get("error"):
        raise _told(raw)
    return values.chat_piece(raw, job_id, island)


def job_event(event: Event) -> values.JobEvent:
    raw = _decoded(event)
    if "type" not in raw and raw.get("error"):
        raise _told(raw)
    return values.job_event(raw, event.id)


class Place:
    """Where a reader of a chat has got to, over all its connections."""

    def __init__(self, retries_max: int) -> None:
        self.last_event_id = ""
        self.usage: values.Usage | None = None
        self.finish_reason: str | None = None
        self._given = False
        self._breaks = 0
        self._retries_max = retries_max

    def took(self, event: Event, piece: values.ChatPiece) -> bool:
        """Whether the reader has a use for this piece: not for the name of the role, nor for an end told twice."""
        self.last_event_id = event.id or self.last_event_id
        told = self.finish_reason is not None and not piece.text and not piece.usage
        self.usage = piece.usage or self.usage
        self.finish_reason = piece.finish_reason or self.finish_reason
        worth = bool(piece.text or piece.finish_reason or piece.usage) and not told
        if worth:
            self._given, self._breaks = True, 0
        return worth

    def broke(self, chance: Callable[[], float]) -> float | None:
        """How long to wait before going on where it broke; None when nothing can go on: it broke too often in a row, or
        the server names no places and something was given already."""
        self._breaks += 1
        if self._breaks > self._retries_max or (self._given and not self.last_event_id):
            return None
        return delay_s(self._breaks, None, chance)


def _decoded(event: Event) -> Mapping[str, Any]:
    try:
        return values.table(json.loads(event.data), "an event")
    except ValueError:
        raise BadAnswer(f"not an event: {event.data[:100]!r}") from None


def _told(raw: Mapping[str, Any]) -> errors.ApiError:
    """An error that came inside a stream, after status 200 had been sent."""
    told = raw["error"]
    return from_body(500, raw if isinstance(told, Mapping) else {"error": {"message": str(told)}})
