"""What is asked of a Cargo before it is listed: checks that machines make, and the trust that a person gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archipelag_contracts.ids import UserId
from archipelag_contracts.tiers import TIERS, TIERS_OF_TRUST, TRUST_MAX, permits

from archipelag_coordinator.errors import InvalidInput

CHECKS: Final = ("signature", "manifest", "image", "sbom", "license", "conformance")
"""Every one must pass. The first two are made here when it is submitted; the others where it is pulled and run."""
SAID_MAX: Final = 500


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    said: str = ""


@dataclass(frozen=True)
class Review:
    """A person's word on a Cargo. `by` is None for the operator at the command line."""

    by: UserId | None
    at: datetime
    reason: str = ""


def merged(before: Iterable[Check], now: Iterable[Check]) -> tuple[Check, ...]:
    """One of each name, the newer one, in the order of `CHECKS`."""
    by_name = {one.name: one for one in (*before, *now)}
    return tuple(by_name[name] for name in CHECKS if name in by_name)


def still_missing(checks: Iterable[Check]) -> tuple[str, ...]:
    """Checks that have not passed (yet)."""
    passed = {one.name for one in checks if one.passed}
    return tuple(name for name in CHECKS if name not in passed)


def refuse_failed(checks: Iterable[Check]) -> None:
    """Raises InvalidInput for what was checked again after it had been verified, and failed."""
    failed = [one.name for one in checks if not one.passed]
    if failed:
        raise InvalidInput({"checks": [f"did not pass: {', '.join(failed)}"]})


def check_trust(tier: str, trust: int) -> None:
    """Raises InvalidInput for a trust that does not permit this tier."""
    if not 0 <= trust <= TRUST_MAX:
        raise InvalidInput({"trust": [f"must be 0 to {TRUST_MAX}"]})
    if not permits(trust, tier):
        widest = max(TIERS_OF_TRUST[trust], key=list(TIERS).index)
        told = f"{trust} permits the tier {widest} at most; this manifest asks for {tier}"
        raise InvalidInput({"trust": [told]})
