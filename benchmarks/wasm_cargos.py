"""What does one run of a WASM Cargo take through an Island's runtime, beside its module alone?

    python benchmarks/wasm_cargos.py [--runs 200]

Each one's example, in a Cargo that is up. Alone is by wasmtime in this process, with fuel and a memory limit as the
runtime sets them, an instance made for each run; so what is beyond it is the Island's. Prints the time to compile too,
which is paid once, and the steps of a run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import wasmtime
from archipelag_contracts.tiers import TIERS
from archipelag_island.adapters.runtimes.wasm.runtime import WasmRuntime
from archipelag_island.runtime import CargoSpec, Handle, RunRequest
from archipelag_kit import drafts
from figures import Beside, Figure
from telling import state_all

CARGOS = Path(__file__).parents[1] / "cargos" / "wasm"
FUEL = 20_000_000_000
HOW = (
    "Each Cargo's own example, from the call to the end of the run, in a Cargo that is up; medians. Limit: wasmtime "
    "alone in one process, the module compiled, an instance made for the run."
)


def alone(engine: wasmtime.Engine, module: wasmtime.Module, folder: Path) -> tuple[float, int]:
    """Milliseconds and fuel of one run."""
    began = time.perf_counter()
    wasi = wasmtime.WasiConfig()
    wasi.stdin_file = str(folder / "in")
    wasi.stdout_file = str(folder / "out")
    store = wasmtime.Store(engine)
    store.set_fuel(FUEL)
    store.set_limits(memory_size=256 << 20)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    try:
        linker.instantiate(store, module).exports(store)["_start"](store)
    except wasmtime.ExitTrap as ended:
        if ended.code != 0:
            raise
    took_ms = (time.perf_counter() - began) * 1000
    assert b'"stop"' in (folder / "out").read_bytes()[-50:]
    return took_ms, FUEL - store.get_fuel()


def prepared(name: str) -> tuple[CargoSpec, RunRequest]:
    """The Cargo as an Island starts it, and a run of its example."""
    manifest = drafts.parse_draft((CARGOS / name / "manifest.toml").read_text())
    tier = TIERS[manifest.limits.tier]
    module = CARGOS / name / f"{name}.wasm"
    spec = CargoSpec(manifest, manifest.digest, wasm=module, slots=1, tier=tier)
    example = json.dumps(manifest.example).encode()
    request = RunRequest("run", example, output_items_max=manifest.limits.output_items_max)
    return spec, request


async def through(runtime: WasmRuntime, handle: Handle, request: RunRequest) -> float:
    """Milliseconds of one run."""
    began = time.perf_counter()
    async with aclosing(runtime.run(handle, request)) as events:
        ends = [event.end async for event in events if event.end is not None]
    took_ms = (time.perf_counter() - began) * 1000
    assert [end.finish_reason for end in ends] == ["stop"]
    return took_ms


async def measure(runtime: WasmRuntime, name: str, folder: Path, runs: int) -> Figure:
    spec, request = prepared(name)
    assert spec.wasm is not None
    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    (folder / "in").write_text(json.dumps({"run_id": "r", "input": json.loads(request.input)}))
    began = time.perf_counter()
    module = wasmtime.Module.from_file(engine, str(spec.wasm))
    compile_ms = (time.perf_counter() - began) * 1000
    handle = await runtime.start(spec)
    ours, bare = [], []
    for _ in range(runs):
        ours.append(await through(runtime, handle, request))
        bare.append(alone(engine, module, folder))
    await runtime.stop(handle, 1.0)
    size, fuel = spec.wasm.stat().st_size, bare[0][1]
    print(f"{name}: {size / 1000:.0f} KB, compiled in {compile_ms:.0f} ms, {fuel:,} steps a run")
    limit = Beside("wasmtime alone", statistics.median(took_ms for took_ms, _ in bare))
    return Figure("WASM Cargos", name, statistics.median(ours), "ms", HOW, limit=limit)


async def measure_all(folder: Path, runs: int) -> AsyncIterator[Figure]:
    runtime = WasmRuntime(folder / "modules")
    for manifest in sorted(CARGOS.glob("*/manifest.toml")):
        yield await measure(runtime, manifest.parent.name, folder, runs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200, help="runs of each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-wasm-") as folder:
        Path(folder).chmod(0o755)
        asyncio.run(state_all(measure_all(Path(folder), arguments.runs)))


if __name__ == "__main__":
    main()
