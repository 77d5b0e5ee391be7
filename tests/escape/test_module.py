"""What a hostile WASM module tries: it gets nothing, and the next run is served."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import module
import pytest
import pytest_asyncio
import wasmtime
from archipelag_island.adapters.runtimes.wasm.runtime import WasmRuntime
from archipelag_island.errors import StartFailed

SOURCE = Path(__file__).parent / "wasm" / "escape.c"


# One runtime for all: it tries the host and its compiler when it is first used, which takes a while.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runtime(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WasmRuntime]:
    async with module.a_runtime(tmp_path_factory.mktemp("wasm")) as opened:
        yield opened


async def test_the_page_knows_every_attempt_of_the_source() -> None:
    assert re.findall(r'^    \{"(\w+)", \w+\},$', SOURCE.read_text(), re.MULTILINE) == list(
        module.PROBES
    )


@pytest.mark.timeout(300)
async def test_nothing_escapes(runtime: WasmRuntime) -> None:
    handle = await runtime.start(module.the_spec())

    found = {name: await module.attempt(runtime, handle, name) for name in module.PROBES}
    after = await module.attempt(runtime, handle, "environment")

    assert {name: one.said for name, one in found.items() if one.escaped} == {}
    assert after.said == "0 variables"
    # The probes that end well tell so themselves: they ran, and were not just broken.
    for name in ("open_files", "preopened", "sockets", "arguments", "memory", "other_handles"):
        assert "tried" in found[name].said or found[name].said.startswith(
            ("no folder", "1, ", "got ")
        )


MODULES = {
    "asks for a function of the host": '(import "env" "system" (func (param i32) (result i32)))',
    "asks for another WASI": '(import "wasi_snapshot_preview1" "fd_evil" (func))',
    "asks for a memory of the host": '(import "env" "memory" (memory 1))',
    "has no memory": '(func (export "_start"))',
    "has no entry": '(memory (export "memory") 1)',
    "wants 4 GiB at once": '(memory (export "memory") 65536) (func (export "_start"))',
    "shares memory between threads": '(memory (export "memory") 1 1 shared) (func (export "_start"))',
    "counts addresses in 64 bits": '(memory (export "memory") i64 1) (func (export "_start"))',
}


@pytest.mark.parametrize("what", MODULES)
async def test_modules_that_ask_for_more_never_run(
    runtime: WasmRuntime, tmp_path: Path, what: str
) -> None:
    source = tmp_path / "module.wasm"
    source.write_bytes(bytes(wasmtime.wat2wasm(f"(module {MODULES[what]})")))

    try:
        handle = await runtime.start(replace(module.the_spec(), wasm=source))
    except StartFailed:
        return
    # What can only be seen when it is given memory is refused then.
    assert "memory" in (await module.attempt(runtime, handle, "memory")).said


@pytest.mark.parametrize(
    "code",
    [b"", b"\0asm", b"\0asm\1\0\0\0" + b"\xff" * 100, b"\x7fELF" + b"\0" * 100, b"#!/bin/sh\n"],
)
async def test_what_is_no_module_is_refused(
    runtime: WasmRuntime, tmp_path: Path, code: bytes
) -> None:
    source = tmp_path / "module.wasm"
    source.write_bytes(code)

    with pytest.raises(StartFailed):
        await runtime.start(replace(module.the_spec(), wasm=source))
