"""Runs a WASM module once, as the Island's runtime does but without its limits: for an author's own tests."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FUEL = 10_000_000_000


def run_module(
    module: Path,
    input: Mapping[str, Any],  # noqa: A002 - the protocol's word
    *,
    output_items_max: int = 4096,
) -> list[dict[str, Any]]:
    """The events that it writes, one a line. Needs the package wasmtime."""
    import wasmtime

    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    asked = {
        "run_id": "run",
        "input": dict(input),
        "first_position": 0,
        "output_items_max": output_items_max,
    }
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder, "in"), Path(folder, "out")
        given.write_text(json.dumps(asked, ensure_ascii=False), encoding="utf-8")
        wasi = wasmtime.WasiConfig()
        wasi.stdin_file = str(given)
        wasi.stdout_file = str(written)
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        store = wasmtime.Store(engine)
        store.set_fuel(FUEL)
        store.set_wasi(wasi)
        instance = linker.instantiate(store, wasmtime.Module.from_file(engine, str(module)))
        _start(instance.exports(store)["_start"], store)
        del instance, store
        return [
            json.loads(line) for line in written.read_text(encoding="utf-8").split("\n") if line
        ]


def _start(function: Any, store: Any) -> None:
    import wasmtime

    try:
        function(store)
    except wasmtime.ExitTrap as exit_:
        if exit_.code != 0:
            raise
