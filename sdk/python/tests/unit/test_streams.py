"""Streams to their end: what broke goes on, nothing comes twice, and what cannot go on says so."""

from __future__ import annotations

import json
from collections.abc import Callable

import archipelag
import httpx
import pytest
from archipelag import AsyncClient
from stub import ISLAND, JOB, TEXTS, Network, Pieces, chunks, numbered, refused


def events(*told: tuple[str, dict[str, object]]) -> bytes:
    return "".join(f"id: {i}\ndata: {json.dumps(d)}\n\n" for i, d in told).encode()


def test_stream_gives_pieces_and_then_the_usage() -> None:
    stream = Network().client().chat_stream("hi", "m")

    pieces = list(stream)

    assert [p.text for p in pieces if p.text] == TEXTS
    assert {(p.job_id, p.island) for p in pieces} == {(JOB, ISLAND)}
    assert pieces[-1].usage is not None and pieces[-1].usage.completion_tokens == 4
    assert stream.finish_reason == "stop"


@pytest.mark.parametrize(
    "body",
    [
        Pieces(chunks(TEXTS, done=False)),
        Pieces(chunks(TEXTS)[:300], httpx.ReadError("reset")),
    ],
)
def test_a_stream_without_places_that_stops_early_says_so(body: Pieces) -> None:
    stream = Network(httpx.Response(200, stream=body)).client().chat_stream("hi", "m")

    with pytest.raises(archipelag.StreamBrokenError):
        list(stream)
    assert body.closed


def broken(texts: list[str], first: int = 0) -> httpx.Response:
    whole = numbered(texts, first=first)
    return httpx.Response(
        200, stream=Pieces(whole[: whole.rindex(b"finish")], httpx.ReadError("x"))
    )


def test_a_chat_stream_goes_on_where_it_broke_under_the_same_key() -> None:
    network = Network(
        broken(TEXTS[:1]),
        httpx.ConnectError("refused"),
        broken(TEXTS[1:3], first=1),
        httpx.Response(200, content=numbered(TEXTS[3:], first=3)),
    )
    stream = network.client().chat_stream("hi", "m")

    texts = [piece.text for piece in stream if piece.text]

    assert texts == TEXTS
    lasts = [r.headers.get("last-event-id") for r in network.requests]
    assert lasts == [None, "1", "1", "3"]
    assert len({r.headers["idempotency-key"] for r in network.requests}) == 1
    assert stream.finish_reason == "stop" and stream.usage is not None


def test_a_chat_stream_goes_on_at_another_coordinator() -> None:
    network = Network(
        broken(TEXTS[:2]),
        httpx.ConnectError("refused"),
        httpx.Response(200, content=numbered(TEXTS[2:], first=2)),
    )
    stream = network.client("http://a.test, http://b.test/v1").chat_stream("hi", "m")

    texts = [piece.text for piece in stream if piece.text]

    assert texts == TEXTS
    assert [r.url.host for r in network.requests] == ["a.test", "a.test", "b.test"]


def away(times: int) -> list[httpx.Response | Exception]:
    """What is seen of a network that is restarted."""
    seen: tuple[Callable[[], httpx.Response | Exception], ...] = (
        lambda: httpx.ConnectError("refused"),
        lambda: refused(502, "bad_gateway"),
        lambda: refused(503, "unavailable"),
    )
    return [seen[number % len(seen)]() for number in range(times)]


def test_a_stream_that_has_begun_waits_for_a_network_that_is_restarted() -> None:
    rest = httpx.Response(200, content=numbered(TEXTS[2:], first=2))
    network = Network(broken(TEXTS[:2]), *away(8), rest)

    texts = [piece.text for piece in network.client().chat_stream("hi", "m") if piece.text]

    assert texts == TEXTS
    assert 15 < sum(network.waits) < 60


def test_a_stream_that_has_begun_is_given_up_at_last() -> None:
    network = Network(broken(TEXTS[:2]), *away(12))

    with pytest.raises(archipelag.ServiceUnavailableError):
        list(network.client().chat_stream("hi", "m"))
    assert len(network.requests) == 10


def test_who_wants_no_retries_has_none_in_a_stream_either() -> None:
    network = Network(broken(TEXTS[:2]), *away(12))

    with pytest.raises(archipelag.StreamBrokenError):
        list(network.client(retries_max=0).chat_stream("hi", "m"))
    assert len(network.requests) == 1


def test_a_chat_stream_that_only_breaks_gives_up() -> None:
    network = Network(*[broken([], first=0) for _ in range(9)])

    with pytest.raises(archipelag.StreamBrokenError):
        list(network.client().chat_stream("hi", "m"))
    assert len(network.requests) == 4


def test_an_end_that_was_told_already_is_not_told_again() -> None:
    whole = numbered(TEXTS)
    cut = whole[: whole.index(b"id: 4", whole.index(b"finish_reason"))]
    network = Network(
        httpx.Response(200, stream=Pieces(cut, httpx.ReadError("x"))),
        httpx.Response(200, content=numbered([], first=4)),
    )

    pieces = list(network.client().chat_stream("hi", "m"))

    assert [p.finish_reason for p in pieces if p.finish_reason] == ["stop"]
    assert pieces[-1].usage is not None


def test_an_error_inside_a_stream_is_raised_by_its_name() -> None:
    told = {"error": {"code": "no_capacity", "message": "nobody", "reasons": ["no memory"]}}
    body = chunks(["a"], done=False) + f"data: {json.dumps(told)}\n\n".encode()
    stream = Network(httpx.Response(200, content=body)).client().chat_stream("hi", "m")

    with pytest.raises(archipelag.ServiceUnavailableError, match="nobody") as caught:
        list(stream)
    assert caught.value.reasons == ["no memory"]


def test_leaving_a_stream_closes_the_connection() -> None:
    body = Pieces(chunks(TEXTS))
    with Network(httpx.Response(200, stream=body)).client().chat_stream("hi", "m") as stream:
        next(iter(stream))

    assert body.closed


def test_a_job_stream_goes_on_where_it_broke() -> None:
    first = events(
        ("1", {"type": "token", "content": "a"}), ("2", {"type": "token", "content": "b"})
    )
    rest = events(
        ("3", {"type": "token", "content": "c"}),
        ("4", {"type": "done", "usage": {"prompt_tokens": 1, "completion_tokens": 3}}),
    )
    network = Network(
        httpx.Response(200, stream=Pieces(first, httpx.ReadError("reset"))),
        httpx.Response(200, content=rest),
    )

    found = list(network.client().stream_job(JOB))

    assert "".join(event.text for event in found) == "abc"
    assert found[-1].usage is not None and found[-1].usage.completion_tokens == 3
    assert network.requests[1].headers["last-event-id"] == "2"


def test_a_job_stream_that_only_breaks_gives_up() -> None:
    network = Network(*[httpx.Response(200, content=b"") for _ in range(9)])

    with pytest.raises(archipelag.StreamBrokenError):
        list(network.client().stream_job(JOB))
    assert len(network.requests) == 4


async def no_sleep(_: float) -> None: ...


async def test_the_async_chat_stream_goes_on_where_it_broke() -> None:
    rest = httpx.Response(200, content=numbered(TEXTS[2:], first=2))
    network = Network(broken(TEXTS[:2]), *away(8), rest)
    made = AsyncClient(
        "http://x.test",
        transport_layer=httpx.MockTransport(network),
        sleep=no_sleep,
        chance=lambda: 0,
    )
    async with made as one:
        stream = await one.chat_stream("hi", "m")
        texts = [piece.text async for piece in stream if piece.text]

    assert texts == TEXTS and stream.finish_reason == "stop"
    assert {one.headers["last-event-id"] for one in network.requests[1:]} == {"2"}


async def test_the_async_job_stream_goes_on_where_it_broke() -> None:
    first = events(("1", {"type": "token", "content": "a"}))
    network = Network(
        httpx.Response(200, stream=Pieces(first, httpx.ReadError("reset"))),
        httpx.Response(200, content=events(("2", {"type": "done"}))),
    )

    async with AsyncClient(
        "http://x.test", transport_layer=httpx.MockTransport(network), sleep=no_sleep
    ) as one:
        found = [event.type async for event in one.stream_job(JOB)]

    assert found == ["token", "done"]
    assert network.requests[1].headers["last-event-id"] == "1"
