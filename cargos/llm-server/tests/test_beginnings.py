"""No server begins from another customer's prompt: what it is told, and whether llama.cpp's real one keeps to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_kit.testing import RunFailed, perform
from archipelag_llm_server.answers import Model, answer
from archipelag_llm_server.beginnings import (
    KEPT_S,
    RUNS_TOLD_MAX,
    Beginnings,
    NoBeginnings,
    SaltedBeginnings,
    SlotBeginnings,
)
from archipelag_llm_server.engine import Start
from archipelag_llm_server.llama_cpp import LLAMA_CPP
from archipelag_llm_server.server import Server
from archipelag_llm_server.vllm import VLLM
from stand_in import DONE, STREAM, StandIn, answering, delta, event
from test_serving import Serving, serving

MINE, OTHERS = b"m" * 32, b"o" * 32
FIRST = ["be brief", "hello", "hi"]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slots(clock: Clock) -> SlotBeginnings:
    return SlotBeginnings(3, clock)


def ask(slots: SlotBeginnings, salt: bytes, messages: Sequence[str], run_id: str = "") -> Any:
    with slots.run(salt, messages, run_id) as more:
        return more["id_slot"], more["cache_prompt"]


def test_the_next_turn_goes_on_in_its_slot_and_nobody_else_does(slots: SlotBeginnings) -> None:
    place, begun = ask(slots, MINE, FIRST)
    assert not begun

    for salt in (OTHERS, b"", MINE[:31]):
        assert not ask(slots, salt, FIRST)[1]
    assert ask(slots, MINE, [*FIRST, "more"]) == (place, False), (
        "it was taken: three slots, three others"
    )
    assert ask(slots, MINE, [*FIRST, "more", "still"]) == (place, True)


def test_each_slot_has_one_run_at_once(slots: SlotBeginnings) -> None:
    with ExitStack() as stack:
        taken = [stack.enter_context(slots.run(MINE, FIRST))["id_slot"] for _ in range(3)]
        with pytest.raises(AssertionError, match="no more runs at once"), slots.run(MINE, FIRST):
            pass

    assert sorted(taken) == [0, 1, 2]


def test_a_slot_whose_run_did_not_end_well_is_nobodys(slots: SlotBeginnings) -> None:
    # It may never have begun: then the slot still has what the one before it asked.
    place, _ = ask(slots, OTHERS, FIRST, "others")
    for _ in range(2):
        ask(slots, b"", ["something else"])
    refused = ExitStack()
    more = refused.enter_context(slots.run(MINE, FIRST, "mine"))
    refused.__exit__(ValueError, ValueError("refused"), None)

    assert more == {"id_slot": place, "cache_prompt": False}
    assert slots.kept_runs() == []
    assert not ask(slots, MINE, FIRST)[1] and not ask(slots, OTHERS, FIRST)[1]


def test_a_common_greeting_does_not_cost_a_conversation(slots: SlotBeginnings) -> None:
    place, _ = ask(slots, MINE, FIRST)

    other, begun = ask(slots, MINE, ["be brief", "another matter"])

    assert other != place and not begun


def test_what_is_old_is_not_gone_on_from_and_not_told(slots: SlotBeginnings, clock: Clock) -> None:
    ask(slots, MINE, FIRST, "old")
    clock.now += KEPT_S

    assert slots.kept_runs() == []
    assert not ask(slots, MINE, FIRST)[1]


def test_kept_runs_are_told_newest_first_and_no_more_than_promised(clock: Clock) -> None:
    many = SlotBeginnings(40, clock)
    for n in range(40):
        clock.now += 1
        ask(many, bytes([n + 1]) * 32, FIRST, f"run{n}")

    assert many.kept_runs() == [f"run{n}" for n in range(39, 39 - RUNS_TOLD_MAX, -1)]


def test_who_has_no_salt_gets_one_that_nobody_has_again() -> None:
    said = []
    for salt in (MINE, MINE, OTHERS, b"", b""):
        with SaltedBeginnings().run(salt, FIRST) as more:
            said.append(more["cache_salt"])

    assert said[0] == said[1] and len(set(said)) == 4
    assert all(isinstance(salt, str) and salt for salt in said)


def test_each_engine_guards_its_own_server_and_trusts_none_that_others_ask() -> None:
    assert isinstance(LLAMA_CPP.beginnings(2), SlotBeginnings)
    assert isinstance(LLAMA_CPP.beginnings_of_another(), NoBeginnings)
    assert isinstance(VLLM.beginnings(2), SaltedBeginnings)
    assert isinstance(VLLM.beginnings_of_another(), SaltedBeginnings)


def test_llama_server_keeps_nothing_beside_its_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")

    command = LLAMA_CPP.command(Start(Path("m"), "m", Path("s"), 1, 1, 1))

    assert command[command.index("--cache-ram") + 1] == "0"


def usage(cached: Any) -> bytes:
    told = {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": cached}}
    return event({"choices": [], "usage": told})


async def chat(
    stand_in: StandIn, socket: Path, beginnings: Beginnings, content: str = "hello", **options: Any
) -> Any:
    server = Server("the server", socket=str(socket))
    asked = {"messages": [{"role": "user", "content": content}]}
    async with stand_in.open(socket):
        try:
            return await perform(answer, asked, state=Model(server, "m", beginnings), **options)
        finally:
            await server.stop()


async def test_what_the_server_is_told_and_tells(socket: Path, slots: SlotBeginnings) -> None:
    stand_in = StandIn(STREAM, delta("a"), delta(None, "stop"), usage(7), DONE)

    for salt in (MINE, MINE, OTHERS):
        given = await chat(stand_in, socket, slots, cache_salt=salt, run_id=f"by {salt[:1]!r}")
        assert (given.prompt_tokens, given.cached_tokens) == (9, 7)

    assert [one["cache_prompt"] for one in stand_in.asked] == [False, True, False]
    assert stand_in.asked[0]["id_slot"] == stand_in.asked[1]["id_slot"]
    assert stand_in.asked[2]["id_slot"] != stand_in.asked[0]["id_slot"]
    assert sorted(slots.kept_runs()) == ["by b'm'", "by b'o'"]


async def test_without_slots_of_ours_nothing_is_used_again(socket: Path) -> None:
    stand_in = StandIn(STREAM, delta("a"), delta(None, "stop"), DONE)

    await chat(stand_in, socket, NoBeginnings(), cache_salt=MINE)

    assert stand_in.asked[0]["cache_prompt"] is False and "id_slot" not in stand_in.asked[0]


async def test_a_customer_cannot_name_a_salt_or_a_slot(socket: Path) -> None:
    stand_in = StandIn(answering("500 Oh", b"never asked"))
    server = Server("the server", socket=str(socket))
    for field in ("cache_salt", "id_slot", "cache_prompt"):
        asked = {"messages": [{"role": "user", "content": "hello"}], field: "1"}
        with pytest.raises(Exception, match=field):
            await perform(answer, asked, state=Model(server, "m", SlotBeginnings(1)))
    await server.stop()

    assert stand_in.asked == []


async def test_a_run_that_the_server_failed_leaves_nobody_in_its_slot(
    socket: Path, clock: Clock
) -> None:
    slots = SlotBeginnings(1, clock)
    fails = StandIn(STREAM, delta("so far "))

    with pytest.raises(RunFailed, match="broke off"):
        await chat(fails, socket, slots, cache_salt=MINE, run_id="failed")

    assert slots.kept_runs() == []


@pytest.mark.parametrize("cached", [-1, 1 << 60, "7", 1.5, [7]])
async def test_a_count_that_cannot_be_is_no_answer(socket: Path, cached: Any) -> None:
    stand_in = StandIn(STREAM, delta("a"), usage(cached), delta(None, "stop"), DONE)

    with pytest.raises(RunFailed, match="no part of an answer"):
        await chat(stand_in, socket, NoBeginnings())


LONG = "The harbour master keeps a list of all ships, their masters and what they carry. " * 12


async def told(cargo: Serving, salt: bytes, run_id: str, *said: str) -> tuple[int, int, str]:
    """Tokens of the prompt, those not read again, and the answer."""
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
    asked = {"messages": messages, "temperature": 0, "max_tokens": 4}
    request = pb.RunRequest(run_id=run_id, input=json.dumps(asked).encode(), cache_salt=salt)
    events = [event async for event in cargo.stub.Run(request)]
    assert not events[-1].end.error
    read = next(event for event in events if event.prompt_tokens)
    text = "".join(text for event in events for text in event.texts)
    return read.prompt_tokens, read.cached_tokens, text


@pytest.mark.real_model
async def test_the_real_server_reads_anew_what_another_customer_asked(
    socket: Path, weights: Path
) -> None:
    pytest.importorskip("xllamacpp")
    async with serving(socket.parent, "--model", str(weights)) as cargo:
        assert (await cargo.settled()).state == pb.DescribeReply.STATE_READY

        size, cached, said = await told(cargo, MINE, "first", LONG)
        assert size > 150 and cached == 0
        assert await told(cargo, OTHERS, "others", LONG) == (size, 0, said)
        longer, cached, _ = await told(cargo, MINE, "second", LONG, said, "And then?")
        assert longer > size and cached > 150, "its own turn goes on"
        for kept in (["second"], []):
            assert await told(cargo, b"", "nobody's", LONG) == (size, 0, said)
            assert list((await cargo.settled()).kept_runs) == kept
