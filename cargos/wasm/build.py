"""Builds the WASM Cargos from source: `python cargos/wasm/build.py [NAME …]`; `--to FOLDER` writes elsewhere.

The compiler is zig's, from a wheel that requirements/dev.txt pins, so that the same source gives the same bytes
everywhere; a test builds again and compares with what is committed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
CARGOS: Final[dict[str, tuple[str, ...]]] = {
    "hash": ("hash/digests.c",),
    "csv": ("csv/table.c",),
    "diff": ("diff/myers.c",),
    "json-query": ("json-query/path.c", "json-query/evaluate.c", "common/regex.c"),
    "markdown": ("vendor/md4c/md4c.c", "vendor/md4c/md4c-html.c", "vendor/md4c/entity.c"),
    "qr": (
        "qr/png.c",
        "vendor/qrcodegen/qrcodegen.c",
    ),
    "regex": ("common/regex.c",),
    "image-resize": ("image-resize/stb.c",),
}
"""Name → sources beside its own and those that all share."""
ESCAPE: Final = "../../tests/escape/wasm/escape.c"
"""No Cargo for anybody, but built alike: what the escape suite runs."""
COMMON: Final = ("common/cargo.c", "common/json.c", "common/text.c")
# Memory stays well under the tier's 256 MiB, so that a module sees malloc fail and says so; zig puts the stack first
# in memory, where an overflow traps instead of overwriting what else there is.
FLAGS: Final = (
    *("-target", "wasm32-wasi", "-std=c11", "-O2", "-DNDEBUG", "-g0", "-s"),
    *("-Wall", "-Wextra", "-Werror", "-fno-sanitize=all"),
    *("-Wl,--max-memory=201326592", "-Wl,-z,stack-size=1048576"),
)


def build(name: str, to: Path) -> Path:
    """Compiles one Cargo. Raises CalledProcessError with the compiler's words shown."""
    own = ESCAPE if name == "escape" else f"{name}/{name.replace('-', '_')}.c"
    sources = [own, *CARGOS.get(name, ()), *COMMON]
    module = to / f"{name}.wasm"
    compiler = [sys.executable, "-m", "ziglang", "cc", *FLAGS]
    if name == "escape":  # the limit that it is to meet is the runtime's
        compiler.append("-Wl,--max-memory=4294901760")
    # Relative names, from here: no path of this machine may reach the bytes.
    subprocess.run([*compiler, *sources, "-o", str(module)], cwd=HERE, check=True)
    module.chmod(0o644)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*CARGOS, "escape"], help="which; all without")
    parser.add_argument("--to", type=Path, help="a folder; without: each Cargo's own")
    arguments = parser.parse_args()
    for name in arguments.names:
        folder = (HERE / ESCAPE).parent if name == "escape" else HERE / name
        module = build(name, (arguments.to or folder).resolve())
        sys.stdout.write(f"{module.name}  {module.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
