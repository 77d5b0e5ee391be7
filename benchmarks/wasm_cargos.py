"""What does one run of a WASM Cargo take? Each one's example, warm: the module compiled, an instance made for the run.

    python benchmarks/wasm_cargos.py [--runs 200]

In this process and by wasmtime alone, with fuel and a memory limit as the wasm runtime sets them; so this is what the
module costs, and what a run through an Island takes beyond it is the Island's. Prints milliseconds (median, and the
slowest of a hundred), instance and input and output included; beside them the time to compile, which is paid once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import tomllib
from pathlib import Path

import wasmtime

CARGOS = Path(__file__).parents[1] / "cargos" / "wasm"
FUEL = 20_000_000_000


def run(engine: wasmtime.Engine, module: wasmtime.Module, folder: Path) -> tuple[float, int]:
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


def measure(manifest: Path, folder: Path, runs: int) -> None:
    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    name = manifest.parent.name
    envelope = {"run_id": "r", "input": tomllib.loads(manifest.read_text())["example"]}
    (folder / "in").write_text(json.dumps(envelope))
    file = manifest.parent / f"{name}.wasm"
    began = time.perf_counter()
    module = wasmtime.Module.from_file(engine, str(file))
    compile_ms = (time.perf_counter() - began) * 1000
    took = [run(engine, module, folder) for _ in range(runs)]
    times = sorted(ms for ms, _ in took)
    print(
        f"| {name} | {file.stat().st_size / 1000:.0f} | {compile_ms:.0f} | {statistics.median(times):.2f} "
        f"| {times[-max(1, runs // 100)]:.2f} | {took[0][1]:,} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200, help="runs of each")
    arguments = parser.parse_args()
    print("| Cargo | module, KB | compile, ms | run, ms | slowest of 100, ms | fuel |")
    print("|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for manifest in sorted(CARGOS.glob("*/manifest.toml")):
            measure(manifest, Path(folder), arguments.runs)


if __name__ == "__main__":
    main()
