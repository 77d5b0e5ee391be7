"""A server that fails, lies or says too much: a clear error each time, and soon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from archipelag_kit.testing import RunFailed, perform
from archipelag_llm_server.answers import Model, answer
from archipelag_llm_server.errors import ServerFailed
from archipelag_llm_server.server import Server
from stand_in import DONE, STREAM, StandIn, answering, delta, event, usage

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
LINE = b"x" * (1 << 20)
HOSTILE = {
    "invalid JSON": (StandIn, (STREAM, b"data: {nonsense\n\n"), "no part of an answer"),
    "no object": (StandIn, (STREAM, event([1])), "no part of an answer"),
    "deep JSON": (StandIn, (STREAM, b"data: " + b"[" * 100_000 + b"\n\n"), "no part of an answer"),
    "choices of numbers": (StandIn, (STREAM, event({"choices": [7]})), "no part of an answer"),
    "choices as text": (StandIn, (STREAM, event({"choices": "x"})), "no part of an answer"),
    "text that is a number": (
        StandIn, (STREAM, delta(7)), "no part of an answer",  # type: ignore[arg-type]
    ),
    "tool calls": (StandIn, (STREAM, delta("a", "tool_calls")), "no part of an answer"),
    "prompt below nothing": (StandIn, (STREAM, usage(-5)), "no part of an answer"),
    "prompt without bounds": (StandIn, (STREAM, usage(1 << 60)), "no part of an answer"),
    "half a character": (StandIn, (STREAM, delta("\ud83d"), DONE), "half a character"),
    "a line of 10 MB": (StandIn, (STREAM, b"data: ", *[LINE] * 10), "a line of more than"),
    "no line at all": (StandIn, (STREAM, lambda: LINE), "a line of more than"),
    "endless comments": (StandIn, (STREAM, lambda: b": still here\n" * 99), "without a word"),
    "endless nothing": (StandIn, (STREAM, lambda: delta("") * 99), "without a word"),
    "a web page": (StandIn, (answering("200 OK", b"<p>", "text/html"),), "text/html"),
    "a whole answer": (StandIn, (answering("200 OK", b"{}"),), "application/json"),
    "its own error": (StandIn, (answering("500 Oh", b'{"error": "no memory"}'),), "no memory"),
    "an endless error": (StandIn, (answering("500 Oh", b"e"), lambda: LINE), "answers 500"),
    "an error in between": (
        StandIn, (STREAM, delta("a"), event({"error": {"message": "CUDA is lost"}})), "CUDA is lost",
    ),
    "hung up": (StandIn, (STREAM, delta("so far ")), "broke off in the middle"),
    "hung up at once": (StandIn, (), "broke off"),
    "done without an end": (StandIn, (STREAM, delta("a"), DONE), "broke off in the middle"),
    "no HTTP": (StandIn, (b"SSH-2.0-x\r\n",), "broke off"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
async def test_it_ends_in_a_clear_error(what: str, socket: Path) -> None:
    make, says, words = HOSTILE[what]
    server = Server("the server", socket=str(socket))

    async with make(*says).open(socket), asyncio.timeout(30):
        with pytest.raises(RunFailed, match=words):
            await perform(answer, HELLO, state=Model(server, "m"), output_items_max=10)
    await server.stop()


async def test_silence_ends_in_a_clear_error(socket: Path) -> None:
    server = Server("the server", socket=str(socket), silent_s=0.2)

    async with StandIn(STREAM, delta("so far "), hangs=True).open(socket), asyncio.timeout(20):
        with pytest.raises(RunFailed, match="says nothing any more"):
            await perform(answer, HELLO, state=Model(server, "m"))
    await server.stop()


async def test_nobody_there_ends_in_a_clear_error(socket: Path) -> None:
    server = Server("the server", socket=str(socket))

    with pytest.raises(RunFailed, match="the server broke off"):
        await perform(answer, HELLO, state=Model(server, "m"))
    with pytest.raises(ServerFailed, match="was not ready within 0 s"):
        await server.wait_ready(0.3, lambda _: None)
    await server.stop()


async def test_loading_is_waited_for_and_told(socket: Path) -> None:
    server, stand_in = Server("the server", socket=str(socket)), StandIn()
    stand_in.loading = 3
    told: list[float] = []

    async with stand_in.open(socket):
        await server.wait_ready(30, told.append)
    await server.stop()

    assert len(told) == 4 and told == sorted(told) and told[-1] < 1
