"""The table of runtimes, strongest first; adapt it here."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.adapters.runtimes.oci.either import OciRuntime
from archipelag_island.adapters.runtimes.wasm.runtime import WasmRuntime
from archipelag_island.runtime import Runtime


def found_runtimes(
    allowed: Collection[str], compiled: Path, engine: Path | None = None, lines_max: int = 0
) -> dict[str, Runtime]:
    """By name, those that the owner allows. Whether this host can run them is found out by `probe`.

    `compiled` is where WASM modules are kept as machine code; `engine` names a container engine's socket; `lines_max`
    is what each Cargo may say a minute in this Island's log.
    """
    native = NativeRuntime(lines_max=lines_max)
    made: dict[str, Runtime] = {
        "wasm": WasmRuntime(compiled, native),
        "oci": OciRuntime(engine=engine, lines_max=lines_max),
        "native": native,
    }
    return {name: runtime for name, runtime in made.items() if name in allowed}
