"""Compiles a module and writes the result into an open file. In a sandbox, since it reads what strangers wrote."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import wasmtime

from archipelag_island.adapters.runtimes.wasm.machine import BadModule, check, engine


def main() -> None:
    source, output = sys.argv[1], int(sys.argv[2])
    try:
        module = wasmtime.Module(engine(), Path(source).read_bytes())
        check(module)
    except wasmtime.WasmtimeError as error:
        sys.exit(str(error).replace("\n", " ")[:400])
    except BadModule as error:
        sys.exit(str(error))
    data = memoryview(module.serialize())
    while data:
        data = data[os.write(output, data) :]


if __name__ == "__main__":
    main()
