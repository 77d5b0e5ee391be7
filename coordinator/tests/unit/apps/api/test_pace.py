"""When streams are written: an idle process holds nothing back, a busy one lets busy streams wait for company."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import pytest
from archipelag_coordinator.apps.api.pace import (
    BUSY,
    HOLD_S,
    IDLE,
    LOOK_S,
    STRAINED,
    STRAINED_HOLD_S,
    Pace,
    hold_at,
)

from .conftest import until

NEVER = -1e9


@dataclass
class Stream:
    written_at: float = NEVER
    written: int = 0
    broken: bool = False
    failures: list[Exception] = field(default_factory=list)

    def write(self) -> None:
        if self.broken:
            raise ValueError("a mistake of this stream")
        self.written += 1
        self.written_at = asyncio.get_running_loop().time()

    def fail(self, error: Exception) -> None:
        self.failures.append(error)


async def test_an_idle_process_writes_at_the_end_of_the_turn() -> None:
    pace, stream = Pace(), Stream()

    pace.wants(stream)
    before = stream.written
    await asyncio.sleep(0)

    assert (before, stream.written) == (0, 1)


async def test_a_busy_process_holds_back_what_was_written_a_moment_ago_and_nothing_else() -> None:
    pace = Pace()
    pace.hold_s = HOLD_S
    talkative, silent = Stream(asyncio.get_running_loop().time()), Stream()

    pace.wants(talkative)
    pace.wants(silent)
    await asyncio.sleep(0)
    at_once = (talkative.written, silent.written)
    await until(lambda: talkative.written)

    assert at_once == (0, 1)
    assert (talkative.written, silent.written, pace.held) == (1, 1, 1)


async def test_an_end_waits_for_no_company() -> None:
    pace, stream = Pace(), Stream(asyncio.get_running_loop().time())
    pace.hold_s = 60.0
    pace.wants(stream)

    pace.at_once(stream)
    await asyncio.sleep(0)

    assert (stream.written, pace.held) == (1, 0)


@pytest.mark.parametrize(
    ("load", "hold_s"),
    [
        (0.0, 0.0),
        (IDLE, 0.0),
        ((IDLE + BUSY) / 2, HOLD_S / 2),
        (BUSY, HOLD_S),
        ((BUSY + STRAINED) / 2, (HOLD_S + STRAINED_HOLD_S) / 2),
        (STRAINED, STRAINED_HOLD_S),
        (8.0, STRAINED_HOLD_S),
    ],
)
def test_the_load_decides_how_long(load: float, hold_s: float) -> None:
    assert hold_at(load) == pytest.approx(hold_s)


async def test_a_process_that_spends_its_core_holds_longer_and_forgets_it_when_nothing_streams() -> (
    None
):
    spent = [0.0]
    pace, stream = Pace(spent=lambda: spent[0]), Stream()
    pace.wants(stream)
    await asyncio.sleep(0)
    spent[0] += LOOK_S * 1_000
    pace.writes += 1  # Something else was written meanwhile.

    await until(lambda: pace.hold_s)
    strained = pace.hold_s
    await until(lambda: not pace.hold_s)

    assert HOLD_S < strained <= STRAINED_HOLD_S
    pace.wants(stream)
    await asyncio.sleep(0)
    assert stream.written == 2


async def test_a_loop_that_is_late_holds_though_this_process_spends_nothing() -> None:
    pace, stream = Pace(spent=lambda: 0.0), Stream()
    pace.wants(stream)
    await asyncio.sleep(0)
    pace.writes += 1
    time.sleep(LOOK_S * 2)  # noqa: ASYNC251 - others have the core

    await until(lambda: pace.hold_s)

    assert pace.load == 0.0
    assert HOLD_S < pace.hold_s <= STRAINED_HOLD_S


async def test_a_stream_that_fails_fails_alone() -> None:
    pace, broken, sound = Pace(), Stream(broken=True), Stream()

    pace.wants(broken)
    pace.wants(sound)
    await asyncio.sleep(0)

    assert sound.written == 1
    assert [str(error) for error in broken.failures] == ["a mistake of this stream"]
