"""One run of a module: its thread writes events, the loop reads them, and each can make the other wait or stop."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Final

import wasmtime

from archipelag_island.adapters.runtimes.wasm.lines import BrokenProtocol, End, Event, Lines, Text
from archipelag_island.adapters.runtimes.wasm.machine import Limits, Slot, Stopped

WAITING_MAX: Final = 512
"""Events that are not yet sent; then the module waits."""
BATCH_MAX: Final = 64
# A run that says much is sent in larger pieces: from this piece on, one waits for more.
PROMPT_BATCHES: Final = 8
GATHER_S: Final = 0.002
WORDS_MAX: Final = 400
_EXPLAINED: Final = {
    wasmtime.TrapCode.UNREACHABLE: "it gave up (unreachable)",
    wasmtime.TrapCode.STACK_OVERFLOW: "its stack overflowed",
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: "it reached out of its memory",
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: "it divided by zero",
}


class Running:
    """Begun by iterating over `events`. `ended` is called when its thread has: until then the slot is not free."""

    def __init__(
        self,
        slot: Slot,
        limits: Limits,
        ended: Callable[[], None],
        *,
        bytes_max: int,
        items_max: int,
    ) -> None:
        self._ended = ended
        self._slot = slot
        self._limits = limits
        self._lines = Lines(bytes_max)
        self._items_left = items_max
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._room = threading.Condition()
        self._events: deque[Event] = deque()
        self._why = ""
        """Why we ended it, for the customer."""
        self._stopping = False
        self._work: asyncio.Future[None] | None = None
        self._told_end = False
        self._words = b""

    async def events(self, data: bytes, chance: bytes) -> AsyncGenerator[list[Event], None]:
        """Some at a time; the last is an End. Closing it stops the module, which may take a moment more."""
        self._slot.prepare()
        work = self._loop.run_in_executor(None, self._in_thread, data, chance)
        self._work = work
        work.add_done_callback(lambda _: self._ended())
        deadline = self._loop.call_later(
            self._limits.seconds, self._stop, f"it took longer than {self._limits.seconds} s"
        )
        sent = 0
        try:
            while True:
                batch = self._take()
                if batch and isinstance(batch[-1], End):
                    # Who reads the end may ask for the next run at once: there shall be room for it.
                    self._stop("")
                    await asyncio.shield(work)
                    yield batch
                    return
                if batch:
                    yield batch
                    sent += 1
                    continue
                await self._wake.wait()
                if sent >= PROMPT_BATCHES:
                    await asyncio.sleep(GATHER_S)
                self._wake.clear()
        finally:
            deadline.cancel()
            self._stop("")

    def _take(self) -> list[Event]:
        with self._room:
            batch = [self._events.popleft() for _ in range(min(BATCH_MAX, len(self._events)))]
            self._room.notify()
        return batch

    def _stop(self, why: str) -> None:
        with self._room:
            if not self._stopping:
                self._why = why
            self._stopping = True
            self._room.notify()
        if self._work is not None and not self._work.done():
            # Else the slot is free, and what runs in it by now is another's.
            self._slot.interrupt()

    # From here on: in the thread.

    def _in_thread(self, data: bytes, chance: bytes) -> None:
        end = End(error="the runtime failed")
        try:
            end = self._to_the_end(data, chance)
        finally:
            with self._room:
                if not self._told_end:
                    self._events.append(end)
            with suppress(RuntimeError):  # The loop is gone: nobody waits.
                self._loop.call_soon_threadsafe(self._wake.set)

    def _to_the_end(self, data: bytes, chance: bytes) -> End:
        try:
            self._slot.run(data, chance, self._limits, self._wrote, self._complained)
            self._add(self._lines.finish())
        except wasmtime.ExitTrap as error:
            if error.code != 0:
                return self._failed(f"it ended with status {error.code}")
            return self._finish()
        except wasmtime.Trap as error:
            return self._failed(self._explain(error))
        except BrokenProtocol as error:
            return self._failed(f"it broke its protocol: {error}")
        except Stopped:
            return self._failed(self._why or "it was stopped")
        except IndexError:
            return self._failed("it reached out of its memory")
        except wasmtime.WasmtimeError as error:
            return self._failed(
                f"it could not be started: {str(error).splitlines()[0][:WORDS_MAX]}"
            )
        return End("stop")

    def _finish(self) -> End:
        try:
            self._add(self._lines.finish())
        except BrokenProtocol as error:
            return self._failed(f"it broke its protocol: {error}")
        except Stopped:
            return self._failed(self._why)
        return End("stop")

    def _wrote(self, data: bytes) -> None:
        # An exception of ours is kept here: wasmtime's own place for it is shared by all threads.
        try:
            self._add(self._lines.read(data))
        except BrokenProtocol as error:
            self._why = self._why or f"it broke its protocol: {error}"
            raise Stopped from None

    def _complained(self, data: bytes) -> None:
        self._words = (self._words + data)[-WORDS_MAX:]

    def _add(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Text):
                if self._items_left <= 0:
                    event = End("length")
                self._items_left -= 1
            with self._room:
                while len(self._events) >= WAITING_MAX and not self._stopping:
                    self._room.wait()
                if self._stopping:
                    raise Stopped
                self._events.append(event)
                first = len(self._events) == 1
                self._told_end = self._told_end or isinstance(event, End)
            if first:
                self._loop.call_soon_threadsafe(self._wake.set)
            if isinstance(event, End):
                raise Stopped  # Whatever it has left to do, nobody will read it.

    def _explain(self, trap: wasmtime.Trap) -> str:
        code = trap.trap_code
        if code is wasmtime.TrapCode.INTERRUPT:
            return self._why or "it was stopped"
        if code is wasmtime.TrapCode.OUT_OF_FUEL:
            return f"it used up its {self._limits.fuel} steps"
        if self._why:
            return self._why
        if code is wasmtime.TrapCode.UNREACHABLE and self._memory_is_full():
            return f"it ran out of its {self._limits.memory_bytes >> 20} MB of memory"
        known = _EXPLAINED.get(code) if code is not None else None
        return known or str(trap.message).splitlines()[0][:WORDS_MAX]

    def _memory_is_full(self) -> bool:
        return self._slot.memory_bytes * 2 > self._limits.memory_bytes

    def _failed(self, why: str) -> End:
        words = "".join(c for c in self._words.decode(errors="replace") if c.isprintable())
        return End(error=why + (f"; its last words: {words}" if words else ""))


def standard_input(request: Any) -> tuple[bytes, bytes]:
    """What the module reads, and what its chance comes from: the input's seed, or else the whole input.

    Raises ValueError for what is no JSON object.
    """
    given = json.loads(request.input)
    if not isinstance(given, dict):
        raise ValueError("the input must be a JSON object")
    seed = given.get("seed")
    whole = isinstance(seed, int) and not isinstance(seed, bool)
    source = str(seed).encode() if whole else bytes(request.input)
    told = {
        "run_id": request.run_id,
        "input": given,
        "first_position": request.first_position,
        "output_items_max": request.output_items_max,
    }
    line = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    return line, hashlib.sha256(b"archipelag-chance:" + source).digest()
