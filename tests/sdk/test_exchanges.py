"""Both Python clients send what was recorded, and make of the answers what was written down, as JavaScript does."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from archipelag import ArchipelagError, AsyncChatStream, AsyncClient, ChatStream, Client

sys.path.insert(0, str(Path(__file__).parent))
exchange = importlib.import_module("exchange")
EXCHANGES = exchange.read()


class Replay:
    """Answers as it was recorded, in that order, and only what was asked then."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.steps = [told, *told.get("then", ())]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        assert self.steps, f"asked once more: {request.method} {request.url}"
        step, sent = self.steps.pop(0), exchange.request_of(request)
        assert exchange.same_request(step["request"], sent), (step["request"], sent)
        answered: httpx.Response = exchange.answer(step["response"])
        return answered


class AsyncReplay(Replay, httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self(request)


def retries(told: dict[str, Any]) -> int:
    return 3 if "then" in told else 0


def shown_of(stream: ChatStream | AsyncChatStream, pieces: list[Any]) -> dict[str, Any]:
    return {
        "pieces": exchange.plain(pieces),
        "job_id": stream.job_id,
        "island": stream.island,
        "finish_reason": stream.finish_reason,
        "usage": exchange.plain(stream.usage),
    }


def ask(told: dict[str, Any], replay: Replay) -> Any:
    client = Client(
        "http://recorded.test",
        exchange.KEY,
        retries_max=retries(told),
        transport_layer=httpx.MockTransport(replay),
        sleep=lambda _: None,
    )
    call = told["call"]
    try:
        found = getattr(client, call["method"])(**exchange.arguments(call["args"]))
        if isinstance(found, ChatStream):
            return shown_of(found, list(found))
        return exchange.plain(list(found) if hasattr(found, "__next__") else found)
    except ArchipelagError as error:
        return exchange.plain_error(error)


async def ask_async(told: dict[str, Any], replay: AsyncReplay) -> Any:
    async def no_sleep(_: float) -> None: ...

    client = AsyncClient(
        "http://recorded.test",
        exchange.KEY,
        retries_max=retries(told),
        transport_layer=replay,
        sleep=no_sleep,
    )
    call = told["call"]
    try:
        found = getattr(client, call["method"])(**exchange.arguments(call["args"]))
        if hasattr(found, "__anext__"):
            return exchange.plain([one async for one in found])
        found = await found
        if isinstance(found, AsyncChatStream):
            return shown_of(found, [one async for one in found])
        return exchange.plain(found)
    except ArchipelagError as error:
        return exchange.plain_error(error)


@pytest.mark.parametrize("told", EXCHANGES, ids=[told["name"] for told in EXCHANGES])
def test_the_client_sends_and_reads_what_was_recorded(told: dict[str, Any]) -> None:
    replay = Replay(told)

    assert ask(told, replay) == told["result"]
    assert replay.steps == []


@pytest.mark.parametrize("told", EXCHANGES, ids=[told["name"] for told in EXCHANGES])
async def test_the_async_client_does_so_too(told: dict[str, Any]) -> None:
    replay = AsyncReplay(told)

    assert await ask_async(told, replay) == told["result"]
    assert replay.steps == []


def test_what_breaks_is_the_same_answer_in_the_end() -> None:
    """The recordings themselves: one that was cut says what the whole one says."""
    by_name = {told["name"]: told for told in EXCHANGES}
    whole, cut = by_name["a chat that breaks twice"], by_name["a chat cut before its first word"]
    followed, broken = by_name["a job followed"], by_name["a job followed and cut twice"]

    texts = ["".join(one["text"] for one in told["result"]["pieces"]) for told in (whole, cut)]
    assert texts[0] == texts[1] and len(texts[0]) > 100
    assert [len(told["then"]) for told in (whole, cut, broken)] == [2, 2, 2]
    assert followed["result"] == broken["result"]


def test_each_name_is_told_once_and_nothing_secret_is() -> None:
    names = [told["name"] for told in EXCHANGES]

    assert len(set(names)) == len(names) > 40
    for found in exchange.secrets(exchange.FILE.read_text()):
        assert found.startswith(exchange.KEY)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"path": "/other"},
        {"query": {"limit": "1"}},
        {"body": {"x": 1}},
        {"headers": {}},
    ],
)
def test_a_request_that_differs_is_seen(change: dict[str, Any]) -> None:
    told = EXCHANGES[0]["request"]
    sent = told | {"headers": dict.fromkeys(told["headers"], "x")}
    sent["headers"]["authorization"] = told["headers"]["authorization"]

    assert exchange.same_request(told, sent)
    assert not exchange.same_request(told, sent | change)
