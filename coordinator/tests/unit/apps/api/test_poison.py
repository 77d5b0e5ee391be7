"""Bad input of every kind: refused quickly, in one shape, with nothing changed behind the door."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .conftest import Api, chat

MESSAGE = {"role": "user", "content": "hello"}


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def with_field(name: str, json_text: str) -> bytes:
    """A chat request with one more field, written as it is."""
    return raw(json.dumps(chat())[:-1] + f', "{name}": {json_text}}}')


# What → (the body's bytes, the status).
BODIES: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "no JSON": (b"hello", 400),
    "cut off": (b'{"model": "small-model"', 400),
    "a list": (b"[]", 400),
    "a number": (b"7", 400),
    "null": (b"null", 400),
    "not UTF-8": (b'{"model": "\xff\xfe"}', 400),
    "UTF-16": ('{"model": "x"}'.encode("utf-16"), 400),
    "byte order mark": (b"\xef\xbb\xbf{}", 400),
    "NUL byte": (b'{"model": "a\x00b"}', 400),
    "NaN": (with_field("temperature", "NaN"), 400),
    "Infinity": (with_field("temperature", "Infinity"), 400),
    "minus Infinity": (with_field("temperature", "-Infinity"), 400),
    "1e999": (with_field("temperature", "1e999"), 400),
    "5,000 digits": (with_field("seed", "9" * 5000), 400),
    "21 digits": (with_field("max_tokens", "9" * 21), 400),
    "the same field twice": (b'{"model": "a", "model": "b"}', 400),
    "the same field twice inside": (with_field("metadata", '{"a": 1, "a": 2}'), 400),
    "depth 10,000": (b"[" * 10_000 + b"]" * 10_000, 400),
    "depth 10,000 in objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
    "depth 100": (with_field("metadata", "[" * 100 + "]" * 100), 400),
    "depth 100 not closed": (b'{"metadata":' + b"[" * 100, 400),
    "half a character": (with_field("user", '"\\ud800"'), 422),
    "half a character as a name": (with_field("\\udc00", "1"), 422),
    "half a character, raw": (raw('{"model": "\ud800"}'), 400),
    "NUL escaped": (with_field("user", '"\\u0000"'), 422),
    "10 MiB": (b'{"model": "' + b"x" * (10 * 1024 * 1024) + b'"}', 413),
    "just over the limit": (b" " * (1024 * 1024 + 1), 413),
    "a million elements": (with_field("stop", "[" + "1," * 200_000 + "1]"), 422),
    "a trailing comma": (b'{"model": "x",}', 400),
    "two documents": (b"{} {}", 400),
}
# What → (changes to a good chat request, the status, the field that is named).
FIELDS: dict[str, tuple[dict[str, Any], int, str]] = {
    "129 messages": ({"messages": [MESSAGE] * 129}, 422, "messages"),
    "no messages": ({"messages": []}, 422, "messages"),
    "messages missing": ({"messages": None}, 422, "messages"),
    "messages as text": ({"messages": "hello"}, 422, "messages"),
    "a message that is text": ({"messages": ["hello"]}, 422, "messages.0"),
    "an unknown role": ({"messages": [{"role": "king", "content": ""}]}, 422, "messages.0.role"),
    "content that is a number": (
        {"messages": [{"role": "user", "content": 7}]},
        422,
        "messages.0.content",
    ),
    "33 KB in one message": (
        {"messages": [{"role": "user", "content": "x" * 33 * 1024}]},
        422,
        "messages.0.content",
    ),
    "a picture": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        400,
        "messages.0.content",
    ),
    "model missing": ({"model": None}, 422, "model"),
    "model a list": ({"model": ["small-model"]}, 422, "model"),
    "model empty": ({"model": ""}, 422, "model"),
    "model unknown": ({"model": "gpt-9"}, 404, "workload"),
    "max_tokens negative": ({"max_tokens": -1}, 422, "max_tokens"),
    "max_tokens zero": ({"max_tokens": 0}, 422, "max_tokens"),
    "max_tokens text": ({"max_tokens": "8"}, 422, "max_tokens"),
    "max_tokens true": ({"max_tokens": True}, 422, "max_tokens"),
    "max_tokens a fraction": ({"max_tokens": 1.5}, 422, "max_tokens"),
    "max_tokens huge": ({"max_tokens": 10**19}, 422, "max_tokens"),
    "n a billion": ({"n": 10**9}, 400, "n"),
    "n two": ({"n": 2}, 400, "n"),
    "temperature 3": ({"temperature": 3}, 422, "temperature"),
    "temperature a list": ({"temperature": []}, 422, "temperature"),
    "seed beyond 64 bits": ({"seed": 2**63}, 422, "seed"),
    "five stops": ({"stop": ["a"] * 5}, 422, "stop"),
    "an empty stop": ({"stop": ""}, 422, "stop"),
    "an unknown field": ({"colour": "blue"}, 422, "colour"),
    "a long unknown field": ({"x" * 5000: 1}, 422, "x" * 64),
    "tools": ({"tools": [{"type": "function"}]}, 400, "tools"),
    "logprobs": ({"logprobs": True}, 400, "logprobs"),
    "JSON mode": ({"response_format": {"type": "json_object"}}, 400, "response_format"),
    "stream as text": ({"stream": "yes"}, 422, "stream"),
    "stream options a list": ({"stream_options": []}, 422, "stream_options"),
    "usage as a number": (
        {"stream_options": {"include_usage": 1}},
        422,
        "stream_options.include_usage",
    ),
}


def check_shape(told: dict[str, Any]) -> None:
    assert set(told) <= {"error", "errors"}
    assert {"code", "message", "type"} <= set(told["error"])
    assert told["error"]["type"] == "invalid_request_error"
    assert len(json.dumps(told)) < 20_000, "an error that repeats its input"


async def check_untouched(api: Api, before: int) -> None:
    assert await api.scene.balance() == before
    assert await api.jobs() == 0
    assert api.scene.bus.assigned == []
    assert len(api.scene.world.answers) == 0


@pytest.mark.parametrize("path", ["/chat/completions", "/jobs", "/api-keys"])
@pytest.mark.parametrize("what", BODIES)
async def test_a_body_that_is_none(api: Api, what: str, path: str) -> None:
    body, status = BODIES[what]
    before = await api.scene.balance()
    async with api.client() as http:
        answer = await http.post(path, content=body)

    assert answer.status_code == status, answer.text[:500]
    check_shape(answer.json())
    await check_untouched(api, before)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("what", FIELDS)
async def test_a_chat_request_that_is_none(api: Api, what: str, stream: bool) -> None:
    changes, status, field = FIELDS[what]
    before = await api.scene.balance()
    async with api.client() as http:
        answer = await http.post("/chat/completions", json=chat(stream=stream) | changes)

    assert answer.status_code == status, answer.text[:500]
    told = answer.json()
    check_shape(told)
    assert told["error"]["param"] == field
    if status == 422:
        assert field in told["errors"]
    await check_untouched(api, before)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"workload": None}, "workload"),
        ({"workload": 7}, "workload"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"priority": "high"}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 11}, "priority"),
        ({"priority": -1}, "priority"),
        ({"colour": 1}, "colour"),
        ({"input": {"prompt": "x", "colour": 1}}, "colour"),
        ({"input": {"prompt": 7}}, "prompt"),
    ],
)
async def test_a_job_that_is_none(api: Api, changes: dict[str, Any], field: str) -> None:
    before = await api.scene.balance()
    good = {"workload": "llm-chat", "input": {"prompt": "hello", "max_tokens": 4}}
    async with api.client() as http:
        answer = await http.post("/jobs", json=good | changes)

    assert answer.status_code == 422
    assert field in answer.json()["errors"]
    await check_untouched(api, before)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["rule"]}, "scopes"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": [["read"]]}, "scopes"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": 7}, "expires_at"),
        ({"budget": "much"}, "budget"),
        ({"budget": -1}, "budget"),
        ({"budget": "0.0000001"}, "budget"),
        ({"budget": True}, "budget"),
        ({"budget": "1e400"}, "budget"),
        ({"budget": "9" * 23}, "budget"),
        ({"budget": "٣"}, "budget"),
        ({"rate_per_minute": 0}, "rate_per_minute"),
        ({"rate_per_minute": 1.5}, "rate_per_minute"),
        ({"colour": 1}, "colour"),
    ],
)
async def test_a_key_that_is_none(api: Api, changes: dict[str, Any], field: str) -> None:
    async with api.client() as http:
        before = (await http.get("/api-keys")).json()
        answer = await http.post("/api-keys", json={"name": "new", "scopes": ["read"]} | changes)
        after = (await http.get("/api-keys")).json()

    assert answer.status_code == 422, answer.text
    assert field in answer.json()["errors"]
    assert before == after


async def test_a_body_without_a_length_is_read_no_further_than_its_limit(api: Api) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * 1024 * 1024:
            sent += 64 * 1024
            yield b" " * 64 * 1024

    async with api.client() as http:
        answer = await http.post("/chat/completions", content=endless())

    assert answer.status_code == 413
    assert sent < 2 * 1024 * 1024


async def test_a_compressed_body_is_refused(api: Api) -> None:
    async with api.client() as http:
        headers = {"Content-Encoding": "gzip"}
        answer = await http.post("/chat/completions", content=b"\x1f\x8b", headers=headers)

    assert answer.status_code == 400


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "ak_" + "0" * 43, "Bearer ak_\xff", "Bearer a b"],
)
async def test_an_authorization_that_is_none(api: Api, header: str) -> None:
    async with api.client("") as http:
        headers = {"Authorization": header.encode("latin-1")}
        answer = await http.get("/account", headers=headers)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


async def test_two_authorizations_are_none(api: Api) -> None:
    headers = [("Authorization", f"Bearer {api.secret}"), ("Authorization", "Bearer x")]
    async with api.client("") as http:
        answer = await http.get("/account", headers=headers)

    assert answer.status_code == 401
