"""What may be changed of an API key afterwards, and by which other key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from archipelag_contracts.units import Ucredits, to_credits

from archipelag_coordinator.domain.user import KEY_NAME_MAX, RATE_MAX, ApiKey
from archipelag_coordinator.errors import IllegalMove, InvalidInput, NotPermitted


@dataclass(frozen=True)
class KeyChange:
    """Only the fields in `given` are changed; None is a value: without this bound."""

    given: frozenset[str]
    name: str = ""
    budget: Ucredits | None = None
    rate_per_minute: int | None = None
    expires_at: datetime | None = None

    def apply(self, key: ApiKey, *, by: ApiKey | None, now: datetime) -> ApiKey:
        """`by` is the key through which it is asked for, which gives nobody more than it has itself; None: a person,
        who may do as they like. Raises IllegalMove (revoked), InvalidInput, NotPermitted."""
        if key.revoked_at is not None:
            raise IllegalMove("API key", "revoked", "changed")
        self._check(key, now)
        if by is not None:
            self._check_allowed(key, by)
        changed = {name: getattr(self, name) for name in sorted(self.given)}
        if "name" in changed:
            changed["name"] = self.name.strip()
        return replace(key, **changed)

    def _check(self, key: ApiKey, now: datetime) -> None:
        errors: dict[str, list[str]] = {}
        if not self.given:
            errors["body"] = [
                "must name at least one of: name, budget, rate_per_minute, expires_at"
            ]
        if "name" in self.given and not 0 < len(self.name.strip()) <= KEY_NAME_MAX:
            errors["name"] = [f"must have 1 to {KEY_NAME_MAX} characters"]
        if "budget" in self.given and self.budget is not None and self.budget < key.used:
            errors["budget"] = [f"must not be below what was used: {to_credits(key.used)}"]
        rate = self.rate_per_minute
        if "rate_per_minute" in self.given and rate is not None and not 1 <= rate <= RATE_MAX:
            errors["rate_per_minute"] = [f"must be 1 to {RATE_MAX}"]
        until = self.expires_at
        if "expires_at" in self.given and until is not None and until <= now:
            errors["expires_at"] = ["must lie in the future: to end a key now, revoke it"]
        if errors:
            raise InvalidInput(errors)

    def _check_allowed(self, key: ApiKey, by: ApiKey) -> None:
        # What several keys spend adds up: within one's own budget is not enough, it must become less.
        raised = self.budget is None or (key.budget is not None and self.budget > key.budget)
        if "budget" in self.given and by.budget is not None and raised:
            raise NotPermitted("a key without a budget, to raise or remove one")
        if "rate_per_minute" in self.given and by.rate_per_minute is not None:
            most = max(by.rate_per_minute, key.rate_per_minute or 0)
            if self.rate_per_minute is None or self.rate_per_minute > most:
                raise NotPermitted("a key without a rate of its own, to raise or remove one")
        if "expires_at" in self.given and by.expires_at is not None:
            latest = max(by.expires_at, key.expires_at or by.expires_at)
            if self.expires_at is None or self.expires_at > latest:
                raise NotPermitted("a key without an expiry, to put one off or remove it")
