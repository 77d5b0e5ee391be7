"""The JSON shapes of the API as JSON Schema, for its description. Tests hold real answers against them."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.apps.api.schemas import (
    ANYTHING,
    CREDITS,
    NUMBER,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    WITHOUT_EFFECT,
    Schema,
    data,
    many,
    maybe,
    one_of,
    ref,
    shape,
    within,
)
from archipelag_coordinator.apps.api.shapes_of_batches import BATCHES
from archipelag_coordinator.apps.api.shapes_of_conversations import CONVERSATIONS
from archipelag_coordinator.apps.api.shapes_of_files import FILES, MODELS
from archipelag_coordinator.apps.api.shapes_of_money import MONEY
from archipelag_coordinator.apps.api.shapes_of_operating import OPERATING
from archipelag_coordinator.apps.api.shapes_of_people import PEOPLE
from archipelag_coordinator.apps.api.shapes_of_publishing import PUBLISHING, SIGNING_KEYS, WORKLOAD
from archipelag_coordinator.apps.api.shapes_of_why import WHY

_USAGE: Final = shape(
    {
        "prompt_tokens": WHOLE,
        "completion_tokens": WHOLE,
        "total_tokens": WHOLE,
        "prompt_tokens_details": shape({"cached_tokens": WHOLE}),
        "credits_used": CREDITS,
    },
    "prompt_tokens_details",
)
_JOB_STATUS: Final = one_of(
    "pending", "queued", "running", "completed", "failed", "cancelled", "timeout"
)

_PROBLEMS: Final[dict[str, Schema]] = {
    "Error": shape(
        {
            "error": shape(
                {
                    "code": TEXT,
                    "message": TEXT,
                    "type": TEXT,
                    "param": TEXT,
                    "required": CREDITS,
                    "available": CREDITS,
                    "reasons": many(TEXT),
                },
                "param",
                "required",
                "available",
                "reasons",
            ),
            "errors": {"type": "object", "additionalProperties": many(TEXT)},
        },
        "errors",
    ),
}

_STREAMS: Final[dict[str, Schema]] = {
    "Event": shape(
        {
            "id": {"type": "string", "description": "Send it as Last-Event-ID to go on from here"},
            "data": {"type": "string", "description": "JSON; `[DONE]` ends OpenAI's streams"},
        },
        "id",
    )
}

_BILLED: Final[dict[str, Schema]] = {
    "cause": TEXT,
    "first_position": WHOLE,
    "next_position": WHOLE,
    "prompt_tokens": WHOLE,
    "reread_tokens": WHOLE,
    "seconds": NUMBER,
    "paid_from_charge": CREDITS,
    "paid_from_insurance": CREDITS,
    "owed": CREDITS,
}

_JOBS: Final[dict[str, Schema]] = {
    "Usage": _USAGE,
    "JobRequest": shape(
        {
            "workload": {"type": "string", "description": "A Cargo's slug"},
            "input": ANYTHING,
            "priority": {"type": "integer", "minimum": 0, "maximum": 10, "default": 0},
        },
        "priority",
        closed=True,
    ),
    "Attempt": shape(
        {
            "epoch": WHOLE,
            "island_id": TEXT,
            "island": maybe(TEXT),
            "status": TEXT,
            "cause": maybe(TEXT),
            "reason": maybe(TEXT),
            "placement": {"type": "string", "description": "Why this Island"},
            "determinism_class": maybe(TEXT),
            "assigned_at": TIME,
            "started_at": maybe(TIME),
            "ended_at": maybe(TIME),
            "first_position": WHOLE,
            "next_position": WHOLE,
            "usage": maybe(shape(_BILLED)),
        }
    ),
    "Job": shape(
        {
            "id": TEXT,
            "workload_id": WHOLE,
            "workload_slug": TEXT,
            "status": _JOB_STATUS,
            "input": ANYTHING,
            "output": maybe(TEXT),
            "error": maybe(TEXT),
            "cause": maybe(TEXT),
            "finish_reason": maybe(TEXT),
            "priority": WHOLE,
            "created_at": TIME,
            "started_at": maybe(TIME),
            "completed_at": maybe(TIME),
            "deadline_at": maybe(TIME),
            "duration_ms": maybe(WHOLE),
            "reserved": CREDITS,
            "waiting_for": many(TEXT),
            "usage": ref("Usage"),
            "attempts": many(ref("Attempt")),
            "wait": shape({"ahead": WHOLE, "expected_wait_s": maybe(NUMBER)}),
        },
        "attempts",
        "wait",
    ),
    "JobAnswer": data(ref("Job")),
    "JobList": shape(
        {
            "data": many(ref("Job")),
            "meta": shape({"total": WHOLE, "limit": WHOLE, "offset": WHOLE}),
        }
    ),
    "JobOutputAnswer": data(
        shape(
            {
                "id": TEXT,
                "status": _JOB_STATUS,
                "output": maybe(TEXT),
                "error": maybe(TEXT),
                "finish_reason": maybe(TEXT),
                "usage": ref("Usage"),
            }
        )
    ),
}

_CHAT_WITHOUT_EFFECT: Final = (
    *("user", "safety_identifier", "metadata", "store", "service_tier", "reasoning_effort"),
    *("verbosity", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    *("prediction", "parallel_tool_calls", "tool_choice", "function_call"),
)
_STOP: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 256}
_TOKENS: Final = within(1, 1_000_000)
_CHAT_FIELDS: Final[dict[str, Schema]] = {
    "model": TEXT,
    "messages": many(ref("ChatMessage")) | {"minItems": 1, "maxItems": 128},
    "stream": maybe(TRUTH),
    "stream_options": maybe(shape({"include_usage": TRUTH}, "include_usage")),
    "max_tokens": maybe(_TOKENS),
    "max_completion_tokens": maybe(_TOKENS),
    "temperature": maybe({"type": "number", "minimum": 0, "maximum": 2}),
    "top_p": maybe({"type": "number", "minimum": 0, "maximum": 1}),
    "min_p": maybe({"type": "number", "minimum": 0, "maximum": 1}),
    "top_k": maybe(within(0, 1_000_000)),
    "frequency_penalty": maybe({"type": "number", "minimum": -2, "maximum": 2}),
    "presence_penalty": maybe({"type": "number", "minimum": -2, "maximum": 2}),
    "seed": maybe(within(-(2**63), 2**63 - 1)),
    "stop": {"anyOf": [_STOP, many(_STOP) | {"maxItems": 4}, {"type": "null"}]},
    "cache_prompt": maybe(
        {"type": "boolean", "description": "False: no Island keeps anything of this prompt"}
    ),
    "n": maybe({"type": "integer", "const": 1}),
    "response_format": maybe(shape({"type": one_of("text")}, closed=True)),
}
_CHAT: Final[dict[str, Schema]] = {
    "ChatMessage": shape(
        {
            "role": one_of("system", "developer", "user", "assistant", "tool"),
            "content": {
                "anyOf": [TEXT, many(shape({"type": one_of("text"), "text": TEXT}))],
                "description": "At most 32 KB of text",
            },
        }
    ),
    "ChatRequest": shape(
        _CHAT_FIELDS | dict.fromkeys(_CHAT_WITHOUT_EFFECT, WITHOUT_EFFECT),
        *(_CHAT_FIELDS.keys() - {"model", "messages"}),
        *_CHAT_WITHOUT_EFFECT,
        closed=True,
    ),
    "ChatCompletion": shape(
        {
            "id": TEXT,
            "object": one_of("chat.completion"),
            "created": WHOLE,
            "model": TEXT,
            "system_fingerprint": TEXT,
            "choices": many(
                shape(
                    {
                        "index": WHOLE,
                        "message": shape(
                            {"role": TEXT, "content": TEXT, "refusal": {"type": "null"}}
                        ),
                        "logprobs": {"type": "null"},
                        "finish_reason": one_of("stop", "length"),
                    }
                )
            ),
            "usage": ref("Usage"),
        }
    ),
}

_NETWORK: Final[dict[str, Schema]] = {
    "Model": shape(
        {"id": TEXT, "object": one_of("model"), "created": WHOLE, "owned_by": TEXT, "kind": TEXT}
    ),
    "ModelList": shape({"object": one_of("list"), "data": many(ref("Model"))}),
    "Workload": shape(WORKLOAD),
    "WorkloadList": data(many(ref("Workload"))),
    "WorkloadAnswer": data(ref("Workload")),
    "Host": shape(
        {
            "id": TEXT,
            "name": TEXT,
            "status": TEXT,
            "approved": TRUTH,
            "region": maybe(TEXT),
            "slots": WHOLE,
            "load": NUMBER,
            "seen_at": maybe(TIME),
            "cargos": many(
                shape(
                    {
                        "slug": TEXT,
                        "digest": TEXT,
                        "state": TEXT,
                        "reason": maybe(TEXT),
                        "slots": WHOLE,
                        "items_per_s": NUMBER,
                        "first_item_ms": NUMBER,
                        "startable": TRUTH,
                        "start_ms": NUMBER,
                        "runtime": maybe(TEXT),
                        "determinism_class": maybe(TEXT),
                    }
                )
            ),
            "owner_id": TEXT,
            "created_at": TIME,
            "capabilities": ANYTHING,
            "broker_rtt_ms": NUMBER,
            "wishes": ref("Wishes"),
        },
        *("owner_id", "created_at", "capabilities", "broker_rtt_ms", "wishes"),
    ),
    "HostList": data(many(ref("Host"))),
    "HostAnswer": data(ref("Host")),
    "HostUsageList": data(
        many(shape({"job_id": TEXT, "epoch": WHOLE, "ended_at": TIME} | _BILLED))
    ),
    "KarmaAnswer": data(
        shape(
            {
                "points": NUMBER,
                "tier": one_of("restricted", "new", "known", "trusted"),
                "payout_open": TRUTH,
                "good_hours": NUMBER,
                "faults": {"type": "object", "additionalProperties": WHOLE},
                "notes": many(
                    shape(
                        {
                            "kind": TEXT,
                            "points": NUMBER,
                            "job_id": TEXT,
                            "epoch": WHOLE,
                            "at": TIME,
                        }
                    )
                ),
            },
            "notes",
        )
    ),
    "Stats": data(shape({"online_islands": WHOLE, "regions": WHOLE, "jobs_completed": WHOLE})),
    "SigningKeyList": SIGNING_KEYS,
    "Health": shape({"status": one_of("ok"), "version": TEXT}),
    "Ready": shape({"status": one_of("ready", "not ready"), "checks": ANYTHING}),
}

_ACCOUNT_OBJECT: Final = shape(
    {
        "id": TEXT,
        "email": TEXT,
        "role": TEXT,
        "credits": CREDITS,
        "held": CREDITS,
        "available": CREDITS,
        "created_at": TIME,
    }
)
_KEY: Final = shape(
    {
        "id": TEXT,
        "name": TEXT,
        "prefix": TEXT,
        "scopes": many(one_of("read", "write")),
        "created_at": TIME,
        "last_used_at": maybe(TIME),
        "expires_at": maybe(TIME),
        "revoked_at": maybe(TIME),
        "budget": maybe(CREDITS),
        "used": CREDITS,
        "rate_per_minute": maybe(WHOLE),
    }
)
_ACCOUNT: Final[dict[str, Schema]] = {
    "Account": data(_ACCOUNT_OBJECT),
    "KeyRequest": shape(
        {
            "name": {"type": "string", "minLength": 1, "maxLength": 100},
            "scopes": many(one_of("read", "write")) | {"minItems": 1},
            "expires_at": maybe(TIME),
            "budget": {"anyOf": [CREDITS, NUMBER, {"type": "null"}]},
            "rate_per_minute": maybe(WHOLE),
        },
        "expires_at",
        "budget",
        "rate_per_minute",
        closed=True,
    ),
    "Key": data(_KEY),
    "KeyList": data(many(_KEY)),
    "NewKey": shape({"data": _KEY, "key": {"type": "string", "description": "Shown once"}}),
    "PairingCode": data(shape({"code": TEXT, "expires_at": TIME})),
    "GrantRequest": shape(
        {"user_id": TEXT, "credits": {"anyOf": [CREDITS, NUMBER]}, "cause": TEXT}, closed=True
    ),
    "GrantAnswer": data(
        _ACCOUNT_OBJECT
        | {
            "properties": _ACCOUNT_OBJECT["properties"] | {"granted": TRUTH},
            "required": [*_ACCOUNT_OBJECT["required"], "granted"],
        }
    ),
}

SHAPES: Final[dict[str, Schema]] = (
    _PROBLEMS
    | _STREAMS
    | _JOBS
    | BATCHES
    | MONEY
    | WHY
    | OPERATING
    | _CHAT
    | CONVERSATIONS
    | FILES
    | MODELS
    | PUBLISHING
    | _NETWORK
    | _ACCOUNT
    | PEOPLE
)
