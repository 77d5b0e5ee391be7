"""Errors of the Coordinator. Data stands in attributes; `code` is stable and documented.

CoordinatorError
├── NotAuthenticated            no key, or a key that does not hold
├── NotPermitted                a scope or role is missing: `needed`
├── NotFound                    no such thing, or not yours: `noun`, `name`
├── InvalidInput                `errors`: field → reasons
├── Unsupported                a feature that this Cargo does not have: `param`
├── TooLarge                    `limit_bytes`
├── TooSlow                     a body that does not come in its time
├── StorageExceeded             a customer's files together: `limit_bytes`
├── ContentLost                 a file whose bytes the store does not have any more
├── RateLimited                 `retry_after_s`
├── InsufficientCredits         `required`, `available`, in micro-credits
├── BudgetExceeded              the key's own budget: `required`, `available`
├── Overloaded                  it would wait too long: `wait_s`, `target_s`, `retry_after_s`, `ahead`
├── NoPlacement                 nobody can take it: `reasons`
├── Conflict
│   ├── IllegalMove             a state that does not allow this move: `noun`, `state`, `move`
│   ├── StaleAttempt            an epoch that is no longer the current one
│   ├── IdempotencyMismatch     the same Idempotency-Key with another request
│   ├── SlugTaken               another publisher has this name: `slug`
│   ├── TooManySubmissions      too many of one's Cargos wait to be decided on: `limit`
│   ├── TooManyBatches          too many of one's batches have not ended: `limit`
│   ├── NothingToContinue       a reader's place in an answer that does not stand (any more)
│   ├── LastAdministrator       somebody must be left who may administer
│   ├── AlreadyMade             a secret that was shown once was made under this Idempotency-Key: `key_id`
│   └── AlreadyPosted           a transfer of this id stands, with other entries
├── PairingRefused              unknown, used or expired pairing code: `reason`
├── LinkNotValid                unknown, used or expired sign-in link: `reason`
├── IdentityRefused             a provider's word on who somebody is does not hold: `reason`
├── IslandRefused               suspended, retired or banned
└── UnbalancedTransfer          entries that do not add up to zero: our own mistake
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

_WORDS: Final = {"workload": "Cargo", "cargo": "Cargo", "host": "Island", "island": "Island"}
"""The API's routes and fields keep the field's names; who reads a sentence gets the glossary's."""


class CoordinatorError(Exception):
    """Something expected went wrong; the code is stable."""

    code: ClassVar[str] = "error"


class NotAuthenticated(CoordinatorError):
    code = "invalid_api_key"


class NotPermitted(CoordinatorError):
    code = "not_permitted"

    def __init__(self, needed: str) -> None:
        super().__init__(f"this needs {needed}")
        self.needed = needed


class NotFound(CoordinatorError):
    code = "not_found"

    def __init__(self, noun: str, name: str) -> None:
        """`noun` as the API calls it, in whose message stands what it is."""
        super().__init__(f"no {_WORDS.get(noun, noun)} {name[:100]!r}")
        self.noun = noun
        self.name = name


class InvalidInput(CoordinatorError):
    code = "invalid_input"

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        super().__init__(
            "; ".join(f"{field} {why}" for field, all_ in errors.items() for why in all_)
        )
        self.errors = {field: list(all_) for field, all_ in errors.items()}


class Unsupported(CoordinatorError):
    code = "unsupported"

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class TooLarge(CoordinatorError):
    code = "too_large"

    def __init__(self, what: str, limit_bytes: int) -> None:
        super().__init__(f"{what} is larger than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class TooSlow(CoordinatorError):
    code = "too_slow"


class StorageExceeded(CoordinatorError):
    code = "storage_exceeded"

    def __init__(self, limit_bytes: int, why: str = "") -> None:
        told = why or f"your files may take {limit_bytes} bytes together"
        super().__init__(f"{told}; delete some first")
        self.limit_bytes = limit_bytes


class ContentLost(CoordinatorError):
    code = "content_lost"

    def __init__(self, name: str) -> None:
        super().__init__(f"the content of {name} was lost: upload it again")


class RateLimited(CoordinatorError):
    code = "rate_limited"

    def __init__(self, retry_after_s: float, limit: str) -> None:
        super().__init__(f"more than {limit}; try again in {max(1, round(retry_after_s))} s")
        self.retry_after_s = retry_after_s


class InsufficientCredits(CoordinatorError):
    code = "insufficient_credits"

    def __init__(self, required: int, available: int) -> None:
        super().__init__("not enough credits")
        self.required = required
        self.available = available


class BudgetExceeded(InsufficientCredits):
    code = "budget_exceeded"


class Overloaded(CoordinatorError):
    """Nothing was stored or reserved: whoever comes back after `retry_after_s` is expected to be taken."""

    code = "overloaded"

    def __init__(
        self,
        wait_s: float,
        target_s: float,
        retry_after_s: float,
        ahead: int,
        place: str | None = None,
    ) -> None:
        """`place`: to be shown on coming back, which any Coordinator understands; None where no place is kept."""
        super().__init__(
            f"{ahead} jobs are before this one, which would wait about {wait_s:.0f} s for an Island and should wait"
            f" {target_s:.0f} s at most; come back in {retry_after_s:.0f} s"
        )
        self.wait_s = wait_s
        self.target_s = target_s
        self.retry_after_s = retry_after_s
        self.ahead = ahead
        self.place = place


class NoPlacement(CoordinatorError):
    code = "no_capacity"

    def __init__(self, reasons: Sequence[str], retry_after_s: float = 5.0) -> None:
        super().__init__(
            "no Island can take this job: " + ("; ".join(reasons) or "none is connected")
        )
        self.reasons = list(reasons)
        self.retry_after_s = retry_after_s


class Conflict(CoordinatorError):
    code = "conflict"


class IllegalMove(Conflict):
    code = "illegal_move"

    def __init__(self, noun: str, state: str, move: str) -> None:
        super().__init__(f"a {state} {noun} cannot become {move}")
        self.noun = noun
        self.state = state
        self.move = move


class StaleAttempt(Conflict):
    code = "stale_attempt"

    def __init__(self, job: str, epoch: int) -> None:
        super().__init__(f"epoch {epoch} of {job} is not the current one")
        self.job = job
        self.epoch = epoch


class IdempotencyMismatch(Conflict):
    code = "idempotency_mismatch"


class NothingToContinue(Conflict):
    code = "nothing_to_continue"


class SlugTaken(Conflict):
    code = "slug_taken"

    def __init__(self, slug: str) -> None:
        super().__init__(f"the name {slug!r} is another publisher's: choose another slug")
        self.slug = slug


class TooManySubmissions(Conflict):
    code = "too_many_submissions"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} of your Cargos wait to be decided on: wait for those, or withdraw one"
        )
        self.limit = limit


class LastAdministrator(Conflict):
    code = "last_administrator"


class TooManyBatches(Conflict):
    code = "too_many_batches"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} of your batches have not ended: wait for those, or cancel one")
        self.limit = limit


class AlreadyMade(Conflict):
    code = "already_made"

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"{key_id} was made under this Idempotency-Key, and its secret is shown once and not kept: "
            "if you have not got it, revoke that key and ask under another Idempotency-Key"
        )
        self.key_id = key_id


class AlreadyPosted(Conflict):
    code = "already_posted"


class PairingRefused(CoordinatorError):
    code = "pairing_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"pairing code {reason}")
        self.reason = reason


class LinkNotValid(CoordinatorError):
    code = "link_not_valid"

    def __init__(self, reason: str) -> None:
        super().__init__(f"this sign-in link {reason}: ask for a new one")
        self.reason = reason


class IdentityRefused(CoordinatorError):
    code = "identity_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: begin to sign in again")
        self.reason = reason


class IslandRefused(CoordinatorError):
    code = "island_refused"


class UnbalancedTransfer(CoordinatorError):
    code = "unbalanced_transfer"
