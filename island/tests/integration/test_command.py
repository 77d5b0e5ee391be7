"""The command as its owner runs it: a process that is started, asked, stopped and killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.testing.builders import a_key, an_assignment, an_input

from .conftest import free_port

NAMES = ("oci runtime", "wasm runtime", "native runtime", "registry", "images")


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if not any(os.access(f"/proc/{pid}", os.F_OK) for pid in pids):
                return
            await asyncio.sleep(0.01)


async def test_stopped_by_its_owner_it_ends_its_work_and_leaves_nothing(
    coordinator: Any, start_agent: Any, command: Any
) -> None:
    start_agent.enrolled()
    process = await command.start("run")
    await coordinator.until_warm()
    engines = children_of(process.pid)
    await coordinator.assign(an_assignment(input=an_input("again", items=1000, delay_ms=20)))
    await coordinator.until(coordinator.texts, "an item")

    status, told = await command.ask_until_warm()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_S):
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
    coordinator: Any, start_agent: Any, command: Any
) -> None:
    start_agent.enrolled()
    process = await command.start("run")
    await coordinator.until_warm()
    engines = children_of(process.pid)
    assert engines

    process.kill()

    await gone(engines)


async def test_without_a_pairing_code_it_says_what_to_do(command: Any) -> None:
    status, told = await command.ask("run")

    assert status == 1
    assert "ARCHIPELAG_PAIRING_CODE" in told
    assert "Traceback" not in told


async def test_doctor_says_what_is_missing(command: Any) -> None:
    status, told = await command.ask("doctor")

    assert status == 1
    assert "fail enrolment" in told
    assert "ok   engine echo" in told
    assert "native runtime" in told


async def test_doctor_tells_of_each_runtime_the_registry_and_the_images(command: Any) -> None:
    command.settings["REGISTRY"] = f"127.0.0.1:{free_port()}"

    _, told = await command.ask("doctor")
    lines = {
        name: next(line for line in told.splitlines() if line[5:].startswith(f"{name}:"))
        for name in NAMES
    }

    for name in NAMES[:3]:
        usable = "for Cargos from trust level" in lines[name] and "isolates by" in lines[name]
        assert usable or "not usable: " in lines[name]
    if "not usable" in lines["oci runtime"]:
        assert "to run Cargos from images" in told
    assert lines["registry"].startswith("fail") and "ARCHIPELAG_REGISTRY" in told
    assert "0 MB of 20000 MB" in lines["images"]


async def test_home_of_a_running_agent_is_not_shared(
    coordinator: Any, start_agent: Any, command: Any
) -> None:
    start_agent()
    await coordinator.until_warm()

    status, told = await command.ask("run")

    assert status == 1
    assert "another agent" in told
    assert json.loads((start_agent.home / "status.json").read_text())["pid"] == os.getpid()
