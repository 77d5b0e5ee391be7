"""Quotes before, charges after, and how a charge is shared out, to the micro-credit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from archipelag_contracts.manifest import Price
from archipelag_contracts.units import Ucredits

BASIS: Final = 10_000


@dataclass(frozen=True)
class Shares:
    """Of every charge, in basis points (1/10,000). What is left goes to the Islands."""

    fees_bp: int = 1_000
    insurance_bp: int = 500

    def __post_init__(self) -> None:
        assert (
            self.fees_bp >= 0
            and self.insurance_bp >= 0
            and self.fees_bp + self.insurance_bp <= BASIS
        )


@dataclass(frozen=True)
class Split:
    """A charge shared out; the parts add up to it exactly."""

    islands: Ucredits
    fees: Ucredits
    insurance: Ucredits

    @property
    def total(self) -> Ucredits:
        return Ucredits(self.islands + self.fees + self.insurance)


def charge(price: Price, prompt_tokens: int, output_items: int) -> Ucredits:
    """The price of a job with this usage. As a quote, with the upper bounds of both."""
    assert prompt_tokens >= 0 and output_items >= 0
    return Ucredits(
        price.job_ucredits
        + prompt_tokens * price.prompt_token_ucredits
        + output_items * price.output_item_ucredits
    )


def split(amount: Ucredits, shares: Shares) -> Split:
    """Rounds the platform's shares down, so that a micro-credit in doubt goes to the Islands."""
    fees = amount * shares.fees_bp // BASIS
    insurance = amount * shares.insurance_bp // BASIS
    return Split(Ucredits(amount - fees - insurance), Ucredits(fees), Ucredits(insurance))


def share_out(amount: Ucredits, weights: list[int]) -> list[Ucredits]:
    """`amount` by weight, to the last micro-credit: largest remainder (Hamilton), earlier ones first in a tie."""
    total = sum(weights)
    if total == 0:
        assert amount == 0 or weights
        return [Ucredits(amount if i == 0 else 0) for i in range(len(weights))]
    parts = [amount * weight // total for weight in weights]
    remainders = [amount * weight % total for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (-remainders[i], i))
    for i in order[: amount - sum(parts)]:
        parts[i] += 1
    return [Ucredits(part) for part in parts]
