"""A disk that is really full: what runs still reports, new work is refused, and all is well again without a person."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as job
from archipelag_island.adapters.journal import FileJournal
from archipelag_island.clock import SystemClock
from archipelag_island.testing.builders import a_key, an_assignment, an_input

SIZE_MB = 80


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, as small as an Island can work with."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=0755", "none", str(folder)]
    mounted = subprocess.run(options, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"needs root: a file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """To the last byte."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    if file.write(b"x" * size) < size:
                        break
            except OSError:
                continue
    return ballast


async def test_island_lives_through_a_full_disk(
    coordinator: Any, start_agent: Any, small_disk: Path
) -> None:
    start_agent.home = small_disk / "island"
    first = start_agent()
    await coordinator.until_warm()
    await coordinator.assign(an_assignment(input=an_input("again", items=100, delay_ms=20)))
    await coordinator.until(coordinator.texts, "an item")

    ballast = fill(small_disk)
    refused = await coordinator.assign(an_assignment(a_key(2)))
    await coordinator.until(lambda: coordinator.reports, "the report of what ran")
    beats = len(coordinator.beats)
    await coordinator.until(lambda: len(coordinator.beats) > beats, "a heartbeat")
    full = os.statvfs(small_disk).f_bavail
    ballast.unlink()
    accepted = await coordinator.assign(an_assignment(a_key(3)))
    await coordinator.until(lambda: len(coordinator.reports) == 2, "the report of the next one")
    await first.crash()
    start_agent()
    await coordinator.until_warm(again=True)

    held = {(h.job_id, h.next_position) for h in coordinator.beats[-1].held}
    assert full == 0
    assert refused.refusal.code == job.Refusal.CODE_NO_MEMORY
    assert "disk is full" in refused.refusal.reason
    assert [r.cause for r in coordinator.reports[:2]] == [common.CAUSE_COMPLETED] * 2
    assert coordinator.reports[0].next_position == 100
    assert accepted.accepted
    # What ended while the disk was full is on it now: nothing is reported as stopped after the restart.
    assert held == {(a_key(1).job_id, 100), (a_key(3).job_id, 3)}
    assert all(r.cause == common.CAUSE_COMPLETED for r in coordinator.reports)


async def test_island_starts_on_a_full_disk_and_says_what_it_held(
    coordinator: Any, start_agent: Any, small_disk: Path
) -> None:
    start_agent.home = small_disk / "island"
    first = start_agent()
    await coordinator.until_warm()
    await coordinator.assign(an_assignment(input=an_input("again", items=1000, delay_ms=20)))
    await coordinator.until(coordinator.texts, "an item")
    fill(small_disk)
    await first.crash()

    start_agent()
    await coordinator.until(lambda: coordinator.reports, "a report")
    await coordinator.until_warm(again=True)
    refused = await coordinator.assign(an_assignment(a_key(2)))

    assert coordinator.reports[0].cause == common.CAUSE_ISLAND_STOPPED
    assert [h.job_id for h in coordinator.beats[-1].held] == [a_key(1).job_id]
    assert "disk is full" in refused.refusal.reason


CHILD = """
import asyncio, resource, sys
from pathlib import Path
from archipelag_island.adapters.journal import FileJournal
from archipelag_island.clock import SystemClock
from archipelag_island.errors import JournalFull
from archipelag_island.testing.builders import a_key

async def main(path, room):
    journal = FileJournal(path, SystemClock())
    journal.accepted(a_key(1), 0, b"unfinished")
    size = path.stat().st_size
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
    await journal.ended(a_key(1), 7, b"the whole report")
    try:
        journal.accepted(a_key(2), 0, b"another")
    except JournalFull as error:
        print("refused:", error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    journal.accepted(a_key(3), 0, b"third")

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.mark.parametrize("room", [0, 1, 40])
async def test_kernel_that_writes_no_more_spoils_nothing(tmp_path: Path, room: int) -> None:
    """Without a file system to fill: the kernel's limit of a file's size, which any user may set."""
    path = tmp_path / "journal"
    command = [sys.executable, "-c", CHILD, str(path), str(room)]

    child = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    async with asyncio.timeout(60):
        out, _ = await child.communicate()
    journal = FileJournal(path, SystemClock())
    found = {held.key: held.sealed for held in journal.all()}
    torn = journal.torn
    journal.close()

    assert child.returncode == 0
    assert b"refused: this Island cannot write its journal" in out
    assert found == {a_key(1): b"the whole report", a_key(3): b"third"}
    assert not torn
