"""The committed modules are what the committed sources give."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="needs the compiler: the wheel ziglang"
)


# The first build compiles the C library too, which takes a slow machine a while.
@pytest.mark.timeout(900)
def test_the_build_gives_the_committed_bytes(tmp_path: Path) -> None:
    # From another place, by another user's settings: neither may reach the bytes.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1", "LC_ALL": "C", "CFLAGS": "-DNOTHING"}
    command = [sys.executable, str(HERE / "build.py"), "--to", str(tmp_path)]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)

    built = {path.stem: path.read_bytes() for path in tmp_path.glob("*.wasm")}

    probes = HERE.parents[1] / "tests" / "escape" / "wasm" / "escape.wasm"
    committed = {path.stem: path.read_bytes() for path in (*HERE.glob("*/*.wasm"), probes)}
    assert len(built) == 9
    different = [name for name in built if built[name] != committed.get(name)]
    assert different == [], "run `make cargos-wasm` and commit what it wrote"
    assert max(map(len, built.values())) < 1 << 20


def test_modules_ask_for_nothing_but_pipes(tmp_path: Path) -> None:
    """What a module imports is all that it could ever do: no files, no sockets, no clock, no chance."""
    import wasmtime

    engine = wasmtime.Engine()
    allowed = {"fd_read", "fd_write", "proc_exit", "fd_close", "fd_seek", "fd_fdstat_get"}
    for path in HERE.glob("*/*.wasm"):
        module = wasmtime.Module.from_file(engine, str(path))
        asked = {item.name for item in module.imports}
        assert asked <= allowed, f"{path.name} imports {asked - allowed}"
