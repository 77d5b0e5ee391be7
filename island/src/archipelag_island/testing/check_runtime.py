"""Every promise of the Runtime protocol, tried on any runtime that can run the echo Cargo."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from itertools import pairwise
from typing import Final

from archipelag_island.errors import BadInput, CargoDied, NoSlot, RuntimeFailed
from archipelag_island.runtime import CargoState, Handle, RunEvent, RunRequest, Runtime
from archipelag_island.testing.builders import a_spec, an_input

WAIT_S: Final = 30.0
# Many more items than any buffer on the way holds, so that it cannot have ended by itself.
ENDLESS: Final = RunRequest("run", an_input("x", items=1_000_000), output_items_max=1_000_000)


async def _ready(runtime: Runtime, *, slots: int = 4) -> Handle:
    handle = await runtime.start(a_spec(slots=slots))
    async with asyncio.timeout(WAIT_S):
        while True:
            if (await runtime.describe(handle)).state is CargoState.READY:
                return handle
            await asyncio.sleep(0.01)


async def _all(runtime: Runtime, handle: Handle, request: RunRequest) -> list[RunEvent]:
    async with asyncio.timeout(WAIT_S), aclosing(runtime.run(handle, request)) as events:
        return [event async for event in events]


def _request(text: str = "one two three", first: int = 0, most: int = 1000) -> RunRequest:
    return RunRequest("run", an_input(text), first, tuple(range(first)), (), most)


def _texts(events: list[RunEvent]) -> list[str]:
    return [text for event in events for text in event.texts]


def _positions(events: list[RunEvent]) -> list[int]:
    return [event.first + index for event in events for index in range(len(event.texts))]


async def says_what_it_isolates(runtime: Runtime) -> None:
    info = await runtime.probe()
    assert info.name and info.not_isolated, "no runtime isolates everything"


async def runs_to_the_end(runtime: Runtime) -> None:
    handle = await _ready(runtime)
    events = await _all(runtime, handle, _request())
    assert _texts(events) == ["one ", "two ", "three "]
    assert _positions(events) == [0, 1, 2]
    assert events[0].prompt_tokens == 3
    assert events[-1].end is not None and events[-1].end.finish_reason == "stop"


async def resumes_where_another_ended(runtime: Runtime) -> None:
    handle = await _ready(runtime)
    whole = await _all(runtime, handle, _request("a b c d"))
    rest = await _all(runtime, handle, _request("a b c d", first=2))
    assert _texts(rest) == _texts(whole)[2:]
    assert _positions(rest) == [2, 3]


async def never_says_more_than_allowed(runtime: Runtime) -> None:
    handle = await _ready(runtime)
    events = await _all(runtime, handle, _request("a b c d", most=2))
    assert _texts(events) == ["a ", "b "]
    assert events[-1].end is not None and events[-1].end.finish_reason == "length"


async def refuses_bad_input(runtime: Runtime) -> None:
    handle = await _ready(runtime)
    try:
        await _all(runtime, handle, RunRequest("run", b"{}", output_items_max=5))
    except BadInput:
        pass
    else:
        raise AssertionError("bad input was accepted")
    assert _texts(await _all(runtime, handle, _request("still there"))) == ["still ", "there "]


async def holds_no_more_runs_than_slots(runtime: Runtime) -> None:
    handle = await _ready(runtime, slots=1)
    async with aclosing(runtime.run(handle, ENDLESS)) as first:
        await anext(first)
        try:
            await _all(runtime, handle, _request())
        except NoSlot:
            pass
        else:
            raise AssertionError("one slot held two runs")


async def closing_a_run_frees_its_slot(runtime: Runtime) -> None:
    handle = await _ready(runtime, slots=1)
    async with aclosing(runtime.run(handle, ENDLESS)) as first:
        await anext(first)
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                assert _texts(await _all(runtime, handle, _request("me now"))) == ["me ", "now "]
                break
            except NoSlot:
                await asyncio.sleep(0.01)


async def begins_from_runs_of_the_same_salt_only(runtime: Runtime) -> None:
    """Who keeps nothing, as a module that is started for each run, keeps this promise too."""
    handle = await _ready(runtime)
    for name, salt in (("mine", b"m" * 32), ("theirs", b"t" * 32), ("nobodys", b"")):
        request = RunRequest(name, an_input("a b c d"), output_items_max=9, cache_salt=salt)
        events = await _all(runtime, handle, request)
        assert _texts(events) == ["a ", "b ", "c ", "d "]
        assert events[0].cached_tokens == 0, "nobody of this salt was here"
    again = RunRequest("again", an_input("a b c d"), output_items_max=9, cache_salt=b"m" * 32)
    events = await _all(runtime, handle, again)
    assert _texts(events) == ["a ", "b ", "c ", "d "]
    kept = (await runtime.describe(handle)).kept_runs
    assert events[0].cached_tokens == (3 if kept else 0)
    assert set(kept) <= {"mine", "theirs", "again"} and kept[:1] in ((), ("again",))


async def stops_twice(runtime: Runtime) -> None:
    handle = await _ready(runtime)
    await asyncio.gather(runtime.stop(handle, 2.0), runtime.stop(handle, 2.0))
    await runtime.stop(handle, 2.0)
    assert (await runtime.wait(handle)).stopped


async def stopping_what_never_started_does_nothing(runtime: Runtime) -> None:
    await runtime.stop(Handle("never"), 1.0)


async def many_wait_for_the_end(runtime: Runtime) -> None:
    handle = await _ready(runtime)
    waiting = [asyncio.create_task(runtime.wait(handle)) for _ in range(2)]
    given_up = asyncio.create_task(runtime.wait(handle))
    await asyncio.sleep(0)
    given_up.cancel()
    await runtime.stop(handle, 2.0)
    async with asyncio.timeout(WAIT_S):
        first, second = await asyncio.gather(*waiting)
    assert first == second == await runtime.wait(handle)


async def a_stopped_cargo_has_died(runtime: Runtime) -> None:
    handle = await _ready(runtime)
    await runtime.stop(handle, 2.0)
    for use in (runtime.describe(handle), _all(runtime, handle, _request())):
        try:
            await use
        except CargoDied:
            continue
        raise AssertionError("it answered after its end")


async def stopping_ends_its_runs(runtime: Runtime) -> None:
    handle = await _ready(runtime)
    async with aclosing(runtime.run(handle, ENDLESS)) as events:
        await anext(events)
        await runtime.stop(handle, 2.0)
        try:
            async with asyncio.timeout(WAIT_S):
                async for event in events:
                    assert event.end is None
        except RuntimeFailed:
            return
    raise AssertionError("a run went on without its Cargo")


async def usage_never_decreases(runtime: Runtime) -> None:
    handle = await _ready(runtime)
    seen = [runtime.usage(handle)]
    for _ in range(3):
        await _all(runtime, handle, _request(" ".join("x" * 50)))
        seen.append(runtime.usage(handle))
    await runtime.stop(handle, 2.0)
    seen.append(runtime.usage(handle))
    for earlier, later in pairwise(seen):
        assert later.cpu_ms >= earlier.cpu_ms
        assert later.memory_peak_bytes >= earlier.memory_peak_bytes
    assert seen[-1].memory_peak_bytes > 0


async def recovers_on_an_empty_host(runtime: Runtime) -> None:
    """Other Islands of this machine may leave something meanwhile; there is an end to it."""
    async with asyncio.timeout(WAIT_S):
        while await runtime.recover() > 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


CHECKS: Final[tuple[Callable[[Runtime], Awaitable[None]], ...]] = (
    says_what_it_isolates,
    runs_to_the_end,
    resumes_where_another_ended,
    never_says_more_than_allowed,
    refuses_bad_input,
    holds_no_more_runs_than_slots,
    closing_a_run_frees_its_slot,
    begins_from_runs_of_the_same_salt_only,
    stops_twice,
    stopping_what_never_started_does_nothing,
    many_wait_for_the_end,
    a_stopped_cargo_has_died,
    stopping_ends_its_runs,
    usage_never_decreases,
    recovers_on_an_empty_host,
)
