"""Errors of the client: one tree, so that a caller can catch exactly what it can do something about.

ArchipelagError
├── NotReachable             no answer from the network: it is down, or the address is wrong
├── StreamBroken             a stream ended in the middle and could not be continued
├── JobFailed                a job that was waited for failed or was cancelled: `job`
├── NothingOffered           no model was named and the network offers none
├── BadAnswer                an answer that is not what the API promises
└── ApiError                 the API said no: `status`, `code`, `retry_after_s`, `param`
    ├── BadRequest
    │   └── Unsupported
    ├── NotAuthenticated
    ├── InsufficientCredits  `required`, `available`
    │   └── BudgetExceeded
    ├── NotPermitted
    ├── NotFound
    ├── Conflict
    │   └── IdempotencyMismatch
    ├── CargoGone            withdrawn or revoked
    ├── TooLarge
    ├── InvalidInput         `errors`: field → reasons
    ├── RateLimited
    ├── NoCapacity           `reasons`
    └── ServerError
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from archipelag.values import Job


class ArchipelagError(Exception):
    """Anything that this package raises on purpose."""


class NotReachable(ArchipelagError):
    """No answer from the network."""


class StreamBroken(ArchipelagError):
    """A stream ended before its last event and could not be continued."""


class NothingOffered(ArchipelagError):
    """No model was named, and there is none to choose."""


class BadAnswer(ArchipelagError):
    """The other side answered with something that is not the API."""


class JobFailed(ArchipelagError):
    """The job that was waited for did not complete."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} {job.status}: {job.error or 'no reason given'}")
        self.job = job


class ApiError(ArchipelagError):
    """The API refused. `code` is stable; the message is for people."""

    def __init__(
        self, status: int, body: Mapping[str, Any], retry_after_s: float | None = None
    ) -> None:
        error = body.get("error")
        error = error if isinstance(error, Mapping) else {}
        super().__init__(str(error.get("message") or f"HTTP status {status}"))
        self.status = status
        self.code = str(error.get("code") or "unknown")
        self.type = str(error.get("type") or "")
        self.param: str | None = error.get("param")
        self.retry_after_s = retry_after_s
        raw = body.get("errors")
        self.errors: dict[str, list[str]] = (
            {str(field): [str(why) for why in reasons] for field, reasons in raw.items()}
            if isinstance(raw, Mapping)
            else {}
        )
        self.required: Any = error.get("required")
        self.available: Any = error.get("available")
        reasons = error.get("reasons")
        self.reasons: list[str] = list(map(str, reasons)) if isinstance(reasons, list) else []


class BadRequest(ApiError):
    pass


class Unsupported(BadRequest):
    pass


class NotAuthenticated(ApiError):
    pass


class InsufficientCredits(ApiError):
    pass


class BudgetExceeded(InsufficientCredits):
    pass


class NotPermitted(ApiError):
    pass


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class IdempotencyMismatch(Conflict):
    pass


class CargoGone(ApiError):
    """The Cargo was withdrawn or revoked: `code` says which. Nothing was charged."""


class TooLarge(ApiError):
    pass


class InvalidInput(ApiError):
    pass


class RateLimited(ApiError):
    pass


class ServerError(ApiError):
    pass


class NoCapacity(ApiError):
    pass


BY_CODE: Final[dict[str, type[ApiError]]] = {
    "invalid_api_key": NotAuthenticated,
    "not_permitted": NotPermitted,
    "not_found": NotFound,
    "invalid_input": InvalidInput,
    "unsupported": Unsupported,
    "too_large": TooLarge,
    "rate_limited": RateLimited,
    "insufficient_credits": InsufficientCredits,
    "budget_exceeded": BudgetExceeded,
    "no_capacity": NoCapacity,
    "idempotency_mismatch": IdempotencyMismatch,
    "conflict": Conflict,
    "cargo_withdrawn": CargoGone,
    "cargo_revoked": CargoGone,
}

BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: BadRequest,
    401: NotAuthenticated,
    402: InsufficientCredits,
    403: NotPermitted,
    404: NotFound,
    409: Conflict,
    410: CargoGone,
    413: TooLarge,
    422: InvalidInput,
    429: RateLimited,
    503: NoCapacity,
}


def from_response(status: int, text: str, retry_after: str | None) -> ApiError:
    """The error that an answer of `status` stands for; also when a proxy wrote the body."""
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    return from_body(status, body if isinstance(body, Mapping) else {}, seconds(retry_after))


def from_body(status: int, body: Mapping[str, Any], retry_after_s: float | None = None) -> ApiError:
    """The code decides; the status only where the code is not known."""
    error = body.get("error")
    code = str(error.get("code")) if isinstance(error, Mapping) else ""
    kind = BY_CODE.get(code) or BY_STATUS.get(status)
    if kind is None:
        kind = ServerError if status >= 500 else ApiError
    return kind(status, body, retry_after_s)


def seconds(retry_after: str | None) -> float | None:
    """The `Retry-After` header in seconds; its form as a date is not used by this API."""
    try:
        value = float(retry_after or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
