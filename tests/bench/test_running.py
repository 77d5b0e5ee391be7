"""Each benchmark runs by itself: one that fails, hangs or lacks something hides no other and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from archipelag_embedded.fixtures import PATIENCE_S

from .conftest import BENCHMARKS

Programs = dict[str, ModuleType]
FIGURE = (
    "state([Figure('ledger', 'postings', 1.0, '/s', 'By hand.', limit=Beside('pgbench', 2.0))])"
)
HEAD = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\nfrom figures import *\nfrom telling import *\n"


def made(folder: Path, name: str, body: str) -> None:
    (folder / f"{name}.py").write_text(HEAD + body)


def ran(programs: Programs, folder: Path, body: str, **changes: Any) -> Any:
    made(folder, "one", body)
    running = programs["running"]
    benchmark = running.Benchmark("one", 1, 1, **changes)
    return running.run(benchmark, quick=True, said=folder / "said.txt", folder=folder)


def test_its_figures_are_gathered(programs: Programs, tmp_path: Path) -> None:
    ended = ran(programs, tmp_path, FIGURE)

    assert (ended.ended, [one.what for one in ended.figures]) == ("done", ["postings"])


def test_short_runs_have_arguments_of_their_own(programs: Programs, tmp_path: Path) -> None:
    ran(programs, tmp_path, f"print(sys.argv[1:]); {FIGURE}", quick="--turns 1", whole="--turns 9")

    assert "['--turns', '1']" in (tmp_path / "said.txt").read_text()


def test_one_that_fails_keeps_the_figures_it_had(programs: Programs, tmp_path: Path) -> None:
    ended = ran(programs, tmp_path, f"{FIGURE}; raise SystemExit('the books do not balance')")

    assert (ended.ended, len(ended.figures)) == ("failed", 1)
    assert "the books do not balance" in ended.why


def test_figures_that_came_before_an_error_are_kept(programs: Programs, tmp_path: Path) -> None:
    body = """
import asyncio

async def measured():
    yield Figure('ledger', 'postings', 1.0, '/s', 'By hand.', limit=Beside('pgbench', 2.0))
    raise RuntimeError('the disk is full')

asyncio.run(state_all(measured()))
"""

    ended = ran(programs, tmp_path, body)

    assert (ended.ended, len(ended.figures)) == ("failed", 1)
    assert "the disk is full" in ended.why


def test_one_without_figures_has_failed_unless_it_states_none(
    programs: Programs, tmp_path: Path
) -> None:
    assert ran(programs, tmp_path, "").ended == "failed"
    assert ran(programs, tmp_path, "", states=False).ended == "done"


ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import network
network.pin_tools()
"""


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("need('json', 'not_there', by='make it')", "not_there is not installed: `make it`"),
        (
            ONE_CORE,
            "one core is for what is measured and another for everything else: this needs two",
        ),
    ],
)
def test_one_that_lacks_something_says_what_to_do(
    programs: Programs, tmp_path: Path, body: str, why: str
) -> None:
    ended = ran(programs, tmp_path, body)

    assert (ended.ended, ended.why) == ("left out", why)


def test_nothing_is_refused_where_everything_is_there(programs: Programs, tmp_path: Path) -> None:
    assert ran(programs, tmp_path, f"need('json', by='make it'); {FIGURE}").ended == "done"


HANGS = """
import pathlib, subprocess, tempfile, time
child = subprocess.Popen(["sleep", "600"])
folder = tempfile.mkdtemp()
pathlib.Path({noted!r}).write_text(f"{{child.pid}} {{folder}}")
time.sleep(600)
"""


def test_one_that_hangs_is_ended_with_all_it_started(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs["running"], "PATIENCE_S", 2.0)
    noted = tmp_path / "noted"

    ended = ran(programs, tmp_path, HANGS.format(noted=str(noted)))

    assert ended.ended == "failed" and "longer than" in ended.why
    assert_gone(noted)


def assert_gone(noted: Path) -> None:
    """Or is going: who is killed takes a moment on a busy machine."""
    pid, folder = noted.read_text().split()
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(pid))
        end = time.monotonic() + PATIENCE_S
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
            time.sleep(0.05)
        assert process.status() == psutil.STATUS_ZOMBIE
    assert not Path(folder).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_and_tells_what_it_had(
    tmp_path: Path, number: signal.Signals
) -> None:
    noted = tmp_path / "noted"
    made(tmp_path, "first", FIGURE)
    made(tmp_path, "second", HANGS.format(noted=str(noted)))
    program = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "import bench, functools, running, pathlib\n"
        f"running.run = functools.partial(running.run, folder=pathlib.Path({str(tmp_path)!r}))\n"
        "bench.BENCHMARKS = (running.Benchmark('first', 1, 1), running.Benchmark('second', 1, 1))\n"
        "sys.exit(bench.main())\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    wait_for(noted, child)

    child.send_signal(number)
    said, _ = child.communicate(timeout=90)

    assert child.returncode == 1
    assert "postings" in said.partition("stopped")[2]
    assert_gone(noted)
    (written,) = (tmp_path / "out").glob("*.json")
    assert [one["name"] for one in json.loads(written.read_text())["benchmarks"]] == ["first"]


def wait_for(noted: Path, child: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not noted.exists() or not noted.read_text():
        assert child.poll() is None and time.monotonic() < end
        time.sleep(0.05)
