"""What the doctor says of a runtime that this host cannot run, or that isolates little."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.findings import Finding, State
from archipelag_island.adapters.doctor import machine
from archipelag_island.config import Settings
from archipelag_island.errors import NotUsable
from archipelag_island.runtime import RuntimeInfo

SETTINGS = Settings(home=Path("home"), coordinator="", name="island", model_dir=Path("models"))


class Tried:
    def __init__(self, found: RuntimeInfo | str) -> None:
        self._found = found

    async def probe(self) -> RuntimeInfo:
        if isinstance(self._found, str):
            raise NotUsable(self._found)
        return self._found


async def told(found: RuntimeInfo | str, settings: Settings = SETTINGS) -> Finding:
    runtime: Any = Tried(found)
    return await machine._runtime("oci", runtime, settings)


@pytest.mark.parametrize(("named", "well"), [(("oci",), False), (SETTINGS.runtimes, True)])
async def test_runtime_that_does_not_work_has_to_be_mended_where_its_owner_named_it(
    named: tuple[str, ...], well: bool
) -> None:
    finding = await told("needs root", replace(SETTINGS, runtimes=named))

    assert finding.well is well
    assert "not usable: needs root" in finding.found
    assert "as root on Linux with crun or runc" in finding.advice


@pytest.mark.parametrize(("trust_min", "advised"), [(0, False), (3, True)])
async def test_runtime_that_isolates_too_little_for_strangers_comes_with_advice(
    trust_min: int, advised: bool
) -> None:
    info = RuntimeInfo("oci", ("walls",), ("shares the kernel",), "crun 1", trust_min)

    finding = await told(info)

    assert finding.well
    assert "crun 1, for Cargos from trust level" in finding.found and "walls" in finding.found
    assert finding.state is (State.WARN if advised else State.OK)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, as root alone can make one."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"needs root: no file system can be mounted here: {made.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_disk_without_room_is_told_with_what_to_do(small_disk: Path) -> None:
    finding = machine._disk(small_disk)

    assert finding.state is State.FAIL
    assert finding.found == "0.0 GB free"
    assert "free some" in finding.advice
