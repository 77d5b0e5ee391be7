"""Exchanges that the recorder's customer has no right or no history for, written by hand from the API's reference."""

from __future__ import annotations

import json
from typing import Any

BATCH = "bat_01m8f3batch0000000000000000"
JOBS = ["job_01m8f3batch0000000000000001", "job_01m8f3batch0000000000000002"]
USAGE = {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4, "credits_used": "0.00012"}
MADE = {
    "id": BATCH,
    "status": "running",
    "workload_slug": "echo",
    "total": 2,
    "counts": {"queued": 1, "running": 1, "completed": 0, "failed": 0, "cancelled": 0},
    "jobs": JOBS,
    "merge_strategy": "concat",
    "fail_mode": "best_effort",
    "max_parallelism": 1,
    "priority": 0,
    "error": None,
    "created_at": "2026-11-27T18:20:00.000Z",
    "completed_at": None,
}
ENDED = MADE | {
    "status": "completed",
    "counts": {"queued": 0, "running": 0, "completed": 1, "failed": 1, "cancelled": 0},
    "completed_at": "2026-11-27T18:20:01.500Z",
    "items": [
        {"job_id": JOBS[0], "status": "completed", "error": None, "usage": USAGE},
        {"job_id": JOBS[1], "status": "failed", "error": "told to fail", "usage": USAGE},
    ],
    "usage": USAGE,
    "output": "first ",
    "output_omitted": False,
}
OBSTACLE = {"rule": "has_cargo", "meaning": "it does not offer this Cargo", "count": 3}
JOB_WHY = {
    "job_id": JOBS[0],
    "status": "queued",
    "attempts": [
        {
            "epoch": 1,
            "island_id": "isl_01m8f3",
            "island": "tern",
            "status": "lost",
            "why": "warm, and the nearest",
            "score": 1.5,
            "asked": 4,
            "fit": 1,
            "preferences": [{"name": "prefers_warm", "weight": 1.0, "value": 1.5, "gave": 1.5}],
            "kept_out": [OBSTACLE],
        }
    ],
    "waiting": {
        "since": "2026-11-27T18:20:00.000Z",
        "until": "2026-11-27T18:25:00.000Z",
        "asked": 3,
        "fit": 0,
        "reasons": [OBSTACLE],
        "hint": "connect an Island that offers echo",
        "ahead": 4,
        "expected_wait_s": 12.5,
    },
    "reader_round_trip_ms": 83.25,
}
ISLAND_WHY = {
    "island_id": "isl_01m8f3",
    "gets_work": False,
    "reasons": [{"code": "not_approved", "reason": "an administrator has not approved it yet"}],
    "cargos": [],
}
DAY = {
    "day": "2026-11-27",
    "jobs": 3,
    "prompt_tokens": 10,
    "completion_tokens": 20,
    "credits": "0.0012",
}
EARNED = {
    "day": "2026-11-27",
    "attempts": 3,
    "completed": 2,
    "output_items": 20,
    "prompt_tokens": 10,
    "seconds": 1.5,
    "paid_from_charge": "0.001",
    "paid_from_insurance": "0",
    "owed": "0.0002",
    "credits": "0.001",
}
TRANSFER = {
    "id": "tra_2",
    "account": "spending",
    "at": "2026-11-27T18:20:01.500Z",
    "kind": "charge",
    "amount": "-0.00012",
    "balance_after": "9.99988",
    "job_id": JOBS[0],
    "key_id": "key_01m8f3",
    "note": None,
}
GRANT = TRANSFER | {
    "id": "tra_1",
    "kind": "grant",
    "amount": "10",
    "balance_after": "10",
    "job_id": None,
    "key_id": None,
    "note": "welcome",
}
KEY = {
    "id": "key_01m8f3",
    "name": "renamed",
    "prefix": "ak_ab",
    "scopes": ["read"],
    "created_at": "2026-11-27T18:20:00.000Z",
    "last_used_at": None,
    "expires_at": None,
    "revoked_at": None,
    "budget": "3",
    "used": "0",
    "rate_per_minute": 10,
}
HOST = {"id": "isl_01m8f3", "name": "attic", "status": "draining", "region": "eu"}
SESSION = {
    "id": "key_01m8f3session",
    "user_agent": "Mozilla/5.0",
    "created_at": "2026-11-27T18:20:00.000Z",
    "last_used_at": None,
    "expires_at": "2026-12-27T18:20:00.000Z",
    "revoked_at": None,
    "current": False,
}
PERSON = {
    "id": "usr_01m8f3",
    "email": "ada@example.org",
    "role": "operator",
    "suspended": False,
    "created_at": "2026-11-27T18:20:00.000Z",
}
OTHER = PERSON | {"id": "usr_01m8f2", "email": "bob@example.org", "role": "user"}
GRANTED = {
    "id": "usr_01m8f3",
    "email": "ada@example.org",
    "role": "operator",
    "credits": "12.5",
    "held": "0",
    "available": "12.5",
    "created_at": "2026-11-27T18:20:00.000Z",
    "granted": True,
}
TOO_MANY = {
    "code": "too_many_batches",
    "message": "too many of your batches have not ended",
    "type": "invalid_request_error",
}


PLACE = {"x-archipelag-place": "19b796dfd10.YGQPd0tBViJUM-Kr8ogJkLZR0yJ8jsO1T1wnHscFaLI"}
JOB = {
    "id": JOBS[0],
    "status": "queued",
    "workload_slug": "echo",
    "input": {"text": "soon"},
    "created_at": "2026-11-27T18:20:00.000Z",
    "wait": {"ahead": 2, "expected_wait_s": 7.5},
}
BUSY = {"type": "status", "content": "queued", "reasons": ["1 Island is busy"]}
FOLLOWED = [
    ("0", BUSY | {"ahead": 2, "expected_wait_s": 7.5}),
    ("0", BUSY | {"ahead": 0, "expected_wait_s": None}),
    ("0", {"type": "status", "content": "running"}),
    ("1", {"type": "token", "content": "soon "}),
    ("1", {"type": "done", "usage": USAGE, "finish_reason": "stop"}),
]
OVERLOADED = {
    "code": "overloaded",
    "message": "31 jobs are before this one, which would wait about 24 s for an Island and should wait 20 s at most; "
    "come back in 4 s",
    "type": "rate_limit_error",
    "wait_s": 24.2,
    "wait_target_s": 20.0,
    "retry_after_s": 4,
    "ahead": 31,
}


def exchanges() -> list[dict[str, Any]]:
    """Without their results."""
    return _work() + _waits() + _books() + _changes() + _people()


def _work() -> list[dict[str, Any]]:
    inputs = [{"text": "first"}, {"text": "second", "fail_at": 0}]
    asked = {"workload": "echo", "inputs": inputs, "max_parallelism": 1}
    return [
        _one("a batch", "submit_batch", asked, "POST /jobs/batch", MADE, status=201, body=asked),
        _one("too many batches", "submit_batch", asked, "POST /jobs/batch", TOO_MANY, 409, asked),
        _one("a batch read", "get_batch_status", {"batch_id": BATCH}, _status(), ENDED),
        _one("a batch waited for", "wait_for_batch", {"batch_id": BATCH}, _status(), ENDED),
        _one(
            "a batch cancelled",
            "cancel_batch",
            {"batch_id": BATCH},
            f"DELETE /jobs/{BATCH}",
            MADE | {"status": "stopping"},
        ),
        _one(
            "why a job waits", "why_job", {"job_id": JOBS[0]}, f"GET /jobs/{JOBS[0]}/why", JOB_WHY
        ),
        _one(
            "why an Island gets no work",
            "why_island",
            {"island_id": "isl_01m8f3"},
            "GET /hosts/isl_01m8f3/why",
            ISLAND_WHY,
        ),
    ]


def _waits() -> list[dict[str, Any]]:
    said = {"text": "soon"}
    asked = {"workload": "echo", "input": said}
    body = asked
    away = _one("a job sent away", "create_job", asked, "POST /jobs", OVERLOADED, 429, body)
    away["response"]["headers"] |= {"retry-after": "4"} | PLACE
    back = _one("", "create_job", asked, "POST /jobs", JOB, 201, body)
    back["request"]["headers"] |= PLACE
    soon = _one(
        "a job of use within some seconds",
        "create_job",
        asked | {"within_s": 2.5},
        "POST /jobs",
        JOB,
        201,
        body,
    )
    soon["request"]["headers"] |= {"x-archipelag-within": "2.5"}
    return [
        away,
        away
        | {"name": "a job sent away that comes back and shows its place"}
        | {"then": [{"request": back["request"], "response": back["response"]}]},
        soon,
        _followed(),
    ]


def _followed() -> dict[str, Any]:
    """A job that waits, comes nearer, and is done."""
    told = _one(
        "a job followed from its place in line",
        "stream_job",
        {"job_id": JOBS[0]},
        f"GET /jobs/{JOBS[0]}/stream",
        None,
    )
    told["response"] = {
        "status": 200,
        "headers": {"content-type": "text/event-stream; charset=utf-8"},
        "events": [{"id": place, "data": json.dumps(data)} for place, data in FOLLOWED],
    }
    return told


def _changes() -> list[dict[str, Any]]:
    orders = {
        "draining": True,
        "schedule": {"sat": [0, 23]},
        "least_prices": {"echo": {"per_output_item": "0.002"}},
    }
    return [
        _one(
            "a key changed",
            "update_key",
            {"key_id": "key_01m8f3", "name": "renamed", "budget": "3"},
            "PATCH /api-keys/key_01m8f3",
            KEY,
            body={"name": "renamed", "budget": "3"},
        ),
        _one(
            "orders to an Island",
            "order_island",
            {"island_id": "isl_01m8f3"} | orders,
            "PATCH /hosts/isl_01m8f3",
            HOST,
            body=orders,
        ),
        _one(
            "an Island that may work at any hour again",
            "order_island",
            {"island_id": "isl_01m8f3", "schedule": "always"},
            "PATCH /hosts/isl_01m8f3",
            HOST,
            body={"schedule": None},
        ),
    ]


def _books() -> list[dict[str, Any]]:
    day = {"since": "2026-11-01", "until": "2026-11-30"}
    within = {"from": "2026-11-01", "to": "2026-11-30"}
    page = {"limit": 100, "next": "tra_2"}
    return [
        _one("usage by day", "get_usage", day, "GET /usage", [DAY], query=within),
        _one(
            "usage by key",
            "get_usage",
            {"by": "key"},
            "GET /usage",
            [DAY | {"day": None, "key_id": "key_01m8f3", "key_name": "mine"}],
            query={"by": "key"},
        ),
        _one(
            "what an Island earned",
            "get_island_earnings",
            {"island_id": "isl_01m8f3"},
            "GET /hosts/isl_01m8f3/earnings",
            [EARNED],
        ),
        _one(
            "transfers over two pages",
            "list_transfers",
            {},
            "GET /account/transfers",
            [TRANSFER],
            query={"limit": "100"},
            meta=page,
        )
        | {
            "then": [
                {
                    "request": _request(
                        "GET /account/transfers", None, {"limit": "100", "before": "tra_2"}
                    ),
                    "response": _response(200, [GRANT], {"limit": 100, "next": None}),
                }
            ]
        },
        _one(
            "jobs by several",
            "list_jobs",
            {"status": ["failed", "cancelled"], "workload": "echo", "limit": 5},
            "GET /jobs",
            [],
            query={
                "limit": "5",
                "offset": "0",
                "status": ["failed", "cancelled"],
                "workload": "echo",
            },
            meta={"total": 0, "limit": 5, "offset": 0},
        ),
    ]


def _people() -> list[dict[str, Any]]:
    given = {"user_id": "usr_01m8f3", "amount": "2.5", "cause": "thanks"}
    body = {"user_id": "usr_01m8f3", "credits": "2.5", "cause": "thanks"}
    gone = SESSION | {"revoked_at": "2026-11-27T18:30:00.000Z"}
    first = {"limit": "100", "offset": "0", "search": "example"}
    meta = {"total": 2, "limit": 100, "offset": 0}
    second = _request("GET /admin/users", None, first | {"offset": "1"})
    return [
        _one("browsers signed in", "list_sessions", {}, "GET /sessions", [SESSION]),
        _one(
            "a browser signed out",
            "revoke_session",
            {"session_id": SESSION["id"]},
            f"DELETE /sessions/{SESSION['id']}",
            gone,
        ),
        _one(
            "people over two pages",
            "list_users",
            {"search": "example"},
            "GET /admin/users",
            [PERSON],
            query=first,
            meta=meta,
        )
        | {
            "then": [{"request": second, "response": _response(200, [OTHER], meta | {"offset": 1})}]
        },
        _one("a grant", "grant_credits", given, "POST /admin/grants", GRANTED, 201, body),
        _one(
            "a grant given before",
            "grant_credits",
            given,
            "POST /admin/grants",
            GRANTED | {"granted": False},
            body=body,
        ),
    ]


def _status() -> str:
    return f"GET /jobs/{BATCH}/batch-status"


def _one(
    name: str,
    method: str,
    args: dict[str, Any],
    route: str,
    answer: Any,
    status: int = 200,
    body: Any = None,
    query: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "recorded": False,
        "call": {"method": method, "args": args},
        "request": _request(route, body, query or {}),
        "response": _response(status, answer, meta),
    }


def _request(route: str, body: Any, query: dict[str, Any]) -> dict[str, Any]:
    method, path = route.split(" ")
    headers = {"authorization": "Bearer ak_recorded"}
    if method != "GET":
        headers["idempotency-key"] = "*"
    return {"method": method, "path": path, "query": query, "headers": headers, "body": body}


def _response(status: int, answer: Any, meta: dict[str, Any] | None) -> dict[str, Any]:
    shown = {"data": answer} if status < 400 else {"error": answer}
    if meta is not None:
        shown["meta"] = meta
    return {"status": status, "headers": {"content-type": "application/json"}, "body": shown}
