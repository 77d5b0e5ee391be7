"""wasmtime as we set it up: what a module may do, and what it may use.

No file, no folder, no environment, no socket, no sleep. Chance comes from the input, so that a run can be repeated;
clocks are real. Arithmetic is the same on every processor: canonical NaN, no relaxed SIMD, no threads.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import wasmtime
from wasmtime import FuncType, ValType

WASI: Final = "wasi_snapshot_preview1"
# WASI's error numbers.
_OK, _BAD_FILE, _INVALID, _NOT_SUPPORTED = 0, 8, 28, 58
_STDIN, _STDOUT, _STDERR = 0, 1, 2
_VECTORS_MAX: Final = 1_024
RANDOM_BYTES_MAX: Final = 1 << 20
TABLE_ELEMENTS_MAX: Final = 1_000_000
STACK_BYTES: Final = 512 << 10


class BadModule(Exception):
    """It is no module that could run here; the text says why."""


class Stopped(Exception):
    """Raised within a run to end it; why stands in the run."""


@dataclass(frozen=True)
class Limits:
    """Of one run."""

    memory_bytes: int
    fuel: int
    seconds: int


def engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.cranelift_nan_canonicalization = True
    config.wasm_relaxed_simd = False
    config.wasm_threads = False
    config.wasm_multi_memory = False
    config.wasm_memory64 = False
    config.wasm_component_model = False
    config.wasm_gc = False
    config.wasm_function_references = False
    config.wasm_exceptions = False
    config.consume_fuel = True
    config.epoch_interruption = True
    config.max_wasm_stack = STACK_BYTES
    return wasmtime.Engine(config)


def check(module: wasmtime.Module) -> None:
    """Raises BadModule for one that asks for what no module gets."""
    for wanted in module.imports:
        if wanted.module != WASI or not isinstance(wanted.type, FuncType):
            raise BadModule(f"it imports {wanted.module}.{wanted.name}; there is {WASI} only")
    exports = {export.name: export.type for export in module.exports}
    start = exports.get("_start")
    if not isinstance(start, FuncType) or start.params or start.results:
        raise BadModule("it exports no function _start without parameters: build it as a command")
    if not isinstance(exports.get("memory"), wasmtime.MemoryType):
        raise BadModule("it exports no memory")


class Slot:
    """Room for one run at a time, in a thread; another may `interrupt` it.

    It has an engine of its own, since what interrupts one run of an engine interrupts all.
    """

    def __init__(self, compiled: str) -> None:
        """Raises wasmtime.WasmtimeError."""
        self._engine = engine()
        module = wasmtime.Module.deserialize_file(self._engine, compiled)
        linker = wasmtime.Linker(self._engine)
        linker.define_wasi()
        linker.allow_shadowing = True
        number = ValType.i32()
        for name, parameters, function in (
            ("fd_write", 4, self._write),
            ("fd_read", 4, self._read),
            ("random_get", 2, self._random),
            ("poll_oneoff", 4, self._poll),
        ):
            kind = FuncType([number] * parameters, [number])
            linker.define_func(WASI, name, kind, function, access_caller=True)
        self._ready = linker.instantiate_pre(module)
        self._input = b""
        self._read_to = 0
        self._chance = b""
        self._drawn = 0
        self._wrote: Callable[[bytes], None] = lambda _: None
        self._complained: Callable[[bytes], None] = lambda _: None
        self._interrupted = threading.Event()
        self._memory: Any = None
        """That of the run's instance, looked up once."""
        self.memory_bytes = 0
        """How much the last run had in the end."""

    def prepare(self) -> None:
        """For the next run, before its thread begins: an interrupt from here on is meant for it."""
        self._interrupted.clear()

    def run(
        self,
        data: bytes,
        chance: bytes,
        limits: Limits,
        wrote: Callable[[bytes], None],
        complained: Callable[[bytes], None],
    ) -> None:
        """Returns when the module has ended by itself. Raises wasmtime's errors and whatever `wrote` raises."""
        self._input, self._read_to = data, 0
        self._chance, self._drawn = chance, 0
        self._wrote, self._complained = wrote, complained
        store = wasmtime.Store(self._engine)
        store.set_limits(limits.memory_bytes, TABLE_ELEMENTS_MAX, 1, 8, 1)
        store.set_fuel(limits.fuel)
        store.set_epoch_deadline(1)
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["cargo"]
        store.set_wasi(wasi)
        self._memory = None
        try:
            # What interrupts from here on goes beyond the store's epoch.
            if self._interrupted.is_set():
                raise Stopped
            exports = self._ready.instantiate(store).exports(store)
            self._memory = exports["memory"]
            exports["_start"](store)  # type: ignore[operator]
        finally:
            if self._memory is not None:
                self.memory_bytes = self._memory.data_len(store)
            store.close()

    def interrupt(self) -> None:
        """From any thread; ends what runs now."""
        self._interrupted.set()
        self._engine.increment_epoch()

    def _write(self, caller: Any, handle: int, vectors: int, count: int, written_at: int) -> int:
        if handle not in (_STDOUT, _STDERR):
            return _BAD_FILE
        if not 0 <= count <= _VECTORS_MAX:
            return _INVALID
        memory = self._seen_by(caller)
        data = b"".join(memory.peek(at, size) for at, size in memory.places(vectors, count))
        if self._interrupted.is_set():
            raise Stopped
        (self._wrote if handle == _STDOUT else self._complained)(data)
        memory.poke(written_at, len(data).to_bytes(4, "little"))
        return _OK

    def _read(self, caller: Any, handle: int, vectors: int, count: int, read_at: int) -> int:
        if handle != _STDIN:
            return _BAD_FILE
        if not 0 <= count <= _VECTORS_MAX:
            return _INVALID
        memory, before = self._seen_by(caller), self._read_to
        for at, size in memory.places(vectors, count):
            piece = self._input[self._read_to : self._read_to + size]
            memory.poke(at, piece)
            self._read_to += len(piece)
        memory.poke(read_at, (self._read_to - before).to_bytes(4, "little"))
        return _OK

    def _random(self, caller: Any, at: int, size: int) -> int:
        if not 0 <= size <= RANDOM_BYTES_MAX:
            return _INVALID
        drawn = hashlib.shake_256(self._chance + self._drawn.to_bytes(8, "little")).digest(size)
        self._drawn += 1
        self._seen_by(caller).poke(at, drawn)
        return _OK

    def _seen_by(self, caller: Any) -> _Memory:
        # A start function runs, and may call us, before there is an instance.
        return _Memory(self._memory or caller["memory"], caller)

    def _poll(self, caller: Any, *_: int) -> int:
        """Sleeping, which nothing could interrupt."""
        del caller
        return _NOT_SUPPORTED


class _Memory:
    """A module's memory during one call of ours. Everything raises IndexError out of its bounds, which ends the run."""

    def __init__(self, memory: Any, caller: Any) -> None:
        self._size = memory.data_len(caller)
        self._base = ctypes.addressof(memory.data_ptr(caller).contents) if self._size else 0

    def peek(self, at: int, size: int) -> bytes:
        return ctypes.string_at(self._at(at, size), size) if size else b""

    def poke(self, at: int, data: bytes) -> None:
        if data:
            ctypes.memmove(self._at(at, len(data)), data, len(data))

    def places(self, at: int, count: int) -> list[tuple[int, int]]:
        """WASI's list of places and sizes, together no larger than the memory."""
        words = struct.unpack(f"<{2 * count}I", self.peek(at, 8 * count))
        found = list(zip(words[::2], words[1::2], strict=True))
        if sum(size for _, size in found) > self._size:
            raise IndexError("more than its memory")
        return found

    def _at(self, at: int, size: int) -> int:
        at &= 0xFFFFFFFF  # wasmtime hands over addresses with a sign.
        if at + size > self._size:
            raise IndexError("out of its memory")
        return self._base + at
