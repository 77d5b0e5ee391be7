"""Errors of the client: one tree, so that a caller can catch exactly what it can do something about.

ArchipelagError
├── ConnectionError               no answer from the network: it is down, or the address is wrong; also the builtin one
│   └── StreamBrokenError         a stream ended in the middle and could not be continued
├── TimeoutError                  it took longer than the caller would wait; also the builtin one
├── JobFailedError                a job that was waited for failed or was cancelled: `job_id`, `job`
├── NothingOfferedError           no model was named and the network offers none
├── BadAnswerError                an answer that is not what the API promises
└── ApiError                      the API said no: `status`, `code`, `param`, `retry_after`
    ├── BadRequestError           400
    │   └── UnsupportedError      this model cannot do that: `param`
    ├── AuthenticationError       401
    ├── InsufficientCreditsError  402: `required`, `available`
    │   └── BudgetExceededError   the same, of the key's own budget
    ├── PermissionDeniedError     403
    ├── NotFoundError             404
    ├── ConflictError             409
    │   └── IdempotencyMismatchError
    ├── GoneError                 410: the Cargo was withdrawn or revoked, the file's bytes are lost
    ├── TooLargeError             413
    ├── ValidationError           422: `errors`, field → reasons
    ├── RateLimitError            429: `retry_after`
    ├── ServiceUnavailableError   503: `reasons`, `retry_after`
    └── ServerError               any other 5xx
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from archipelag.values import Job


class ArchipelagError(Exception):
    """Anything that this package raises on purpose."""


class ConnectionError(ArchipelagError, builtins.ConnectionError):  # noqa: A001 - it is one
    """No answer from the network."""


class StreamBrokenError(ConnectionError):
    """A stream ended before its last event and could not be continued."""


class TimeoutError(ArchipelagError, builtins.TimeoutError):  # noqa: A001 - it is one
    """It took longer than the caller would wait; what was asked for may still go on."""


class NothingOfferedError(ArchipelagError):
    """No model was named, and there is none to choose."""


class BadAnswerError(ArchipelagError):
    """The other side answered with something that is not the API."""


class JobFailedError(ArchipelagError):
    """The job that was waited for did not complete."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} {job.status}: {job.error or 'no reason given'}")
        self.job_id = job.id
        self.job = job


class ApiError(ArchipelagError):
    """The API refused. `code` is stable; the message is for people; `retry_after` is in seconds."""

    def __init__(
        self, status: int, body: Mapping[str, Any], retry_after: float | None = None
    ) -> None:
        error = _error_of(body)
        super().__init__(str(error.get("message") or f"HTTP status {status}"))
        self.status = status
        self.code = str(error.get("code") or "unknown")
        self.type = str(error.get("type") or "")
        self.param: str | None = error.get("param")
        self.retry_after = retry_after


class BadRequestError(ApiError):
    """The request cannot be read, or not be done so."""


class UnsupportedError(BadRequestError):
    """This model cannot do that; `param` names the field."""


class AuthenticationError(ApiError):
    """No key, or one that does not hold."""


class InsufficientCreditsError(ApiError):
    """Credits, exact: what it would take at most, and what there is."""

    def __init__(
        self, status: int, body: Mapping[str, Any], retry_after: float | None = None
    ) -> None:
        super().__init__(status, body, retry_after)
        self.required = _amount(_error_of(body).get("required"))
        self.available = _amount(_error_of(body).get("available"))


class BudgetExceededError(InsufficientCreditsError):
    """The key's own budget does not reach."""


class PermissionDeniedError(ApiError):
    """The key lacks a scope, or the person a role."""


class NotFoundError(ApiError):
    """No such thing, or not one's own."""


class ConflictError(ApiError):
    """In conflict with what stands."""


class IdempotencyMismatchError(ConflictError):
    """This Idempotency-Key was used for another request."""


class GoneError(ApiError):
    """It was there and is not any more: `code` says why. Nothing was charged."""


class TooLargeError(ApiError):
    """More than the network takes."""


class ValidationError(ApiError):
    """`errors` names every field that is wrong, and why."""

    def __init__(
        self, status: int, body: Mapping[str, Any], retry_after: float | None = None
    ) -> None:
        super().__init__(status, body, retry_after)
        raw = body.get("errors")
        self.errors: dict[str, list[str]] = {
            str(field): [str(why) for why in reasons] if isinstance(reasons, list) else []
            for field, reasons in (raw.items() if isinstance(raw, Mapping) else ())
        }


class RateLimitError(ApiError):
    """Too many requests; `retry_after` says for how many seconds."""


class ServerError(ApiError):
    """The other side's mistake."""


class ServiceUnavailableError(ServerError):
    """Nobody can take it now; `reasons` says what kept each Island out."""

    def __init__(
        self, status: int, body: Mapping[str, Any], retry_after: float | None = None
    ) -> None:
        super().__init__(status, body, retry_after)
        reasons = _error_of(body).get("reasons")
        self.reasons: list[str] = list(map(str, reasons)) if isinstance(reasons, list) else []


# Where the code says more than the status does.
BY_CODE: Final[dict[str, type[ApiError]]] = {
    "unsupported": UnsupportedError,
    "budget_exceeded": BudgetExceededError,
    "idempotency_mismatch": IdempotencyMismatchError,
    # These may also come inside a stream, whose status was sent before.
    "insufficient_credits": InsufficientCreditsError,
    "rate_limited": RateLimitError,
    "no_capacity": ServiceUnavailableError,
    "unavailable": ServiceUnavailableError,
    "invalid_input": ValidationError,
    "cancelled": ConflictError,
    "cargo_withdrawn": GoneError,
    "cargo_revoked": GoneError,
}

BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: InsufficientCreditsError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    413: TooLargeError,
    422: ValidationError,
    429: RateLimitError,
    503: ServiceUnavailableError,
}


def from_response(status: int, text: str, retry_after: str | None) -> ApiError:
    """The error that an answer of `status` stands for; also when a proxy wrote the body."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = {}
    return from_body(status, body if isinstance(body, Mapping) else {}, seconds(retry_after))


def from_body(status: int, body: Mapping[str, Any], retry_after: float | None = None) -> ApiError:
    """The code decides; the status where the code says no more than it."""
    kind = BY_CODE.get(str(_error_of(body).get("code"))) or BY_STATUS.get(status)
    if kind is None:
        kind = ServerError if status >= 500 else ApiError
    return kind(status, body, retry_after)


def seconds(retry_after: str | None) -> float | None:
    """The `Retry-After` header in seconds; its form as a date is not used by this API."""
    try:
        value = float(retry_after or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _error_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    error = body.get("error")
    return error if isinstance(error, Mapping) else {}


def _amount(raw: Any) -> Decimal | None:
    try:
        return None if raw is None else Decimal(str(raw))
    except InvalidOperation:
        return None
