"""The parent of several workers: it starts the dead anew, ends all when asked, and leaves nobody behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from archipelag_coordinator import workers
from archipelag_coordinator.apps.api.server import bind
from archipelag_coordinator.workers import Workers
from archipelag_embedded.fixtures import PATIENCE_S

OBEYS = "import time; time.sleep(600)"
DEAF = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({note!r}).touch()
time.sleep(600)
"""
PARENT = """
import asyncio, sys
from archipelag_coordinator.workers import Workers

CHILD = '''
import os, time
from archipelag_coordinator.workers import end_with_parent
end_with_parent()
print(os.getpid(), flush=True)
time.sleep(600)
'''
asyncio.run(Workers(2, lambda number: [sys.executable, "-c", CHILD]).run())
"""


def saying(program: str) -> workers.Command:
    return lambda number: [sys.executable, "-c", program, str(number)]


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - other processes have no event here
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "AGAIN_S", (0.01, 0.05))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_each_worker_knows_its_number_and_all_end_when_asked(tmp_path: Path) -> None:
    note = f"import pathlib, sys, time; pathlib.Path({str(tmp_path)!r}, sys.argv[1]).touch(); time.sleep(600)"
    parent = Workers(3, saying(note))
    running = asyncio.create_task(parent.run())
    await until(lambda: len(names(tmp_path)) == 3)
    processes = list(parent.running.values())

    parent.stop()

    assert await running == 0
    assert names(tmp_path) == ["1", "2", "3"]
    assert [process.returncode for process in processes] == [-signal.SIGTERM] * 3
    assert parent.running == {}


async def test_a_worker_that_is_killed_comes_back_and_the_others_do_not_notice() -> None:
    parent = Workers(2, saying(OBEYS), steady_s=0.05)
    running = asyncio.create_task(parent.run())
    await until(lambda: len(parent.running) == 2)
    killed, other = parent.running[1], parent.running[2]

    killed.kill()
    await until(lambda: parent.running.get(1) not in (None, killed))

    assert parent.running[2] is other and other.returncode is None
    parent.stop()
    assert await running == 0


async def test_a_setting_that_no_worker_can_start_with_is_told_by_the_status() -> None:
    parent = Workers(2, saying("raise SystemExit(3)"))

    assert await asyncio.wait_for(parent.run(), PATIENCE_S) == 3


async def test_once_a_worker_stood_the_others_may_fail_for_a_while(tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    fails = (
        "import pathlib, sys, time\n"
        f"if sys.argv[1] == '2' and not pathlib.Path({str(mended)!r}).exists(): raise SystemExit(1)\n"
        "time.sleep(600)"
    )
    parent = Workers(2, saying(fails), steady_s=0.5)
    parent._stands()
    running = asyncio.create_task(parent.run())
    await asyncio.sleep(0.3)
    before = running.done()
    mended.touch()
    await until(lambda: len(parent.running) == 2)

    assert not before
    parent.stop()
    assert await running == 0


async def test_a_worker_that_does_not_end_is_killed_in_time(tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    parent = Workers(1, saying(DEAF.format(note=str(deaf))), drain_s=0.2)
    running = asyncio.create_task(parent.run())
    await until(deaf.exists)
    process = parent.running[1]

    parent.stop()

    assert await running == 0
    assert process.returncode == -signal.SIGKILL


def test_workers_end_with_a_parent_that_was_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as told:
        children = [psutil.Process(int(told.readline())) for _ in range(2)]
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        _, alive = psutil.wait_procs(children, timeout=30)

    assert alive == []


def test_workers_share_a_port_that_nobody_else_gets() -> None:
    first = bind("127.0.0.1", 0, "PORT", shared=True)
    port = first.getsockname()[1]
    second = bind("127.0.0.1", port, "PORT", shared=True)
    with first, second, socket.socket() as stranger:
        assert second.getsockname()[1] == port
        with pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))


@pytest.mark.parametrize("shared", [True, False])
def test_a_port_that_somebody_has_is_refused(shared: bool) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="another program does; ARCHIPELAG_HTTP_HOST and PORT name"),
    ):
        bind("127.0.0.1", taken.getsockname()[1], "PORT", shared=shared)
