"""The Makefile: its list is whole, and its commands say what to do where nothing is installed or runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_list_of_commands_names_every_command() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None

    listed = re.findall(r"^  make ([\w-]+)", make().stdout, re.MULTILINE)

    assert sorted(listed) == sorted(phony[1].split())


def test_every_command_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`make (\w+)`", (ROOT / "README.md").read_text()))

    listed = set(re.findall(r"^  make ([\w-]+)", make("help").stdout, re.MULTILINE))

    assert named
    assert named <= listed


@pytest.mark.parametrize("command", ["demo", "env", "status"])
def test_where_nothing_is_installed_commands_say_what_to_do(command: str, tmp_path: Path) -> None:
    done = make(command, f"BIN={tmp_path}")

    assert done.returncode != 0
    assert "make up" in done.stderr


def test_down_where_nothing_is_installed_is_fine(tmp_path: Path) -> None:
    assert make("down", f"BIN={tmp_path}").returncode == 0


def test_without_a_python_install_says_what_to_do(tmp_path: Path) -> None:
    done = make("install", f"VENV={tmp_path}", "PYTHON=")

    assert done.returncode != 0
    assert "make PYTHON=" in done.stderr


def test_a_lock_file_pins_every_package_by_hash() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        entries = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text())[1:]
        loose = [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]
        assert entries, lock
        assert loose == [], lock
