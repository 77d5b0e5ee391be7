"""What both clients share and no network touches: settings, addresses, retries, and what a refusal means."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx

from archipelag import errors, values
from archipelag.errors import BadAnswerError
from archipelag.operations import Operation

T = TypeVar("T")

BASE_URL: Final = "http://127.0.0.1:8420"
API: Final = "/api/v1"
VISIBLE: Final = re.compile(r"[!-~]+")
WRITES: Final = frozenset({"POST", "PATCH", "PUT", "DELETE"})
RETRY_STATUSES: Final = frozenset({429, 502, 503, 504})
POLL_S: Final = 0.5
BACKOFF_S: Final = 0.5
BACKOFF_MAX_S: Final = 8.0
RESUMED_RETRIES: Final = 8
"""Of a stream that has begun: half a minute in all, in which a network that is restarted comes back."""
# Told to wait longer than this, a program does better to hear of it than to hang.
RETRY_AFTER_MAX_S: Final = 30.0
PLACE: Final = "X-Archipelag-Place"
"""What the network gives with the time to come back, and keeps a place in line for: any Coordinator understands it."""


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

    def retries(self, last_event_id: str) -> int:
        """How often one request may be tried again. An answer that was begun is being made meanwhile, and is worth
        more patience, unless none at all is wanted."""
        begun = self.retries_max and last_event_id
        return max(self.retries_max, RESUMED_RETRIES) if begun else self.retries_max

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
    """Arguments first, then ARCHIPELAG_API_URL and ARCHIPELAG_API_KEY. Several addresses by comma.

    Raises ValueError for an address or a key that cannot be one; never with the key in it.
    """
    assert timeout_s > 0 and connect_timeout_s > 0 and 0 <= retries_max <= 10
    given = base_url or os.environ.get("ARCHIPELAG_API_URL") or BASE_URL
    addresses = tuple(root(one.strip()) for one in given.split(",") if one.strip())
    key = api_key or os.environ.get("ARCHIPELAG_API_KEY") or None
    if key is not None and not VISIBLE.fullmatch(key):
        raise ValueError("api_key must be visible ASCII characters, without spaces or line ends")
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
    place: str | None = None,
) -> httpx.Request:
    """The request as it is sent, and sent again: every try carries the same Idempotency-Key, and one that was sent away
    the `place` that it was given."""
    headers = dict(operation.headers)
    if place:
        headers[PLACE] = place
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    if operation.method in WRITES:
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


def unreachable(
    base_url: str, error: httpx.TransportError
) -> errors.ConnectionError | errors.TimeoutError:
    where, why = base_url.removesuffix(API), str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return errors.TimeoutError(f"{where} took too long to answer: {why}")
    return errors.ConnectionError(f"no answer from {where}: {why}")


def may_send_again(operation: Operation[Any], error: httpx.TransportError) -> bool:
    """Whether it does no harm: what may be done once only must not have arrived."""
    return not operation.once or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def may_retry(operation: Operation[Any], response: httpx.Response) -> bool:
    """Whether another try may help. The server knows better where it says so; a proxy that speaks for it may not know
    whether it arrived."""
    helps = RETRY_STATUSES if not operation.once else {429}
    return response.status_code in helps and response.headers.get("x-should-retry") != "false"


def done_before(operation: Operation[Any], response: httpx.Response, tries: int) -> bool:
    """Whether this refusal says that an earlier try, whose answer was lost, has done it."""
    return operation.gone_is_done and tries > 1 and response.status_code == 404


def refusal(response: httpx.Response) -> errors.ApiError:
    """The error of a response that has been read."""
    return errors.from_response(
        response.status_code, response.text, response.headers.get("Retry-After")
    )


def first_model(kind: str, offered: Iterable[values.Model]) -> str:
    """Raises NothingOfferedError."""
    for one in offered:
        if one.kind == kind:
            return one.id
    said = "no model" if kind == "chat" else f"no model of the kind {kind}"
    raise errors.NothingOfferedError(f"the network offers {said} yet: connect an Island")


def answer(operation: Operation[T], response: httpx.Response) -> T:
    """The value of a response that succeeded. Raises BadAnswerError."""
    body: Any = None
    if response.content:
        try:
            body = json.loads(response.content)
        except (ValueError, RecursionError):
            raise BadAnswerError(f"{operation.path} did not answer in JSON") from None
    return operation.read(body, response.headers)
