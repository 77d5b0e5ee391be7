"""The command as its owner runs it: a process that is started, asked, stopped and killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_island.testing.builders import ECHO_MODULE, a_key, an_assignment, an_input


class Command:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.processes: list[asyncio.subprocess.Process] = []

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "ARCHIPELAG_ISLAND_HOME": str(self.home),
            "ARCHIPELAG_ISLAND_EXTRA_ENGINES": f"echo={ECHO_MODULE}",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "archipelag_island", *arguments,
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        return process

    async def ask(self, *arguments: str) -> tuple[int, str]:
        process = await self.start(*arguments)
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, (out + err).decode()

    async def ask_until_warm(self) -> tuple[int, str]:
        """The status file is written once a second."""
        async with asyncio.timeout(20):
            while True:
                status, told = await self.ask("status")
                if "echo: warm" in told:
                    return status, told


@pytest.fixture
async def command(tmp_path: Path) -> AsyncIterator[Command]:
    made = Command(tmp_path / "island")
    yield made
    for process in made.processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(10):
        while True:
            if not any(os.access(f"/proc/{pid}", os.F_OK) for pid in pids):
                return
            await asyncio.sleep(0.01)


async def test_stopped_by_its_owner_it_ends_its_work_and_leaves_nothing(
    coordinator: Any, start_agent: Any, command: Command
) -> None:
    start_agent.enrolled()
    process = await command.start("run")
    await coordinator.until_warm()
    engines = children_of(process.pid)
    await coordinator.assign(an_assignment(input=an_input("again", items=1000, delay_ms=20)))
    await coordinator.until(coordinator.texts, "an item")

    status, told = await command.ask_until_warm()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        _, log = await process.communicate()
    await coordinator.until(lambda: coordinator.reports, "a report")
    after, nobody = await command.ask("status")

    assert process.returncode == 0, log.decode()
    assert coordinator.reports[0].cause == common.CAUSE_ISLAND_STOPPED
    assert (status, after) == (0, 1)
    assert "echo: warm" in told
    assert str(a_key().job_id) in told or "4 of 4" in told
    assert "no agent runs" in nobody
    assert engines
    await gone(engines)


async def test_killed_it_leaves_no_engine_behind(
    coordinator: Any, start_agent: Any, command: Command
) -> None:
    start_agent.enrolled()
    process = await command.start("run")
    await coordinator.until_warm()
    engines = children_of(process.pid)
    assert engines

    process.kill()

    await gone(engines)


async def test_without_a_pairing_code_it_says_what_to_do(command: Command) -> None:
    status, told = await command.ask("run")

    assert status == 1
    assert "ARCHIPELAG_PAIRING_CODE" in told
    assert "Traceback" not in told


async def test_doctor_says_what_is_missing(command: Command) -> None:
    status, told = await command.ask("doctor")

    assert status == 1
    assert "FIX  enrolment" in told
    assert "ok   engine echo" in told
    assert "native runtime" in told


async def test_home_of_a_running_agent_is_not_shared(
    coordinator: Any, start_agent: Any, command: Command
) -> None:
    start_agent()
    await coordinator.until_warm()

    status, told = await command.ask("run")

    assert status == 1
    assert "another agent" in told
    assert json.loads((start_agent.home / "status.json").read_text())["pid"] == os.getpid()
