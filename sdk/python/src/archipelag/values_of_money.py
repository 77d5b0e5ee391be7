"""What the books tell, as frozen values: sums of usage, transfers, earnings. Credits are exact decimals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from archipelag import values
from archipelag.errors import BadAnswerError
from archipelag.values import moment, money, table


@dataclass(frozen=True)
class UsageSum:
    """What was used and paid on a day, by a key, or of a workload: one of the three is set."""

    day: date | None
    key_id: str | None
    key_name: str | None
    workload: str | None
    jobs: int
    prompt_tokens: int
    completion_tokens: int
    credits: Decimal
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Transfer:
    """One entry in one of one's two accounts, spending and earnings: `amount` is below zero where it left."""

    id: str
    account: str
    at: datetime | None
    kind: str
    """grant, charge, earning, insured or other."""
    amount: Decimal
    balance_after: Decimal | None
    job_id: str | None
    key_id: str | None
    note: str | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Earning:
    """What an Island did and was paid, on a day or with a workload. `credits` is what was paid in all."""

    day: date | None
    workload: str | None
    attempts: int
    completed: int
    output_items: int
    credits: Decimal
    owed: Decimal
    raw: Mapping[str, Any] = field(repr=False, compare=False)


def usage_sum(raw: Any) -> UsageSum:
    raw = table(raw, "a row of usage")
    return UsageSum(
        _day(raw.get("day")),
        raw.get("key_id"),
        raw.get("key_name"),
        raw.get("workload"),
        values.whole(raw.get("jobs")),
        values.whole(raw.get("prompt_tokens")),
        values.whole(raw.get("completion_tokens")),
        money(raw.get("credits")) or Decimal(0),
        raw,
    )


def transfer(raw: Any) -> Transfer:
    raw = table(raw, "a transfer")
    return Transfer(
        values.text(raw, "id"),
        str(raw.get("account") or ""),
        moment(raw.get("at")),
        str(raw.get("kind") or ""),
        money(raw.get("amount")) or Decimal(0),
        money(raw.get("balance_after")),
        raw.get("job_id"),
        raw.get("key_id"),
        raw.get("note"),
        raw,
    )


def earning(raw: Any) -> Earning:
    raw = table(raw, "a row of earnings")
    return Earning(
        _day(raw.get("day")),
        raw.get("workload"),
        values.whole(raw.get("attempts")),
        values.whole(raw.get("completed")),
        values.whole(raw.get("output_items")),
        money(raw.get("credits")) or Decimal(0),
        money(raw.get("owed")) or Decimal(0),
        raw,
    )


def _day(raw: Any) -> date | None:
    if not isinstance(raw, str):
        return None
    try:
        return date.fromisoformat(raw)
    except ValueError:
        raise BadAnswerError(f"not a day: {raw[:50]!r}") from None
