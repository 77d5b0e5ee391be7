"""A chat by way of a server that behaves: what it is asked, what the customer gets, what is metered."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from archipelag_kit import BadInput
from archipelag_kit.events import Items
from archipelag_kit.performance import Performance
from archipelag_kit.run import Ask
from archipelag_kit.testing import Answer, perform
from archipelag_llm_server.answers import Model, answer
from archipelag_llm_server.server import Server
from stand_in import DONE, STREAM, StandIn, answering, delta, usage

ROWS = Path(__file__).parents[1]
MANIFEST = ROWS / "llama-cpp" / "manifest.toml"
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


async def chat(stand_in: StandIn, socket: Path, asked: Any = None, **options: Any) -> Answer:
    server = Server("the server", socket=str(socket))
    async with stand_in.open(socket):
        try:
            return await perform(
                answer, asked or HELLO, manifest=MANIFEST, state=Model(server, "m"), **options
            )
        finally:
            await server.stop()


async def test_each_delta_is_one_item_and_the_prompt_is_metered(socket: Path) -> None:
    said = [delta("", role="assistant"), delta("Land "), delta("ho 🏝"), delta(None, "stop")]
    stand_in = StandIn(STREAM, *said, usage(12), DONE)

    given = await chat(stand_in, socket)

    assert given.items == ["Land ", "ho 🏝"]
    assert (given.prompt_tokens, given.finish_reason) == (12, "stop")


async def test_events_may_be_cut_anywhere(socket: Path) -> None:
    whole = delta("Land ") + b": a comment\r\n\r\nevent: x\r\n" + delta("é", "stop") + DONE
    pieces = [whole[at : at + 1] for at in range(len(whole))]

    given = await chat(StandIn(STREAM, *pieces), socket)

    assert given.items == ["Land ", "é"]


async def test_the_server_is_asked_for_no_more_than_may_be_delivered(socket: Path) -> None:
    stand_in = StandIn(STREAM, delta("a"), delta(None, "length"), DONE)
    asked = {
        "messages": [{"role": "developer", "content": "Be brief."}, *HELLO["messages"]],
        "max_tokens": 500,
        "seed": -1,
        "temperature": 0.5,
        "top_k": 5,
        "stop": ["x"],
    }

    given = await chat(stand_in, socket, asked, output_items_max=7)

    (body,) = stand_in.asked
    assert given.finish_reason == "length"
    assert body["max_tokens"] == 7 and body["stop"] == ["x"] and body["top_k"] == 5
    assert [one["role"] for one in body["messages"]] == ["system", "user"]
    assert 0 <= body["seed"] < 2**32 - 1, "llama.cpp's seeds have 32 bits, the highest means any"
    assert body["stream"] and body["stream_options"] == {"include_usage": True}


async def test_thinking_is_progress_and_no_part_of_the_answer(socket: Path) -> None:
    said = [delta(None, reasoning_content="hm"), delta("Yes."), delta(None, "stop")]

    given = await chat(StandIn(STREAM, *said, DONE), socket)

    assert given.text == "Yes."
    assert [one.note for one in given.progress] == ["thinking"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": 7}]}, "content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "surrogate"),
        ({**HELLO, "temperature": 3}, "temperature"),
        ({**HELLO, "max_tokens": 1.5}, "max_tokens"),
        ({**HELLO, "stop": ["a"] * 5}, "stop"),
        ({**HELLO, "tools": []}, "tools"),
    ],
)
async def test_bad_input_does_not_reach_the_server(asked: Any, field: str, socket: Path) -> None:
    stand_in = StandIn()

    with pytest.raises(BadInput, match=field):
        await chat(stand_in, socket, {**asked} or {"stop": "x"})

    assert not stand_in.asked


async def test_what_the_server_refuses_is_told_to_the_customer(socket: Path) -> None:
    refusal = b'{"error": {"code": 400, "message": "exceeds the available context size"}}'

    with pytest.raises(BadInput, match="exceeds the available context size"):
        await chat(StandIn(answering("400 Bad Request", refusal)), socket)


async def test_a_cancelled_run_hangs_up_on_the_server(socket: Path) -> None:
    stand_in = StandIn(STREAM, delta("Land "), hangs=True)
    server = Server("the server", socket=str(socket))
    async with stand_in.open(socket), asyncio.timeout(20):
        running = Performance(answer, Ask(HELLO, state=Model(server, "m")))
        async for told in running.events():
            assert isinstance(told, Items)
            break

        running.cancel()
        await stand_in.left.wait()

        await asyncio.wait([running.task])
        await server.stop()
    assert running.task.cancelled()


async def test_an_endless_answer_is_cut_and_the_server_hung_up_on(socket: Path) -> None:
    stand_in = StandIn(STREAM, lambda: delta("more "))

    given = await chat(stand_in, socket, output_items_max=50)

    assert len(given.items) == 50 and given.finish_reason == "length"
