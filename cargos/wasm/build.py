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
    sources = [f"{name}/{name.replace('-', '_')}.c", *CARGOS[name], *COMMON]
    module = to / f"{name}.wasm"
    compiler = [sys.executable, "-m", "ziglang", "cc", *FLAGS]
    # Relative names, from here: no path of this machine may reach the bytes.
    subprocess.run([*compiler, *sources, "-o", str(module)], cwd=HERE, check=True)
    module.chmod(0o644)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(CARGOS), help="which; all without")
    parser.add_argument("--to", type=Path, help="a folder; without: each Cargo's own")
    arguments = parser.parse_args()
    for name in arguments.names:
        module = build(name, (arguments.to or HERE / name).resolve())
        sys.stdout.write(f"{module.name}  {module.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
