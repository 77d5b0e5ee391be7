"""Server-sent events come out the same, however the network cuts the bytes."""

from __future__ import annotations

import itertools

import pytest
from archipelag import sse
from archipelag.errors import BadAnswerError
from archipelag.sse import Event, Parser
from hypothesis import given
from hypothesis import strategies as st

STREAM = (
    ': hello\n\nid: 1\ndata: {"a": "é😀"}\n\n'
    "id:2\r\nevent: told\r\ndata:first\r\ndata:  second\r\n\r\n"
    "data\r\rretry: 5\nunknown: x\ndata: [DONE]\n\ndata: never ended\n"
)
WANTED = [
    Event('{"a": "é😀"}', "message", "1"),
    Event("first\n second", "told", "2"),
    Event("", "message", "2"),
    Event("[DONE]", "message", "2"),
]


@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=40))
def test_every_slicing_gives_the_same_events(cuts: list[int]) -> None:
    data = STREAM.encode()
    parser = Parser()
    edges = [0, *sorted(cuts), len(data)]

    found = [e for a, b in itertools.pairwise(edges) for e in parser.feed(data[a:b])]

    assert found == WANTED


def test_byte_by_byte() -> None:
    parser = Parser()

    found = [e for byte in STREAM.encode() for e in parser.feed(bytes([byte]))]

    assert found == WANTED


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"\xef\xbb\xbfdata: a\n\n", [Event("a")]),
        (b"data: \xff\n\n", [Event("\ufffd")]),
        (b"id: a\0b\ndata: x\n\n", [Event("x", "message", "")]),
        (b"event: only a name\n\n", []),
        ("data: a\u2028b\n\n".encode(), [Event("a\u2028b")]),
        (b"", []),
    ],
)
def test_corners(data: bytes, wanted: list[Event]) -> None:
    assert list(Parser().feed(data)) == wanted


def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 100)
    parser = Parser()
    list(parser.feed(b"data: " + b"x" * 60))

    with pytest.raises(BadAnswerError, match="larger than"):
        list(parser.feed(b"x" * 60))


@given(st.binary(max_size=300))
def test_no_bytes_break_it(data: bytes) -> None:
    for event in Parser().feed(data):
        assert event.data == event.data.replace("\r", "")
