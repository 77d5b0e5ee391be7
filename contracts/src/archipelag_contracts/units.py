"""Quantities of money: whole micro-credits inside, decimal text at the edge, never a float."""

from __future__ import annotations

from decimal import Decimal, DecimalException, Inexact, localcontext
from typing import Final, NewType

Ucredits = NewType("Ucredits", int)
"""Millionths of a credit. 1 credit is worth about one US cent."""

ZERO: Final = Ucredits(0)
UCREDITS_PER_CREDIT: Final = 1_000_000
# PostgreSQL's bigint and every language's 64-bit integer hold this; JavaScript's number does not, hence text there.
UCREDITS_MAX: Final = 2**63 - 1


def from_credits(text: str | int | Decimal) -> Ucredits:
    """Micro-credits from a decimal number of credits. Raises ValueError for more than six decimals or no number."""
    try:
        # Rounding would let a hundredth of a micro-credit pass as none.
        with localcontext() as context:
            context.traps[Inexact] = True
            exact = Decimal(text) * UCREDITS_PER_CREDIT
    except DecimalException:
        raise ValueError(f"not a number of credits: {text!r}") from None
    if not exact.is_finite() or exact != exact.to_integral_value() or abs(exact) > UCREDITS_MAX:
        raise ValueError(f"not a whole number of micro-credits: {text!r}")
    return Ucredits(int(exact))


def to_credits(amount: Ucredits | int) -> str:
    """Credits as shortest decimal text: 1_500_000 gives "1.5"."""
    whole, rest = divmod(abs(amount), UCREDITS_PER_CREDIT)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}.{rest:06d}".rstrip("0").rstrip(".") if rest else f"{sign}{whole}"
