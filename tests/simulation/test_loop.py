"""The loop of the simulation: time that jumps, parties that freeze and die, and nothing that touches the machine."""

from __future__ import annotations

import asyncio
import time

import pytest

from simulation.loop import Livelock, Stuck, VirtualLoop
from simulation.party import Party


def test_a_week_passes_at_once() -> None:
    loop, began = VirtualLoop(), time.perf_counter()

    loop.run(asyncio.sleep(7 * 86_400))

    assert loop.time() == 7 * 86_400
    assert time.perf_counter() - began < 60


def test_timers_go_off_in_order_of_time_and_then_of_setting() -> None:
    told: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for name, delay in (("b", 2.0), ("a", 1.0), ("c", 2.0)):
            loop.call_later(delay, told.append, name)
        await asyncio.sleep(3.0)

    VirtualLoop().run(main())

    assert told == ["a", "b", "c"]


def test_what_belongs_to_the_dead_never_happens_not_even_its_finally() -> None:
    told: list[str] = []

    async def life() -> None:
        try:
            await asyncio.sleep(1.0)
            told.append("lived on")
        finally:
            told.append("tidied up")

    async def main() -> list[str]:
        party = Party("one", 1)
        party.spawn(life())
        await asyncio.sleep(0.5)
        party.kill()
        await asyncio.sleep(10.0)
        return list(told)

    assert VirtualLoop().run(main()) == []


def test_what_is_frozen_goes_on_later_as_if_nothing_had_been() -> None:
    told: list[float] = []

    async def life() -> None:
        for _ in range(3):
            await asyncio.sleep(1.0)
            told.append(asyncio.get_running_loop().time())

    async def main() -> None:
        party = Party("one", 1)
        party.spawn(life())
        await asyncio.sleep(0.5)
        party.freeze()
        await asyncio.sleep(9.5)
        party.thaw()
        await asyncio.sleep(10.0)

    VirtualLoop().run(main())

    assert told == [10.0, 11.0, 12.0]


def test_a_jump_keeps_every_timer_as_far_away_as_it_was() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        sleeping = asyncio.ensure_future(asyncio.sleep(5.0))
        await asyncio.sleep(1.0)
        loop.jump(1_000.0)  # type: ignore[attr-defined]
        await sleeping
        return loop.time()

    assert VirtualLoop().run(main()) == 1_005.0


def test_waiting_for_what_never_comes_is_an_error() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        VirtualLoop().run(main())


def test_time_that_stands_still_is_an_error() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110 - the very mistake
            await asyncio.sleep(0)

    with pytest.raises(Livelock):
        VirtualLoop().run(main())


def test_threads_are_refused() -> None:
    async def main() -> None:
        await asyncio.to_thread(time.monotonic)

    with pytest.raises(NotImplementedError):
        VirtualLoop().run(main())
