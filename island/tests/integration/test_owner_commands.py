"""What an owner types: join with a code, look at a live page, see what was earned."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters import live
from archipelag_island.testing.builders import ISLAND, a_key, an_assignment, an_input

from .conftest import Command, StartAgent, free_port
from .doors import Desk

# --- join --------------------------------------------------------------------------------------------------------


async def test_one_line_joins_and_the_next_start_needs_neither_word(
    desk: Desk, command: Command
) -> None:
    status, told = await command.ask(
        "join", f"127.0.0.1:{desk.port}", "good-234", "--name", "attic"
    )
    again, said = await command.ask("join", f"127.0.0.1:{desk.port}", "GOOD234")
    _, advice = await command.ask("doctor")

    assert (status, again) == (0, 0), told
    assert ISLAND in told and "archipelag-island run" in told
    assert "an operator has yet to approve" in told
    assert f"already joined as {ISLAND}" in said
    assert len(desk.seen) == 1 and desk.seen[0].name == "attic"
    assert f"ok   Coordinator: 127.0.0.1:{desk.port} answers" in advice


async def test_wrong_code_is_told_and_only_the_code_is_asked_anew(
    desk: Desk, command: Command
) -> None:
    wrong, told = await command.ask("join", f"127.0.0.1:{desk.port}", "WRONG23")
    right, said = await command.ask("join", "GOOD234")

    assert wrong == 1 and "not known" in told and "make a new one" in told
    assert right == 0, said


async def test_who_cannot_be_asked_is_told_what_is_missing(desk: Desk, command: Command) -> None:
    nothing, told = await command.ask("join")
    no_code, said = await command.ask("join", f"127.0.0.1:{desk.port}")
    no_port, meant = await command.ask("join", "reef.example", "GOOD234")
    gone, why = await command.ask("join", f"127.0.0.1:{free_port()}", "GOOD234")

    assert (nothing, no_code, no_port, gone) == (2, 2, 2, 1)
    assert "HOST:PORT is missing" in told and "CODE is missing" in said
    assert "'reef.example' is no HOST:PORT" in meant
    assert "no Coordinator answers" in why and "Traceback" not in why
    assert desk.seen == []


async def test_what_is_missing_is_asked_for_at_a_terminal(desk: Desk, command: Command) -> None:
    async with at_terminal(command, "join") as (screen, keys):
        await screen.until("Coordinator (host:port): ")
        keys(f"127.0.0.1:{desk.port}\n")
        await screen.until("Pairing code: ")
        keys("good 234\n")
        await screen.until(f"enrolled as {ISLAND}")

    assert desk.seen[0].pairing_code == "GOOD234"


# --- status ------------------------------------------------------------------------------------------------------


async def test_status_at_a_terminal_goes_on_until_it_is_interrupted(
    coordinator: Any, start_agent: StartAgent, command: Command
) -> None:
    start_agent()
    await coordinator.until_warm()
    async with at_terminal(command, "status") as (screen, keys):
        await screen.until("echo: warm")
        await screen.until(live.HOME)
        await coordinator.assign(an_assignment(input=an_input("x", items=500, delay_ms=20)))
        await screen.until(str(a_key().job_id))
        await screen.until("/s")
        keys("\x03")
        await screen.until(live.SHOW_CURSOR)
        assert await screen.status() == 0

    once, told = await command.ask("status")
    assert once == 0 and "echo: warm" in told
    assert "\x1b" not in told, "a pipe gets plain text, once"


def test_frame_fits_the_terminal_and_nothing_in_it_steers_it() -> None:
    lines = ["a\x1b[31mred", "x" * 300, *map(str, range(50))]

    drawn = live.frame(lines, columns=80, rows=10)

    rows = drawn.removeprefix(live.HOME).split("\n")
    assert len(rows) == 10 and "43 more lines" in rows[-1]
    assert "a?[31mred" in rows[0]
    assert all(len(re.sub("\x1b\\[[KJ]", "", row)) <= 80 for row in rows)


# --- earnings ----------------------------------------------------------------------------------------------------

TODAY = datetime.now(UTC).date().isoformat()
KEY = "ak_owner"
ROW: dict[str, Any] = {
    "attempts": 3,
    "completed": 2,
    "output_items": 9,
    "prompt_tokens": 4,
    "seconds": 7200.0,
    "paid_from_charge": "1.5",
    "paid_from_insurance": "0.25",
    "owed": "0.5",
    "credits": "1.75",
}
USED = {"ended_at": f"{TODAY}T10:00:00+00:00", "cause": "completed", "seconds": 3600.0}
PAID = {"paid_from_charge": "0.3", "paid_from_insurance": "0.1", "owed": "0"}
KARMA = {"points": 1.25, "tier": "known", "payout_open": False, "good_hours": 2.5, "faults": {}}


@dataclass
class Api:
    """The Coordinator's HTTP door, as far as an owner asks it for an Island."""

    adds_up: bool = True
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, target: str, key: str) -> tuple[int, Any]:
        self.asked.append(target)
        if key != f"Bearer {KEY}":
            return 401, {"error": {"message": "this API key is not known"}}
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        match path.removeprefix(f"/api/v1/hosts/{ISLAND}"):
            case "/karma":
                return 200, {"data": KARMA}
            case "/usage":
                return 200, {"data": [USED | PAID] * (2 if query["offset"] == ["0"] else 0)}
            case "/earnings" if self.adds_up and query["by"] == ["day"]:
                return 200, {"data": [ROW | {"day": TODAY}]}
            case "/earnings" if self.adds_up:
                return 200, {"data": [ROW | {"workload": "llm-\x1bchat"}]}
            case "/why" if self.adds_up:
                reasons = [{"code": "no_demand", "reason": "nobody asked lately"}]
                return 200, {"data": {"gets_work": False, "reasons": reasons}}
            case _:
                return 404, {"error": {"message": "no route", "param": "route"}}


@pytest.fixture
async def api(command: Command) -> AsyncIterator[Api]:
    made = Api()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(
            (x[15:] for x in head.split("\r\n") if x.lower().startswith("authorization:")), ""
        )
        status, value = made.answer(head.split()[1], key)
        body = json.dumps(value).encode()
        told = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(told.encode() + body)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        command.settings |= {"API_URL": f"{made.url}/api/v1", "API_KEY": KEY}
        yield made


async def test_earnings_are_shown_by_day_and_by_cargo(
    api: Api, start_agent: StartAgent, command: Command
) -> None:
    start_agent.enrolled()

    status, told = await command.ask("earnings", "--days", "7")
    _, plain = await command.ask("earnings", "--json")

    assert status == 0, told
    assert "1.7500 credits earned, by 3 attempts" in told
    assert "0.5000 credits more are owed" in told
    assert TODAY in told and "llm-?chat" in told and "█" in told
    asked = parse_qs(urlsplit(api.asked[0]).query)
    days = datetime.fromisoformat(asked["to"][0]) - datetime.fromisoformat(asked["from"][0])
    assert days.days == 6
    value = json.loads(plain)
    assert (value["days"][0]["paid"], value["cargos"][0]["owed"]) == ("1.75", "0.5")


async def test_coordinator_that_does_not_add_up_is_read_attempt_by_attempt(
    api: Api, start_agent: StartAgent, command: Command
) -> None:
    api.adds_up = False
    start_agent.enrolled()

    status, told = await command.ask("earnings")

    assert status == 0, told
    assert "0.8000 credits earned, by 2 attempts" in told


async def test_earnings_without_a_key_that_may_look_say_so(
    api: Api, start_agent: StartAgent, command: Command
) -> None:
    nobody, told = await command.ask("earnings")
    start_agent.enrolled()
    command.settings["API_KEY"] = "ak_wrong"
    wrong, why = await command.ask("earnings")
    del command.settings["API_KEY"]
    without, advice = await command.ask("earnings")
    command.settings |= {"API_KEY": KEY, "API_URL": f"http://127.0.0.1:{free_port()}"}
    gone, reason = await command.ask("earnings")

    assert (nobody, wrong, without, gone) == (1, 1, 1, 1)
    assert "has not joined" in told and "not known" in why
    assert "ARCHIPELAG_API_KEY" in advice and "ARCHIPELAG_API_URL" in reason
    assert "Traceback" not in told + why + advice + reason
    assert "ak_wrong" not in why


async def test_status_shows_karma_and_why_no_work_comes_to_who_has_a_key(
    api: Api, coordinator: Any, start_agent: StartAgent, command: Command
) -> None:
    start_agent()
    await coordinator.until_warm()

    _, told = await command.status_with("karma")

    assert "1.25 points (known), 2.5 hours of good work" in told
    assert "nobody asked lately" in told


# --- a terminal --------------------------------------------------------------------------------------------------


@dataclass
class Screen:
    """What a program has written to a terminal of its own."""

    process: asyncio.subprocess.Process
    fd: int
    text: str = ""
    at: int = 0
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def read(self) -> None:
        try:
            self.text += os.read(self.fd, 65536).decode(errors="replace")
        except OSError:
            asyncio.get_running_loop().remove_reader(self.fd)
        self.more.set()

    async def until(self, words: str) -> None:
        """They come after what was waited for before."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := self.text.find(words, self.at)) < 0:
                    self.more.clear()
                    await self.more.wait()
        except TimeoutError:
            raise AssertionError(f"never came: {words!r} in {self.text[-2000:]!r}") from None
        self.at = found + len(words)

    async def status(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()


@asynccontextmanager
async def at_terminal(command: Command, *arguments: str) -> AsyncIterator[tuple[Screen, Any]]:
    """Its output and a way to type."""
    ours, theirs = pty.openpty()
    process = await command.start(*arguments, terminal=theirs)
    os.close(theirs)
    screen = Screen(process, ours)
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, screen.read)

    def type_keys(text: str) -> None:
        if text == "\x03":
            process.send_signal(signal.SIGINT)
        else:
            os.write(ours, text.encode())

    try:
        yield screen, type_keys
    finally:
        loop.remove_reader(ours)
        os.close(ours)
