"""The status as people read it: the nearest reason first, what is set beside what is measured."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from archipelag_island.adapters import status, status_page
from archipelag_island.domain.caps import Caps, Taken
from archipelag_island.domain.owner import Readings, Rules
from archipelag_island.domain.schedule import parse
from archipelag_island.services import drain, execute, yield_to_owner
from archipelag_island.testing.builders import an_assignment

Stage = Any


def shown(stage: Stage, age_s: float = 0.0) -> dict[str, str]:
    """Name → the rest of its line."""
    told = status.snapshot(stage.world, "attic", True)
    lines = status_page.page(told, stage.clock.now() + timedelta(seconds=age_s))
    return {line[2:14].strip(): line[16:] for line in lines if line.startswith("  ")}


async def running(stage: Stage) -> None:
    await stage.warm()
    stage.world.now.connected = stage.world.now.accepts_work = True
    stage.world.now.notice = ""
    stage.runtime.knobs.stall_at = 1
    execute.accept(stage.world, an_assignment())


async def test_working_island_says_so(stage: Stage) -> None:
    await running(stage)

    page = shown(stage)

    assert page["takes work"] == "yes"
    assert page["slots"] == "1 of 2 free"
    assert page["Cargo"] == "echo: warm"
    assert "echo" in page["runs"]
    assert [page[name][:3] for name in ("cpu", "input", "battery", "metered", "schedule")] == [
        "off"
    ] * 5
    assert "as it was" not in page


async def test_nearest_reason_comes_first(stage: Stage) -> None:
    await running(stage)
    stage.world.host = replace(stage.world.host, rules=Rules(on_battery=True, quiet_s=60))
    reasons = []

    stage.world.now.connected = False
    reasons.append(shown(stage)["takes work"])
    stage.world.host = replace(stage.world.host, caps=Caps(disk_bytes=1))
    stage.world.now.taken = Taken(disk_bytes=2)
    reasons.append(shown(stage)["takes work"])
    yield_to_owner.look(stage.world, Readings(on_battery=True))
    reasons.append(shown(stage)["takes work"])
    drain.begin(stage.world, 30)
    reasons.append(shown(stage)["takes work"])
    await stage.until(lambda: not stage.world.now.runs)
    reasons.append(shown(stage)["takes work"])

    starts = [
        "no, no Coordinator answers",
        "no: 0 MB are used of the 0 MB of disk",
        "no, paused: it runs on battery; again after 60 s of quiet",
        "no, draining: 1 still run, the rest is handed over in 30 s",
        "no, drained; `archipelag-island resume` takes work again",
    ]
    assert [reason.startswith(start) for reason, start in zip(reasons, starts, strict=True)] == [
        True
    ] * 5, reasons


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Readings(), ["unknown", "unknown", "unknown", "unknown", "unknown: sat, sun"]),
        (
            Readings(0.314, 130.0, True, False),
            ["others use 31 %", "last input 2 minutes ago", "on battery", "not metered", "unknown: sat, sun"],
        ),
    ],
)  # fmt: skip
async def test_reading_stands_beside_what_is_set(
    stage: Stage, seen: Readings, expected: list[str]
) -> None:
    rules = Rules(25, True, True, True, parse("sat, sun"))
    stage.world.host = replace(stage.world.host, rules=rules)
    stage.world.now.readings = seen

    page = shown(stage)

    names = ("cpu", "input", "battery", "metered", "schedule")
    assert [page[name][22:] for name in names] == expected
    assert [page[name][:22].strip() for name in names] == ["over 25 %", "on", "on", "on", "on"]


async def test_cap_stands_beside_what_is_taken(stage: Stage) -> None:
    stage.world.host = replace(
        stage.world.host, caps=Caps(2, 4096 << 20, 500_000, 20_000 << 20), cpus=(2, 3)
    )
    stage.world.now.taken = Taken(1.25, 614 << 20, 1500.0, 101 << 20)

    page = shown(stage)

    assert page["cores"].split(maxsplit=1) == ["2", "Cargos use 1.2, on processor 2, 3"]
    assert "4096 MB" in page["memory"] and "Cargos take 614 MB" in page["memory"]
    assert "500 kB/s" in page["send"] and "1.5 kB/s" in page["send"]
    assert "20000 MB" in page["disk"] and "101 MB taken" in page["disk"]


async def test_status_that_is_old_says_so(stage: Stage) -> None:
    assert shown(stage, age_s=60)["as it was"].startswith("60 s ago")
