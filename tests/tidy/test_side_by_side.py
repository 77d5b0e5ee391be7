"""How tests share two workers: a file goes to one, and so does all that uses sandboxes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import os
from pathlib import Path

import pytest

@pytest.mark.parametrize("number", range(6))
def test_where(number):
    with open(os.environ["PLACES"], "a") as places:
        places.write(f"{Path(__file__).parent.name} {os.environ['PYTEST_XDIST_WORKER']}\\n")
"""
SANDBOXED = ("tests/escape", "tests/supply")
OTHERS = ("one", "two")


def test_a_file_stays_on_one_worker_and_sandboxes_stay_together(tmp_path: Path) -> None:
    shutil.copy(ROOT / "conftest.py", tmp_path)
    for folder in (*SANDBOXED, *OTHERS):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib"]
    spread = ["--numprocesses", "2", "--dist", "loadgroup", "--no-loadscope-reorder"]

    done = subprocess.run(
        [*command, *spread, "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={"PLACES": str(tmp_path / "places")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert "24 passed" in done.stdout, done.stdout + done.stderr
    places = [line.split() for line in (tmp_path / "places").read_text().splitlines()]
    workers = {name: {where for who, where in places if who == name} for name, _ in places}
    assert all(len(used) == 1 for used in workers.values()), workers
    assert workers["escape"] == workers["supply"]
    assert {frozenset(used) for used in workers.values()} == {frozenset({"gw0"}), frozenset({"gw1"})}
