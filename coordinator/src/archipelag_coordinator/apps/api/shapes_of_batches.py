"""The JSON shapes of batches."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.apps.api.schemas import (
    ANYTHING,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Schema,
    data,
    many,
    maybe,
    one_of,
    ref,
    shape,
)

_COUNTS: Final = shape(
    dict.fromkeys(("queued", "running", "completed", "failed", "cancelled"), WHOLE)
)
_BATCH: Final[dict[str, Schema]] = {
    "id": {"type": "string", "description": "bat_…"},
    "status": one_of("running", "stopping", "completed", "failed", "cancelled"),
    "workload_slug": TEXT,
    "total": WHOLE,
    "counts": _COUNTS,
    "jobs": many(TEXT) | {"description": "Ids, in the order of the inputs"},
    "merge_strategy": one_of("concat", "flatten"),
    "fail_mode": one_of("best_effort", "fail_fast"),
    "max_parallelism": WHOLE,
    "priority": WHOLE,
    "error": maybe(TEXT),
    "created_at": TIME,
    "completed_at": maybe(TIME),
}
_ANY_JSON: Final[Schema] = {
    "anyOf": [
        {"type": "array", "items": {}},
        {"type": "string"},
        {"type": "null"},
    ],
    "description": "Text for `concat`, a list for `flatten`; null before the batch has ended",
}
BATCHES: Final[dict[str, Schema]] = {
    "BatchRequest": shape(
        {
            "workload": {"type": "string", "description": "A Cargo's slug"},
            "inputs": many(ANYTHING) | {"minItems": 1, "maxItems": 100},
            "merge_strategy": one_of("concat", "flatten") | {"default": "concat"},
            "fail_mode": one_of("best_effort", "fail_fast") | {"default": "best_effort"},
            "max_parallelism": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
            "priority": {"type": "integer", "minimum": 0, "maximum": 10, "default": 0},
        },
        *("merge_strategy", "fail_mode", "max_parallelism", "priority"),
        closed=True,
    ),
    "Batch": shape(_BATCH),
    "BatchAnswer": data(ref("Batch")),
    "BatchList": shape(
        {
            "data": many(ref("Batch")),
            "meta": shape({"total": WHOLE, "limit": WHOLE, "offset": WHOLE}),
        }
    ),
    "CancelAnswer": data({"anyOf": [ref("Job"), ref("Batch")]}),
    "BatchStatusAnswer": data(
        shape(
            _BATCH
            | {
                "items": many(
                    shape(
                        {
                            "job_id": TEXT,
                            "status": one_of(
                                *("pending", "queued", "running", "completed"),
                                *("failed", "cancelled", "timeout"),
                            ),
                            "error": maybe(TEXT),
                            "usage": ref("Usage"),
                        }
                    )
                ),
                "usage": ref("Usage"),
                "output": _ANY_JSON,
                "output_omitted": TRUTH,
            }
        )
    ),
}
