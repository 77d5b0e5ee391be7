"""Runs of a module that follow each other in one slot: what ends one of them touches no other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pytest
import wasmtime
from archipelag_island.adapters.runtimes.wasm.lines import End, Event, Text
from archipelag_island.adapters.runtimes.wasm.machine import Limits, Slot, engine
from archipelag_island.adapters.runtimes.wasm.running import Running

LIMITS = Limits(memory_bytes=1 << 20, fuel=10_000_000, seconds=60)
LINE = r"{\"text\":\"a\"}\n"
SPEAKS = f"""(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "{LINE}")
  (data (i32.const 8) "\\64\\00\\00\\00\\0d\\00\\00\\00")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))"""
LOOPS = """(module (memory (export "memory") 1) (func (export "_start") (loop $on (br $on))))"""


def slot(text: str, folder: Path) -> Slot:
    compiled = folder / "module"
    compiled.write_bytes(wasmtime.Module(engine(), bytes(wasmtime.wat2wasm(text))).serialize())
    return Slot(str(compiled))


def running(one: Slot, ended: Callable[[], None] = lambda: None) -> Running:
    return Running(one, LIMITS, ended, bytes_max=1000, items_max=10)


async def rest(events: AsyncGenerator[list[Event], None]) -> list[Event]:
    return [event async for batch in events for event in batch]


async def test_whoever_closes_an_ended_run_does_not_stop_the_next_one_in_its_slot(
    tmp_path: Path,
) -> None:
    one = slot(SPEAKS, tmp_path)
    gate = threading.Event()

    async with aclosing(running(one).events(b"", b"")) as first:
        async for batch in first:
            if isinstance(batch[-1], End):
                break
        second = running(one)
        wrote = second._wrote
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def held(data: bytes) -> None:
            loop.call_soon_threadsafe(begun.set)
            gate.wait()
            wrote(data)

        second._wrote = held  # type: ignore[method-assign]
        going = asyncio.create_task(rest(second.events(b"", b"")))
        await begun.wait()
    gate.set()

    assert await going == [Text("a"), Text("a"), End("stop")]


async def test_a_run_that_is_stopped_before_its_thread_begins_does_not_begin(
    tmp_path: Path,
) -> None:
    one, ended, gate = slot(LOOPS, tmp_path), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    loop.run_in_executor(None, gate.wait)
    going = asyncio.create_task(rest(running(one, ended.set).events(b"", b"")))
    await asyncio.sleep(0)

    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    gate.set()
    await ended.wait()

    assert one.memory_bytes == 0
