"""The JSON shapes of reasons: why this Island, why still waiting, why no work."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.apps.api.schemas import (
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

_OBSTACLES: Final = many(shape({"rule": TEXT, "meaning": TEXT, "count": WHOLE}))
_PREFERENCES: Final = many(shape({"name": TEXT, "weight": NUMBER, "value": NUMBER, "gave": NUMBER}))
WHY: Final[dict[str, Schema]] = {
    "JobWhyAnswer": data(
        shape(
            {
                "job_id": TEXT,
                "status": TEXT,
                "attempts": many(
                    shape(
                        {
                            "epoch": WHOLE,
                            "island_id": TEXT,
                            "island": maybe(TEXT),
                            "status": TEXT,
                            "why": TEXT,
                            "score": NUMBER,
                            "asked": WHOLE,
                            "fit": WHOLE,
                            "preferences": _PREFERENCES,
                            "kept_out": _OBSTACLES,
                        }
                    )
                ),
                "waiting": maybe(
                    shape(
                        {
                            "since": TIME,
                            "until": TIME,
                            "asked": WHOLE,
                            "fit": WHOLE,
                            "reasons": _OBSTACLES,
                            "hint": TEXT,
                            "ahead": WHOLE,
                            "expected_wait_s": maybe(NUMBER),
                        }
                    )
                ),
                "reader_round_trip_ms": maybe(NUMBER),
            }
        )
    ),
    "HostWhyAnswer": data(
        shape(
            {
                "island_id": TEXT,
                "gets_work": TRUTH,
                "reasons": many(
                    shape(
                        {
                            "code": one_of(
                                *("suspended", "not_approved", "not_ready", "in_doubt"),
                                *("no_cargo", "none_fitting", "busy", "behind_others"),
                                "no_demand",
                            ),
                            "reason": TEXT,
                        }
                    )
                ),
                "cargos": many(
                    shape(
                        {
                            "slug": TEXT,
                            "state": TEXT,
                            "fits": TRUTH,
                            "reason": maybe(TEXT),
                            "rank": maybe(WHOLE),
                            "of": WHOLE,
                            "score": maybe(NUMBER),
                            "best_score": maybe(NUMBER),
                            "queued": WHOLE,
                            "asked_lately": WHOLE,
                        }
                    )
                ),
            }
        )
    ),
}
