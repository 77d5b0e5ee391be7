"""The WASM runtime: every promise of the protocol, and what becomes of modules that mean harm."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from archipelag_contracts.tiers import TIERS
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.runtimes.native import rights
from archipelag_island.adapters.runtimes.native.host import Host
from archipelag_island.adapters.runtimes.wasm.runtime import WasmRuntime
from archipelag_island.errors import BadInput, CargoDied, StartFailed
from archipelag_island.runtime import CargoSpec, Handle, RunEvent, RunRequest, Runtime
from archipelag_island.testing.builders import a_spec, an_input, the_echo_manifest
from archipelag_island.testing.check_runtime import CHECKS
from archipelag_island.testing.echo_wasm import MODULE
from archipelag_island.testing.echo_wasm.build import build


class EchoInWasm(WasmRuntime):
    """Takes the module where the checks name a Python engine."""

    async def start(self, spec: CargoSpec) -> Handle:
        return await super().start(replace(spec, wasm=spec.wasm or MODULE))


FOUND: list[Host] = []
"""Once for all tests: what a host can do does not change under them."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("modules")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that a Cargo's user may look into; pytest's own is closed to it."""
    with tempfile.TemporaryDirectory(prefix="archipelag-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
async def runtime(cache: Path) -> AsyncIterator[EchoInWasm]:
    made = EchoInWasm(cache)
    made._native._host = FOUND[0] if FOUND else None
    yield made
    FOUND[:] = [made._native._host] if made._native._host else []
    for name in list(made._native._started):
        await made.stop(Handle(name), 0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_keeps_promise(
    check: Callable[[Runtime], Awaitable[None]], runtime: EchoInWasm
) -> None:
    await check(runtime)


async def test_any_publisher_may_run_in_it(runtime: EchoInWasm) -> None:
    info = await runtime.probe()

    assert info.name == "wasm" and info.trust_min == 0 and "wasmtime" in info.executor


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: a filter is the kernel's")
async def test_without_bubblewrap_it_runs_behind_our_filter_of_system_calls(
    cache: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the Island as one file, whose interpreter is started by a few lines of shell, too."""
    started = shared / "python"
    started.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    started.chmod(0o755)
    monkeypatch.setattr(rights, "find_bubblewraps", list)
    monkeypatch.setattr(sys, "executable", str(started))
    runtime = EchoInWasm(cache)

    info = await runtime.probe()
    handle = await runtime.start(a_spec())
    events = await collected(runtime, handle, an_input("hello"))
    await runtime.stop(handle, 2.0)

    assert "system-call-filter" in info.isolation and "private-root" not in info.isolation
    assert events[-1].end is not None and not events[-1].end.error


async def collected(
    runtime: WasmRuntime, handle: Handle, data: bytes = b"{}", **changes: Any
) -> list[RunEvent]:
    request = RunRequest("run", data, output_items_max=1000, **changes)
    async with asyncio.timeout(60), aclosing(runtime.run(handle, request)) as events:
        return [event async for event in events]


async def error_of(runtime: WasmRuntime, module: Path, **limits: Any) -> str:
    """How one run ends; another must run in the same Cargo afterwards."""
    manifest = the_echo_manifest(limits={"progress_s": 1, **limits})
    tier = replace(TIERS["restricted"], memory_bytes=32 << 20)
    handle = await runtime.start(
        CargoSpec(manifest, manifest.digest, wasm=module, slots=1, tier=tier)
    )
    ends = [(await collected(runtime, handle))[-1].end for _ in range(2)]
    assert ends[0] == ends[1] and ends[0] is not None
    await runtime.stop(handle, 2.0)
    return ends[0].error


def from_text(folder: Path, text: str) -> Path:
    made = folder / "module.wasm"
    made.write_bytes(wasmtime.wat2wasm(text))
    return made


def module(folder: Path, body: str, *, memory: str = "1", more: str = "") -> Path:
    """A command whose `_start` is `body`; `$say` writes `count` bytes from address 64 on."""
    return from_text(
        folder,
        f"""(module
        (import "wasi_snapshot_preview1" "fd_write"
          (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") {memory})
        {more}
        (func $say (param $file i32) (param $count i32)
          (i32.store (i32.const 0) (i32.const 64))
          (i32.store (i32.const 4) (local.get $count))
          (drop (call $write (local.get $file) (i32.const 0) (i32.const 1) (i32.const 8))))
        (func (export "_start") {body}))""",
    )


TEXT = '(data (i32.const 64) "{\\"text\\":\\"x\\"}\\0a")'
SAYING = "(call $say (i32.const 1) (i32.const 13))"

PEN = "(drop (call $write (i32.const 1) (i32.const 70000) (i32.const 1) (i32.const 0)))"
CHANCES = "(drop (call $random (i32.const -4) (i32.const 100)))"
BYTES = '(data (i32.const 64) "\\ff\\fe\\0a")'
SORRY = '(data (i32.const 64) "sorry")'
NO_NEWLINE = "(loop $l (call $say (i32.const 1) (i32.const 60000)) (br $l))"

FAILURES = [
    ("unreachable", "(unreachable)", "", "gave up"),
    ("endless", "(loop $l (br $l))", "", "longer than 2 s"),
    ("no newline", NO_NEWLINE, "", "line 1 is longer"),
    ("not utf-8", "(call $say (i32.const 1) (i32.const 3))", BYTES, "UTF-8"),
    ("status", "(call $exit (i32.const 3))", "", "status 3"),
    ("last words", "(call $say (i32.const 2) (i32.const 5)) (unreachable)", SORRY, "words: sorry"),
    ("out of bounds", "(drop (i32.load (i32.const 100000)))", "", "out of its memory"),
    ("host's pen out of bounds", PEN, "", "out of its memory"),
    ("host's chance out of bounds", CHANCES, "", "out of its memory"),
    ("stack", "(call $deep)", "(func $deep (call $deep))", "stack"),
    ("division", "(drop (i32.div_s (i32.const 1) (i32.const 0)))", "", "divided by zero"),
]


@pytest.mark.parametrize(
    ("body", "more", "why"), [f[1:] for f in FAILURES], ids=[f[0] for f in FAILURES]
)
async def test_failure_is_told_and_the_next_run_is_served(
    body: str, more: str, why: str, runtime: EchoInWasm, tmp_path: Path
) -> None:
    error = await error_of(runtime, module(tmp_path, body, more=more), seconds=2)

    assert re.search(why, error), error


async def test_memory_ends_at_the_tiers(runtime: EchoInWasm, tmp_path: Path) -> None:
    grow = """(loop $l
      (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)"""

    error = await error_of(runtime, module(tmp_path, grow))

    assert "ran out of its 32 MB of memory" in error


async def test_module_that_wants_more_memory_than_it_may_have(
    runtime: EchoInWasm, tmp_path: Path
) -> None:
    error = await error_of(runtime, module(tmp_path, "", memory="2000"))

    assert "could not be started" in error and "memory" in error


async def test_items_end_where_the_run_may_say_no_more(runtime: EchoInWasm, tmp_path: Path) -> None:
    handle = await runtime.start(
        replace(a_spec(slots=1), wasm=module(tmp_path, f"(loop $l {SAYING} (br $l))", more=TEXT))
    )

    request = RunRequest("run", b"{}", first_position=2, output_items_max=7)
    events = [event async for event in runtime.run(handle, request)]

    assert sum(len(e.texts) for e in events) == 5
    assert events[-1].end is not None and events[-1].end.finish_reason == "length"


async def test_items_arrive_while_it_runs_and_cancelling_stops_it(
    runtime: EchoInWasm, tmp_path: Path
) -> None:
    path = module(tmp_path, f"{SAYING} (loop $l (br $l))", more=TEXT)
    handle = await runtime.start(replace(a_spec(slots=1), wasm=path))
    request = RunRequest("run", b"{}", output_items_max=10)

    async with asyncio.timeout(PATIENCE_S), aclosing(runtime.run(handle, request)) as events:
        assert (await anext(events)).texts == ("x",)
    used = runtime.usage(handle).cpu_ms
    await asyncio.sleep(0.3)
    idle = runtime.usage(handle).cpu_ms - used

    assert idle < 250, "it computes on"


async def test_only_the_module_says_that_the_input_is_bad(
    runtime: EchoInWasm, tmp_path: Path
) -> None:
    say = '(data (i32.const 64) "{\\"bad_input\\":\\"give text\\"}\\0a")'
    path = module(tmp_path, "(call $say (i32.const 1) (i32.const 26))", more=say)
    handle = await runtime.start(replace(a_spec(), wasm=path))

    with pytest.raises(BadInput, match="give text"):
        await collected(runtime, handle)
    with pytest.raises(BadInput, match="object"):
        await collected(runtime, handle, b"[]")


# Without a C library, whose own build takes a minute.
PRELUDE = r"""
typedef unsigned int word;
typedef unsigned long long longword;
typedef struct { const char *at; word size; } piece;
#define FROM(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))
#define WASI(name, ...) FROM(name) int name(__VA_ARGS__);
WASI(fd_write, int, const piece *, word, word *)
WASI(random_get, void *, word)
WASI(args_sizes_get, word *, word *)
WASI(environ_sizes_get, word *, word *)
WASI(fd_prestat_get, int, void *)
WASI(path_open, int, int, const char *, word, int, longword, longword, int, word *)
WASI(poll_oneoff, const void *, void *, word, word *)
WASI(sock_accept, int, int, word *)
static void say(const char *text, word size) {
    piece pieces[3] = {{"{\"text\":\"", 9}, {text, size}, {"\"}\n", 3}};
    word wrote;
    fd_write(1, pieces, 3, &wrote);
}
"""
CHANCE = """
void _start(void) {
    unsigned char drawn[8];
    char text[16];
    random_get(drawn, 8);
    for (int i = 0; i < 16; i++) text[i] = "0123456789abcdef"[drawn[i / 2] >> (i % 2 * 4) & 15];
    say(text, 16);
}
"""


async def made_of(source: str, folder: Path) -> Path:
    written, path = folder / "module.c", folder / "module.wasm"
    written.write_text(PRELUDE + source)
    await asyncio.to_thread(build, written, path)
    return path


async def test_chance_comes_from_the_input_so_that_a_run_can_be_repeated(
    runtime: EchoInWasm, tmp_path: Path
) -> None:
    handle = await runtime.start(replace(a_spec(), wasm=await made_of(CHANCE, tmp_path)))

    async def drawn(**given: Any) -> str:
        events = await collected(runtime, handle, json.dumps(given).encode())
        return "".join(text for event in events for text in event.texts)

    first = await drawn(seed=1, text="a")
    assert len(first) == 16
    assert first == await drawn(seed=1, text="b")
    assert first != await drawn(seed=2, text="a")
    assert await drawn(text="a") == await drawn(text="a") != await drawn(text="b")


SURROUNDINGS = """
void _start(void) {
    word arguments = 9, variables = 9, bytes, opened;
    char room[64], text[8];
    char sleep[48] = {0};
    args_sizes_get(&arguments, &bytes);
    environ_sizes_get(&variables, &bytes);
    int found = 0, there = 0;
    for (int file = 3; file < 100; file++) {
        there += fd_prestat_get(file, room) == 0;
        found += path_open(file, 1, "etc/passwd", 10, 0, 2, 2, 0, &opened) == 0;
    }
    text[0] = '0' + arguments; text[1] = '0' + variables; text[2] = '0' + there; text[3] = '0' + found;
    text[4] = '0' + (poll_oneoff(sleep, room, 1, &bytes) == 0);
    text[5] = '0' + (sock_accept(3, 0, &opened) == 0);
    say(text, 6);
}
"""


async def test_module_finds_nothing_around_it(runtime: EchoInWasm, tmp_path: Path) -> None:
    handle = await runtime.start(replace(a_spec(), wasm=await made_of(SURROUNDINGS, tmp_path)))

    events = await collected(runtime, handle)

    # One argument, its name; no variable, folder, file, sleep or socket.
    assert "".join(t for e in events for t in e.texts) == "100000"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('(module (memory (export "memory") 1))', "no function _start"),
        ('(module (func (export "_start")))', "no memory"),
        ('(module (import "env" "system" (func)) (func (export "_start")))', "imports env.system"),
        (
            '(module (memory (export "memory") 1 1 shared) (func (export "_start")))',
            "cannot be compiled",
        ),
        ("(module (memory 1) (memory 1))", "cannot be compiled"),
    ],
    ids=["no start", "no memory", "import", "threads", "memories"],
)
async def test_module_that_asks_for_more_is_refused(
    text: str, why: str, runtime: EchoInWasm, tmp_path: Path
) -> None:
    with pytest.raises(StartFailed, match=why):
        await runtime.start(replace(a_spec(), wasm=from_text(tmp_path, text)))


async def test_what_is_no_module_is_refused(runtime: EchoInWasm, tmp_path: Path) -> None:
    path = tmp_path / "no.wasm"
    for data in (
        b"",
        b"MZ no module",
        wasmtime.Module(wasmtime.Engine(), MODULE.read_bytes()).serialize(),
    ):
        path.write_bytes(data)
        with pytest.raises(StartFailed, match="cannot be compiled"):
            await runtime.start(replace(a_spec(), wasm=path))


async def test_module_is_compiled_once(runtime: EchoInWasm, cache: Path, tmp_path: Path) -> None:
    path = module(tmp_path, "(nop)", more='(data (i32.const 99) "once")')
    before = set(cache.iterdir())  # noqa: ASYNC240

    await runtime.stop(await runtime.start(replace(a_spec(), wasm=path)), 1.0)
    (made,) = set(cache.iterdir()) - before  # noqa: ASYNC240
    stamp = made.stat().st_ino
    await runtime.stop(await runtime.start(replace(a_spec(), wasm=path)), 1.0)

    assert made.stat().st_ino == stamp


async def test_compiled_module_that_is_broken_is_made_again(
    runtime: EchoInWasm, cache: Path, tmp_path: Path
) -> None:
    path = module(tmp_path, "(nop)", more='(data (i32.const 99) "broken")')
    before = set(cache.iterdir())  # noqa: ASYNC240
    await runtime.stop(await runtime.start(replace(a_spec(), wasm=path)), 1.0)
    (made,) = set(cache.iterdir()) - before  # noqa: ASYNC240
    made.chmod(0o644)
    made.write_bytes(made.read_bytes()[:1000])

    with pytest.raises(StartFailed):
        await runtime.start(replace(a_spec(), wasm=path))
    handle = await runtime.start(replace(a_spec(), wasm=path))

    assert (await collected(runtime, handle))[-1].end is not None


async def test_death_of_the_process_is_told(runtime: EchoInWasm) -> None:
    handle = await runtime.start(a_spec())
    request = RunRequest("run", an_input("x", items=1_000_000), output_items_max=1_000_000)

    async with aclosing(runtime.run(handle, request)) as events:
        await anext(events)
        os.kill(runtime._native._started[handle.id].living.pid, signal.SIGKILL)
        with pytest.raises(CargoDied, match="signal 9"):
            async for _ in events:
                pass


def test_echo_module_is_what_its_source_builds(tmp_path: Path) -> None:
    built = tmp_path / "echo.wasm"

    build(MODULE.with_name("echo.c"), built)

    if built.read_bytes() != MODULE.read_bytes():
        # Another version of the compiler may be right too: then the module is built again and committed.
        pytest.fail("echo.wasm is not what echo.c builds: run build.py")
