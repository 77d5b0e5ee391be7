"""Seeds of the fault world keep every promise, the same seed brings the same about, and planted bugs are found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
JOBS = str(min(4, os.cpu_count() or 1))
TIMEOUT_S = 900


def simulate(*arguments: str, hash_seed: str = "random") -> subprocess.CompletedProcess[str]:
    """In a process of its own: the order of sets, warnings and the loop are the simulation's own business."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(HERE), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )


def test_thirty_seeds_and_those_that_once_failed_keep_every_promise() -> None:
    done = simulate("--seeds", "30", "--known", "--jobs", JOBS)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ seeds, 0 with a broken promise", done.stdout, re.MULTILINE), done.stdout


def test_without_faults_everything_is_done() -> None:
    done = simulate("--profile", "calm", "--seeds", "3", "--jobs", "1")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout.split("jobs and readers:")[1].split("faults:")[0]


def test_the_same_seed_brings_the_same_about_in_another_process() -> None:
    first, second = simulate("--seed", "5", hash_seed="1"), simulate("--seed", "5", hash_seed="2")
    other = simulate("--seed", "6")

    traces = [re.findall(r"trace (\w+)", one.stdout) for one in (first, second, other)]
    assert traces[0] == traces[1] != traces[2]
    assert traces[0], first.stdout + first.stderr


def test_a_small_fleet_comes_and_goes_for_a_quarter_of_a_day() -> None:
    done = simulate("--profile", "fleet", "--islands", "100", "--days", "0.25")

    assert done.returncode == 0, done.stdout + done.stderr
    moves = re.search(r"\bmoves (\d+)", done.stdout)
    assert moves is not None and int(moves[1]) > 1, done.stdout


def test_every_planted_bug_is_found() -> None:
    done = simulate("--planted", "--hinted", "--jobs", JOBS)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^(1\d|9) planted, 0 missed", done.stdout, re.MULTILINE), done.stdout
