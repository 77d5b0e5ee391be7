"""Compiles WASM modules with what the author's machine has: Zig's C compiler from a wheel, or rustc."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from archipelag_kit.commands.errors import CommandError, ToolMissing, WrongUsage

SECONDS: Final = 600
_RUST_TARGETS: Final = ("wasm32-wasip1", "wasm32-wasi")
_LINKERS: Final = ("rust-lld", "wasm-ld")
_SAID_MAX: Final = 4000


def compile_c(source: Path, target: Path) -> None:
    """All `*.c` of a folder. Raises ToolMissing, WrongUsage, CommandError with what the compiler said."""
    if find_spec("ziglang") is None:
        raise ToolMissing("a C compiler for WASM is missing: `pip install ziglang`")
    files = _sources(source, "*.c")
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi"]
    _run([*zig, "-std=c17", "-Oz", "-s", "-I", ".", "-o", str(target.resolve()), *files], source)


def compile_rust(source: Path, target: Path) -> None:
    """`main.rs` of a folder."""
    _sources(source, "main.rs")
    rustc, wasi = _rustc()
    linker = next((name for name in _LINKERS if shutil.which(name)), None)
    command = [rustc, "--edition", "2021", "--target", wasi, "-C", "opt-level=z"]
    command += ["-C", "strip=symbols", "-C", "panic=abort", "-C", "codegen-units=1"]
    command += ["--remap-path-prefix", f"{source.resolve()}=src"]
    command += ["-C", f"linker={linker}"] if linker else []
    _run([*command, "-o", str(target.resolve()), "main.rs"], source)


def has_rust() -> bool:
    try:
        _rustc()
    except ToolMissing:
        return False
    return True


def _rustc() -> tuple[str, str]:
    """A compiler with a standard library for WASI, and the name that it has for it."""
    candidates = [found for name in ("rustc", "/usr/bin/rustc") if (found := shutil.which(name))]
    for rustc in dict.fromkeys(candidates):
        for target in _RUST_TARGETS:
            asked = [rustc, "--print", "target-libdir", "--target", target]
            done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
            folder = Path(done.stdout.strip())
            if done.returncode == 0 and done.stdout.strip() and folder.is_dir():
                return rustc, target
    raise ToolMissing(
        "rustc with the standard library for WASI is missing: `rustup target add wasm32-wasip1`, "
        "or on Debian `apt install rustc libstd-rust-dev-wasm32 lld`"
    )


def _sources(folder: Path, pattern: str) -> list[str]:
    found = sorted(path.name for path in folder.glob(pattern))
    if not found:
        raise WrongUsage(f"{folder} has no {pattern}")
    return found


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"the compiler was not done after {SECONDS} s") from None
    if done.returncode != 0:
        raise CommandError(f"the compiler failed:\n{done.stderr[-_SAID_MAX:].strip()}")
