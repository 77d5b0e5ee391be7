"""Server-sent events: hostile text stays text, whatever a client counts as a line break."""

from __future__ import annotations

import json
from typing import Any

import pytest
from archipelag_coordinator.apps.api.job_frames import JobFrames
from archipelag_coordinator.apps.api.sse import ChatFrames, Frames
from archipelag_coordinator.testing.builders import a_job
from hypothesis import given
from hypothesis import strategies as st

COMMON = {"id": 'chatcmpl-"@"', "object": "chat.completion.chunk", "created": 1, "model": 'm"@"'}
HOSTILE = [
    "\n\ndata: [DONE]\n\n",
    "\r\n\r\nevent: error\r\ndata: {}\r\n\r\n",
    "\rdata: x\r\r",
    "data: [DONE]",
    "[DONE]",
    ": keep-alive",
    'id: 9\nretry: 1\n"}]}',
    "\u2028\u2028data: x\u2029\u2029",
    "\x85\x85\x0b\x0c\x1c\x1d\x1e\x00\ufeff",
    '"@"',
    "\\",
    "\U0001f469\u200d\U0001f467 \u6f22\u5b57 \u202e",
    "\ud800",
    "",
]


def frames() -> list[Frames]:
    return [
        ChatFrames(COMMON, include_usage=False),
        ChatFrames(COMMON, include_usage=True),
        JobFrames(a_job(), 0),
    ]


def content_of(told: dict[str, Any]) -> Any:
    return told["content"] if "type" in told else told["choices"][0]["delta"]["content"]


def check(which: int, text: str) -> None:
    kind = frames()[which]
    kind.items("", 0)  # A queued job's first items come with a status of their own.
    framed = kind.items(text, 12)

    assert framed.endswith(b"\n\n") and framed.count(b"\n") == 3
    # Every line break there is, of every alphabet: none but the frame's own.
    lines = framed.decode().splitlines()
    assert len(lines) == 3
    assert lines[0] == "id: 12" and lines[1].startswith("data: ") and lines[2] == ""
    assert content_of(json.loads(lines[1][6:])) == text


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_cannot_end_an_event_or_begin_one(which: int, text: str) -> None:
    check(which, text)


@given(st.integers(0, 2), st.text(st.characters(exclude_categories=())))
def test_any_text_at_all_comes_out_as_it_went_in(which: int, text: str) -> None:
    check(which, text)


def test_what_is_prepared_once_equals_what_is_built_whole() -> None:
    chat = ChatFrames(COMMON, include_usage=True)

    told = json.loads(chat.items("x", 1).decode().split("data: ")[1])

    delta = {"content": "x"}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    assert told == COMMON | {"choices": [choice], "usage": None}
