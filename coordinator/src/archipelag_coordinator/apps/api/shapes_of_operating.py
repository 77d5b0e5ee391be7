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
)

_BALANCE: Final = shape({"balance": CREDITS, "held": CREDITS})
OPERATING: Final[dict[str, Schema]] = {
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
