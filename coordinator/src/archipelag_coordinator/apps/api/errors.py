"""The one map from what went wrong to what an HTTP client is told: a status, a stable code and what to do about it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from archipelag_contracts.units import to_credits

from archipelag_coordinator.apps.bodies import HANG_UP
from archipelag_coordinator.domain.answer import Ending
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.errors import (
    AlreadyMade,
    CoordinatorError,
    InsufficientCredits,
    InvalidInput,
    NoPlacement,
    NotAuthenticated,
    NotFound,
    Overloaded,
    RateLimited,
    TooSlow,
    Unsupported,
)
from archipelag_coordinator.services.expect import PLACE

STATUS: Final[dict[str, int]] = {
    "bad_request": 400,
    "unsupported": 400,
    "invalid_api_key": 401,
    "insufficient_credits": 402,
    "budget_exceeded": 402,
    "not_permitted": 403,
    "pairing_refused": 403,
    "link_not_valid": 403,
    "identity_refused": 403,
    "island_refused": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_slow": 408,
    "conflict": 409,
    "illegal_move": 409,
    "stale_attempt": 409,
    "idempotency_mismatch": 409,
    "nothing_to_continue": 409,
    "slug_taken": 409,
    "too_many_submissions": 409,
    "too_many_batches": 409,
    "already_made": 409,
    "already_posted": 409,
    "last_administrator": 409,
    "content_lost": 410,
    "too_large": 413,
    "storage_exceeded": 413,
    "range_unfit": 416,
    "invalid_input": 422,
    "rate_limited": 429,
    "overloaded": 429,
    "error": 500,
    "internal_error": 500,
    "unbalanced_transfer": 500,
    "bad_result": 502,
    "unavailable": 503,
    "no_capacity": 503,
}

# How a job ended, where a reader still waits for its first word. What another try may mend is 503.
ENDING_STATUS: Final[dict[Cause, int]] = {
    Cause.CANCELLED: 409,
    Cause.CARGO_WITHDRAWN: 410,
    Cause.CARGO_REVOKED: 410,
    Cause.BAD_INPUT: 422,
    Cause.LIMIT_EXCEEDED: 422,
    Cause.CARGO_FAILED: 502,
    Cause.BAD_OUTPUT: 503,
    Cause.CARGO_DIED: 503,
    Cause.CARGO_STALLED: 503,
    Cause.LEASE_LOST: 503,
    Cause.ISLAND_STOPPED: 503,
    Cause.REFUSED: 503,
    Cause.NO_CAPACITY: 503,
    Cause.COORDINATOR_LOST: 503,
    Cause.DEADLINE: 504,
}

_TYPES: Final[dict[int, str]] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}
_OURS: Final = frozenset({"error", "internal_error", "unbalanced_transfer"})
CLIENT_GONE: Final = 499
"""Nobody reads this status; it stands in the metrics."""
INTERNAL_MESSAGE: Final = (
    "something went wrong on our side; try again, and tell the operator the x-request-id"
)


class BadRequest(CoordinatorError):
    """The request cannot be read at all."""

    code = "bad_request"


class MethodNotAllowed(CoordinatorError):
    code = "method_not_allowed"


class RangeUnfit(CoordinatorError):
    """A part of a file that lies outside of it."""

    code = "range_unfit"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"the file has {size_bytes} bytes")
        self.size_bytes = size_bytes


class BadResult(CoordinatorError):
    """A Cargo answered something else than Cargos of its kind do."""

    code = "bad_result"


class Unavailable(CoordinatorError):
    """A part that we need, such as the database, cannot be reached now."""

    code = "unavailable"


@dataclass(frozen=True)
class Problem:
    """What a client is told. `details` stand beside code and message."""

    status: int
    code: str
    message: str
    param: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, Sequence[str]] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str:
        default = "server_error" if self.status >= 500 else "invalid_request_error"
        return _TYPES.get(self.status, default)

    def as_object(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message, "type": self.type}
        if self.param is not None:
            error["param"] = self.param
        error |= self.details
        whole: dict[str, Any] = {"error": error}
        if self.errors is not None:
            whole["errors"] = {name: list(why) for name, why in self.errors.items()}
        return whole

    def as_json(self) -> bytes:
        return json.dumps(self.as_object(), separators=(",", ":")).encode()


class JobEnded(CoordinatorError):
    """The job that a request waited for ended without an answer."""

    code = "job_ended"

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.error)
        self.ending = ending


def problem_of(error: CoordinatorError) -> Problem:
    """Data in the error's attributes becomes details; what is our own mistake is not told in detail."""
    if isinstance(error, JobEnded):
        return problem_of_ending(error.ending)
    code = error.code
    status = STATUS[code]
    if code in _OURS:
        return Problem(500, "internal_error", INTERNAL_MESSAGE)
    message = str(error) or code.replace("_", " ")
    match error:
        case NotAuthenticated():
            return Problem(status, code, message, headers={"WWW-Authenticate": "Bearer"})
        case NotFound():
            return Problem(status, code, message, param=error.noun)
        case InvalidInput():
            param = next(iter(error.errors), None)
            return Problem(status, code, message, param=param, errors=error.errors)
        case Unsupported():
            return Problem(status, code, message, param=error.param)
        case RateLimited():
            return Problem(status, code, message, headers=retry_after(error.retry_after_s))
        case Overloaded():
            told_wait = {
                "wait_s": round(error.wait_s, 1),
                "wait_target_s": round(error.target_s, 1),
                "retry_after_s": math.ceil(error.retry_after_s),
                "ahead": error.ahead,
            }
            headers = retry_after(error.retry_after_s)
            if error.place is not None:
                headers = headers | {PLACE: error.place}
            return Problem(status, code, message, details=told_wait, headers=headers)
        case InsufficientCredits():
            amounts = {
                "required": to_credits(error.required),
                "available": to_credits(error.available),
            }
            told = f"{message}: {amounts['required']} required, {amounts['available']} available"
            return Problem(status, code, told, details=amounts)
        case NoPlacement():
            return Problem(
                status,
                code,
                message,
                details={"reasons": error.reasons},
                headers=retry_after(error.retry_after_s),
            )
        case AlreadyMade():
            return Problem(status, code, message, details={"key_id": error.key_id})
        case BadResult():
            return Problem(status, code, message, headers={"x-should-retry": "false"})
        case RangeUnfit():
            told_size = {"Content-Range": f"bytes */{error.size_bytes}"}
            return Problem(status, code, message, headers=told_size)
        case TooSlow():
            return Problem(status, code, message, headers=HANG_UP)
        case Unavailable():
            return Problem(status, code, message, headers=retry_after(1))
    return Problem(status, code, message)


def problem_of_ending(ending: Ending) -> Problem:
    """A job that ended without success, as an error with a status of its own."""
    if ending.cause is Cause.NO_CAPACITY:
        return problem_of(NoPlacement(ending.reasons))
    status = ENDING_STATUS.get(ending.cause, 502)
    code = ending.cause.value
    message = ending.error or f"the job ended: {code.replace('_', ' ')}"
    if status == 503:
        return Problem(status, code, message, headers=retry_after(1))
    if status >= 500:
        # The official clients would try again by themselves; the same would happen, and cost the same time.
        return Problem(status, code, message, headers={"x-should-retry": "false"})
    return Problem(status, code, message)


def retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
