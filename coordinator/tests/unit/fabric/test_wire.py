"""Frames come out whole however the bytes are cut, and bytes that are not NATS end the connection."""

from __future__ import annotations

import contextlib

import pytest
from archipelag_coordinator.adapters.nats.wire import PAYLOAD_MAX, Frames, WireError
from hypothesis import given
from hypothesis import strategies as st

Message = tuple[bytes, bytes, bytes]

payloads = st.binary(max_size=300) | st.sampled_from(
    [b"", b"\r\n", b"MSG a 1 3\r\nxyz\r\n", b"PING\r\n", b"\r\n\r\n", b"\r"]
)
subjects = st.from_regex(rb"[a-z]{1,8}(\.[a-z0-9]{1,8}){0,3}", fullmatch=True)


def frame(
    subject: bytes, payload: bytes, reply: bytes = b"", headers: bytes | None = None
) -> bytes:
    words = [subject, b"7"] + ([reply] if reply else [])
    if headers is None:
        head = b"MSG " + b" ".join([*words, str(len(payload)).encode()])
    else:
        sizes = [str(len(headers)).encode(), str(len(headers) + len(payload)).encode()]
        head = b"HMSG " + b" ".join([*words, *sizes])
    return head + b"\r\n" + (headers or b"") + payload + b"\r\n"


frames = st.one_of(
    st.tuples(subjects, payloads).map(lambda p: (frame(*p), (b"7", *p))),
    st.tuples(subjects, payloads).map(lambda p: (frame(*p, reply=b"_INBOX.x"), (b"7", *p))),
    st.tuples(subjects, payloads).map(
        lambda p: (frame(*p, headers=b"NATS/1.0\r\na: b\r\n\r\n"), (b"7", *p))
    ),
    st.sampled_from([b"PING", b"PONG", b"+OK", b"-ERR 'x'", b'INFO {"a":1}']).map(
        lambda line: (line + b"\r\n", line)
    ),
)


def fed(pieces: list[bytes]) -> list[Message | bytes]:
    got: list[Message | bytes] = []
    parser = Frames(lambda *message: got.append(message), got.append)
    for piece in pieces:
        parser.feed(piece)
    return got


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 64), min_size=1))
def test_any_cut_gives_the_same_frames(parts: list[tuple[bytes, object]], cuts: list[int]) -> None:
    data = b"".join(raw for raw, _ in parts)
    pieces, at, turn = [], 0, 0
    while at < len(data):
        step = cuts[turn % len(cuts)]
        pieces.append(data[at : at + step])
        at, turn = at + step, turn + 1

    assert fed(pieces) == [wanted for _, wanted in parts]


@given(st.lists(frames, max_size=5))
def test_one_byte_at_a_time(parts: list[tuple[bytes, object]]) -> None:
    data = b"".join(raw for raw, _ in parts)

    assert fed([data[i : i + 1] for i in range(len(data))]) == [wanted for _, wanted in parts]


@given(st.binary(max_size=400))
def test_any_bytes_end_in_frames_or_in_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        fed([data])


@pytest.mark.parametrize(
    "data",
    [
        b"MSG a 1\r\n",
        b"MSG a 1 x\r\n",
        b"MSG a 1 -1\r\n\r\n",
        b"MSG a 1 %d\r\n" % (PAYLOAD_MAX + 1),
        b"MSG a 1 2\r\nxyz\r\n",
        b"MSG 3\r\nabc\r\n",
        b"HMSG a 1 9 3\r\nabc\r\n",
        b"HMSG a 1 x 3\r\nabc\r\n",
        b"x" * (65 << 10),
    ],
)
def test_what_is_not_nats_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        fed([data])


def test_a_large_payload_is_not_scanned_again_for_every_piece() -> None:
    payload = b"\r\n" * (1 << 19)
    raw = frame(b"a.b", payload)

    got = fed([raw[i : i + 65536] for i in range(0, len(raw), 65536)])

    assert got == [(b"7", b"a.b", payload)]
