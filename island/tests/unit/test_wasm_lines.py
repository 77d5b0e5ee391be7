"""What a module's standard output may hold, and what is said of the rest."""

from __future__ import annotations

import json

import pytest
from archipelag_island.adapters.runtimes.wasm.lines import (
    LINE_BYTES_MAX,
    TEXT_BYTES_MAX,
    BrokenProtocol,
    End,
    Event,
    Lines,
    Note,
    PromptTokens,
    Text,
)


def read(data: bytes, bytes_max: int = 10 << 20, step: int = 1 << 20) -> list[Event]:
    lines, events = Lines(bytes_max), []
    for at in range(0, len(data), step):
        events += lines.read(data[at : at + step])
    return events + lines.finish()


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ('{"text": "a é"}', Text("a é")),
        ('{"text": ""}', Text("")),
        ('{"progress": {"step": 1, "total": 3, "note": "half"}}', Note(1, 3, "half")),
        ('{"progress": {"step": 1, "total": 3}}', Note(1, 3, "")),
        ('{"prompt_tokens": 7}', PromptTokens(7)),
        ('{"end": {"finish_reason": "length"}}', End("length")),
        ('{"end": {"error": "no"}}', End(error="no")),
        ('{"bad_input": "give text"}', End(bad_input="give text")),
    ],
)
def test_each_event_is_read(line: str, event: Event) -> None:
    assert read(line.encode() + b"\n") == read(line.encode()) == [event]


def test_pieces_end_anywhere() -> None:
    data = '{"text": "é"}\n\n{"text": "🌊"}\r\n{"end": {"finish_reason": "stop"}}'.encode()

    for step in range(1, len(data)):
        assert read(data, step=step) == [Text("é"), Text("🌊"), End("stop")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"hello", "line 1 is not JSON"),
        (b'{"text": "a"}\n\xff\xfe\n', "line 2 is not UTF-8"),
        (b"[1]", "not a JSON object"),
        (b"[" * 100_000, "line 1 is not JSON"),
        (b"{}", "give text, progress"),
        (b'{"text": 1}', "text must be text"),
        (b'{"text": "\\ud800"}', "no event"),
        (b'{"prompt_tokens": -1}', "whole number"),
        (b'{"prompt_tokens": 1.5}', "whole number"),
        (b'{"prompt_tokens": true}', "whole number"),
        (b'{"prompt_tokens": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"progress": {"step": 1}}', "no event"),
        (b'{"end": {}}', "no event"),
        (b'{"end": {"finish_reason": "stop"}}\n{"text": "more"}', "line 2 comes after the end"),
        (json.dumps({"text": "x" * (TEXT_BYTES_MAX + 1)}).encode(), "longer than 32768 bytes"),
        (b"x" * (LINE_BYTES_MAX + 1), "line 1 is longer than"),
        (b" " * (LINE_BYTES_MAX + 1) + b"\n", "line 1 is longer than"),
    ],
)
def test_what_is_no_event_is_told_by_its_line(data: bytes, why: str) -> None:
    with pytest.raises(BrokenProtocol, match=why):
        read(data)


def test_output_without_end_stops_at_the_bound() -> None:
    with pytest.raises(BrokenProtocol, match="more than 1000 bytes"):
        read(b'{"text": "x"}\n' * 100, bytes_max=1000, step=10)
