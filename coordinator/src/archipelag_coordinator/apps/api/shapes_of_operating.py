"""The JSON shapes of what an operator looks at, and of a key that is changed."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.apps.api.schemas import (
    CREDITS,
    NUMBER,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Schema,
    data,
    many,
    maybe,
    one_of,
    shape,
    within,
)
from archipelag_coordinator.domain.wishes import DAY_HOURS, DAYS

_BALANCE: Final = shape({"balance": CREDITS, "held": CREDITS})
_SCHEDULE: Final = {
    "anyOf": [
        {"type": "null"},
        {
            "type": "object",
            "properties": {day: many(within(0, DAY_HOURS - 1)) for day in DAYS},
            "additionalProperties": False,
        },
    ]
}
_PARTS: Final = ("per_job", "per_prompt_token", "per_output_item")
_WISHES: Final[dict[str, Schema]] = {
    "Wishes": shape(
        {
            "version": WHOLE,
            "draining": TRUTH,
            "schedule": _SCHEDULE,
            "least_prices": {
                "type": "object",
                "additionalProperties": shape(dict.fromkeys(_PARTS, CREDITS)),
            },
        }
    ),
    "HostOrder": shape(
        {
            "draining": TRUTH,
            "schedule": _SCHEDULE,
            "least_prices": {
                "type": "object",
                "additionalProperties": shape(
                    {part: {"anyOf": [CREDITS, NUMBER]} for part in _PARTS}, *_PARTS, closed=True
                ),
            },
        },
        *("draining", "schedule", "least_prices"),
        closed=True,
    )
    | {"minProperties": 1},
}
OPERATING: Final[dict[str, Schema]] = _WISHES | {
    "KeyChange": shape(
        {
            "name": {"type": "string", "minLength": 1, "maxLength": 100},
            "budget": {"anyOf": [CREDITS, NUMBER, {"type": "null"}]},
            "rate_per_minute": maybe(WHOLE),
            "expires_at": maybe(TIME),
        },
        *("name", "budget", "rate_per_minute", "expires_at"),
        closed=True,
    )
    | {"minProperties": 1},
    "Queues": data(
        shape(
            {
                "jobs": many(
                    shape(
                        {
                            "workload": TEXT,
                            "queued": WHOLE,
                            "running": WHOLE,
                            "oldest_wait_s": maybe(NUMBER),
                        }
                    )
                ),
                "chores": many(
                    shape(
                        {
                            "name": TEXT,
                            "status": TEXT,
                            "count": WHOLE,
                            "oldest_at": maybe(TIME),
                            "attempts_max": WHOLE,
                        }
                    )
                ),
            }
        )
    ),
    "LedgerCheck": data(
        shape(
            {
                "balanced": TRUTH,
                "checked_at": TIME,
                "drifted": many(shape({"account": TEXT, "kept": _BALANCE, "rebuilt": _BALANCE})),
            }
        )
    ),
    "NetworkHealth": data(
        shape(
            {
                "status": one_of("ok", "degraded"),
                "version": TEXT,
                "parts": many(shape({"name": TEXT, "ok": TRUTH, "said": TEXT})),
                "coordinators": many(
                    shape({"id": TEXT, "seen_at": TIME, "alive": TRUTH, "this": TRUTH})
                ),
            }
        )
    ),
}
