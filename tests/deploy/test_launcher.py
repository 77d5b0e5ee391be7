"""The launcher starts what works, whatever an update, a crash or a power cut left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "deploy" / "island" / "launch.sh"
OLD, NEW = "a" * 64, "b" * 64
CONFIRMS = "mv -f trial current; rm -f trying; exit 0"


class Software:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "versions").mkdir(parents=True)
        self.lay(OLD, "exit 0")
        (folder / "current").symlink_to(f"versions/{OLD}")

    def lay(self, name: str, does: str) -> None:
        """A program that notes that it was started, and then does this."""
        path = self.folder / "versions" / name
        told = f"echo {name} ${{ARCHIPELAG_ISLAND_TRIAL:-}} $* >>{self.folder}/started"
        path.write_text(f"#!/bin/sh\n{told}\ncd {self.folder}\n{does}\n")
        path.chmod(0o755)

    def arm(self, does: str) -> None:
        self.lay(NEW, does)
        (self.folder / "trial").symlink_to(f"versions/{NEW}")

    def launch(self, *arguments: str, within_s: int = 30) -> int:
        return self.start(*arguments, within_s=within_s).wait(60)

    def start(self, *arguments: str, within_s: int = 30) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": os.environ["PATH"],
            "ARCHIPELAG_ISLAND_SOFTWARE": str(self.folder),
            "ARCHIPELAG_ISLAND_TRIAL_S": str(within_s),
        }
        command = ["sh", str(LAUNCH), *(arguments or ("run",))]
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    def started(self) -> list[str]:
        path = self.folder / "started"
        return [line[0] for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def current(self) -> str:
        return (self.folder / "current").readlink().name[0]

    @property
    def armed(self) -> bool:
        return (self.folder / "trial").is_symlink()


@pytest.fixture
def software(tmp_path: Path) -> Iterator[Software]:
    one = Software(tmp_path / "software")
    yield one
    shutil.rmtree(one.folder)


def test_without_a_trial_the_current_one_runs(software: Software) -> None:
    assert software.launch() == 0

    assert software.started() == ["a"]


def test_a_trial_that_confirms_itself_is_the_current_one_from_then_on(software: Software) -> None:
    software.arm(CONFIRMS)

    software.launch()
    software.launch()

    assert software.started() == ["b", "b"] and software.current == "b" and not software.armed


@pytest.mark.parametrize("does", ["exit 1", "exit 0", "kill -9 $$"])
def test_a_trial_that_ends_unconfirmed_gives_way_after_three_tries(
    does: str, software: Software
) -> None:
    software.arm(does)

    for _ in range(5):
        software.launch()

    assert software.started() == ["b", "b", "b", "a", "a"] and software.current == "a"
    assert not software.armed and (software.folder / "refused").read_text() == f"{NEW}\n"


def test_a_trial_that_hangs_is_killed(software: Software) -> None:
    software.arm("exec sleep 60")

    for _ in range(4):
        software.launch(within_s=1)

    assert software.started() == ["b", "b", "b", "a"]


def test_a_trial_that_is_no_program_is_not_tried_for_ever(software: Software) -> None:
    (software.folder / "trial").symlink_to(f"versions/{NEW}")

    software.launch()

    assert software.started() == ["a"] and not software.armed


def test_a_stop_by_the_owner_does_not_count_as_a_failure(software: Software) -> None:
    trapped = software.folder / "trapped"
    software.arm(f"trap 'exit 0' TERM; : >{trapped}; sleep 30 & wait")

    for _ in range(5):
        trapped.unlink(missing_ok=True)
        running = software.start()
        deadline = time.monotonic() + 30
        while not trapped.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGTERM)
        running.wait(30)

    assert set(software.started()) == {"b"} and software.armed


def test_other_commands_go_to_what_works(software: Software) -> None:
    software.arm("exit 0")

    software.launch("status", "--once")

    assert software.started() == ["a"] and software.armed
    assert "status --once" in (software.folder / "started").read_text()


@pytest.mark.parametrize("left", ["trying of an older trial", "refused written twice"])
def test_what_a_power_cut_leaves_harms_nothing(left: str, software: Software) -> None:
    if left == "refused written twice":
        software.arm(CONFIRMS)
        (software.folder / "trying").write_text("started\n" * 3)
        (software.folder / "refused").write_text(f"{NEW}\n")
        expected = ["a", "a"]
    else:
        (software.folder / "trying").write_text("started\n" * 3)
        expected = ["a", "a"]

    software.launch()
    software.launch()

    assert software.started() == expected and not software.armed
