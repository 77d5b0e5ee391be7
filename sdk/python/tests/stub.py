"""A small network that answers as the API promises, without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from archipelag import Client

JOB = "job_0123456789abcdefghjkmnpqrs"
ISLAND = "isl_0123456789abcdefghjkmnpqrs"
TEXTS = ["An ", "archipelago ", "is ", "islands."]


def job(status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": JOB,
        "workload_id": 1,
        "workload_slug": "llm-chat",
        "status": status,
        "input": {"prompt": "hi"},
        "output": "".join(TEXTS),
        "error": None,
        "created_at": "2026-11-24T10:00:00Z",
        "started_at": "2026-11-24T10:00:01+00:00",
        "completed_at": None,
        "duration_ms": 12,
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "credits_used": "0.00046"},
        "attempts": [{"island": ISLAND, "epoch": 1, "reason": "completed"}],
        **more,
    }


def numbered(texts: list[str], *, first: int = 0, done: bool = True) -> bytes:
    """As our own network says it: each event with the position after it; the opening one only at the beginning."""
    said = chunks(texts, done=done).decode().split("\n\n")[:-1]
    opening, pieces, ends = said[:1], said[1 : len(texts) + 1], said[len(texts) + 1 :]
    last = first + len(texts)
    told = [f"id: 0\n{one}" for one in opening] if not first else []
    told += [f"id: {first + n}\n{one}" for n, one in enumerate(pieces, start=1)]
    told += [one if "[DONE]" in one else f"id: {last}\n{one}" for one in ends]
    return "".join(f"{one}\n\n" for one in told).encode()


def chunks(texts: list[str], *, done: bool = True) -> bytes:
    lines: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"role": "assistant"}}]}]
    lines += [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    lines.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    lines.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": len(texts)}})
    ends = ["[DONE]"] if done else []
    return "".join(f"data: {x}\n\n" for x in [*map(json.dumps, lines), *ends]).encode()


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces; an error among them is raised there."""

    def __init__(self, *parts: bytes | BaseException) -> None:
        self.parts = parts
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for part in self.parts:
            if isinstance(part, BaseException):
                raise part
            yield part

    async def __aiter__(self) -> Any:
        for part in self:
            yield part

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class Network:
    """Answers each path; `script` answers first, one entry a request, for what goes wrong."""

    def __init__(self, *script: httpx.Response | Exception) -> None:
        self.script = list(script)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return self.usual(request)

    def usual(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path.startswith("/api/v1/")
        route = (request.method, request.url.path.removeprefix("/api/v1"))
        named = {"x-archipelag-job": JOB, "X-Archipelag-Island": ISLAND}
        match route:
            case ("POST", "/chat/completions"):
                body = json.loads(request.content)
                if body.get("stream"):
                    return httpx.Response(200, headers=named, content=chunks(TEXTS))
                message = {"role": "assistant", "content": "".join(TEXTS)}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
                answer = {"model": body["model"], "choices": [choice], "usage": usage}
                return httpx.Response(200, headers=named, json=answer)
            case ("GET", "/models"):
                return _ok([{"id": "smollm2", "object": "model", "owned_by": "archipelag"}])
            case ("GET", "/account"):
                return _ok({"id": "usr_1", "email": "a@example.org", "credits": "12.5"})
            case ("GET", "/hosts"):
                return _ok([{"id": ISLAND, "name": "tern", "status": "ready", "region": "home"}])
            case ("GET", path) if path == f"/hosts/{ISLAND}/karma":
                return _ok({"points": 1.5, "tier": "known", "payout_open": False})
            case ("GET", path) if path == f"/hosts/{ISLAND}/usage":
                row = {"job_id": JOB, "epoch": 2, "cause": "completed"}
                return _ok([row | {"first_position": 3, "next_position": 7}])
            case ("GET", "/workloads"):
                return _ok([{"id": 1, "slug": "llm-chat", "name": "Chat", "price_per_job": "0"}])
            case ("POST", "/jobs"):
                return httpx.Response(201, json={"data": job("queued")})
            case ("GET", "/jobs"):
                meta = {"total": 1, "limit": 20, "offset": 0}
                return httpx.Response(200, json={"data": [job()], "meta": meta})
            case ("DELETE", path) if path.startswith("/jobs/"):
                return _ok(job("cancelled"))
            case ("GET", path) if path.endswith("/output"):
                return _ok({"output": "".join(TEXTS)})
            case ("GET", path) if path == f"/jobs/{JOB}":
                return _ok(job())
            case ("GET", "/api-keys"):
                return _ok([{"id": "key_1", "name": "mine", "prefix": "ak_ab", "scopes": ["read"]}])
            case ("POST", "/api-keys"):
                made = {"id": "key_2", "name": "new", "prefix": "ak_cd", "scopes": ["read"]}
                return httpx.Response(201, json={"data": made, "key": "ak_secret"})
            case ("DELETE", "/api-keys/key_1"):
                return httpx.Response(204)
            case ("GET", "/network/stats"):
                return httpx.Response(200, json={"online_islands": 2, "jobs_completed": 9})
            case ("GET", "/health"):
                return httpx.Response(200, json={"status": "ok", "version": "0.1.0"})
        return refused(404, "not_found", "no such thing")

    def client(
        self, base_url: str | None = None, api_key: str | None = None, **more: Any
    ) -> Client:
        return Client(
            base_url or "http://network.test",
            api_key or "ak_test",
            transport_layer=httpx.MockTransport(self),
            sleep=self.waits.append,
            chance=lambda: 0.0,
            **more,
        )


def refused(status: int, code: str, message: str = "no", **more: Any) -> httpx.Response:
    headers = {"Retry-After": str(more.pop("retry_after"))} if "retry_after" in more else {}
    error = {"code": code, "message": message, "type": "x", **more}
    return httpx.Response(status, headers=headers, json={"error": error})


def _ok(value: Any) -> httpx.Response:
    return httpx.Response(200, json={"data": value})


Handler = Callable[[httpx.Request], httpx.Response]
