"""The JSON shapes of usage, transfers and earnings."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.apps.api.schemas import (
    CREDITS,
    NUMBER,
    TEXT,
    TIME,
    WHOLE,
    Schema,
    many,
    maybe,
    one_of,
    shape,
)

_DAY: Final[Schema] = {"type": "string", "format": "date"}
_USAGE_ROW: Final = shape(
    {
        "day": _DAY,
        "key_id": maybe(TEXT),
        "key_name": maybe(TEXT),
        "workload": TEXT,
        "jobs": WHOLE,
        "prompt_tokens": WHOLE,
        "completion_tokens": WHOLE,
        "credits": CREDITS,
    },
    *("day", "key_id", "key_name", "workload"),
)
_EARNINGS_ROW: Final = shape(
    {
        "day": _DAY,
        "workload": TEXT,
        "attempts": WHOLE,
        "completed": WHOLE,
        "output_items": WHOLE,
        "prompt_tokens": WHOLE,
        "seconds": NUMBER,
        "paid_from_charge": CREDITS,
        "paid_from_insurance": CREDITS,
        "owed": CREDITS,
        "credits": CREDITS,
    },
    *("day", "workload"),
)
_TRANSFER: Final = shape(
    {
        "id": TEXT,
        "account": one_of("spending", "earnings"),
        "at": TIME,
        "kind": one_of("grant", "charge", "earning", "insured", "other"),
        "amount": CREDITS,
        "balance_after": CREDITS,
        "job_id": maybe(TEXT),
        "key_id": maybe(TEXT),
        "note": maybe(TEXT),
    }
)


def _within(by: Schema) -> Schema:
    return shape({"from": _DAY, "to": _DAY, "by": by})


MONEY: Final[dict[str, Schema]] = {
    "UsageList": shape(
        {"data": many(_USAGE_ROW), "meta": _within(one_of("day", "key", "workload"))}
    ),
    "EarningsList": shape(
        {"data": many(_EARNINGS_ROW), "meta": _within(one_of("day", "workload"))}
    ),
    "TransferList": shape(
        {"data": many(_TRANSFER), "meta": shape({"limit": WHOLE, "next": maybe(TEXT)})}
    ),
}
