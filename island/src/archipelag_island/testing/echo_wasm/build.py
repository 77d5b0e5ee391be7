"""Builds echo.wasm: python build.py [OUTPUT]. Same compiler, same bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
OPTIONS: Final = ("-target", "wasm32-freestanding", "-Os", "-nostdlib", "-Wl,--strip-all")
"""No C library: a module of two kilobytes."""


def build(source: Path, output: Path, *options: str) -> None:
    """Raises CalledProcessError."""
    compiler = [sys.executable, "-m", "ziglang", "cc"]
    subprocess.run([*compiler, *(options or OPTIONS), str(source), "-o", str(output)], check=True)


if __name__ == "__main__":
    build(HERE / "echo.c", Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "echo.wasm")
