"""The chat job's JSON: what the Coordinator sends is taken, everything else is refused with a reason."""

import json
from typing import Any

import pytest
from archipelag_llm_chat.chat import INPUT_BYTES_MAX, parse_request
from archipelag_llm_chat.errors import BadRequest

MESSAGES = [{"role": "user", "content": "Hello"}]


def test_every_field_is_taken() -> None:
    body = {
        "messages": [{"role": "developer", "content": "Be brief."}, *MESSAGES],
        "max_tokens": 7,
        "seed": -(2**63),
        "temperature": 0,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "frequency_penalty": -2,
        "presence_penalty": 2,
        "stop": ["a", "b"],
    }

    request = parse_request(json.dumps(body).encode())

    assert [m["role"] for m in request.messages] == ["system", "user"]
    assert request.max_tokens == 7
    assert request.stop == ("a", "b")
    assert request.sampling.seed == -(2**63)
    assert request.sampling.temperature == 0
    assert request.sampling.top_k == 40


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"messages": [{"role": "user", "content": "a"}], "temperature": NaN}',
        b'{"messages": [{"role": "user", "content": "a"}], "temperature": Infinity}',
        b'{"messages": [{"role": "user", "content": "a"}], "temperature": 1e999}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "a"}], "seed": 1' + b"0" * 400 + b"}",
        b" " * (INPUT_BYTES_MAX + 1),
    ],
    ids=range(11),
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_request(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", []),
        ("messages", MESSAGES * 129),
        ("messages", [{"role": ["user"], "content": "a"}]),
        ("messages", [{"role": "user", "content": None}]),
        ("messages", [7]),
        ("max_tokens", 0),
        ("max_tokens", 10**9),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("seed", 2**63),
        ("seed", "1"),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("top_p", 1.1),
        ("min_p", -1),
        ("top_k", -1),
        ("frequency_penalty", 3),
        ("presence_penalty", -3),
        ("stop", ""),
        ("stop", ["a"] * 5),
        ("stop", ["a" * 257]),
        ("stop", [None]),
        ("stop", "\ud800"),
        ("logit_bias", {}),
    ],
)
def test_a_bad_value_is_refused_by_name(field: str, value: Any) -> None:
    body = {"messages": MESSAGES, field: value}

    with pytest.raises(BadRequest, match=field):
        parse_request(json.dumps(body).encode())


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(b'{"messages": 1, "top_p": 5, "seed": "x"}')

    for field in ("messages", "top_p", "seed"):
        assert field in str(caught.value)
