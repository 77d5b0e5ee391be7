"""The smallest program: it ends with 0 and needs no file beside it, so that a container can be tried anywhere."""

from __future__ import annotations

import os
import platform
import struct
from pathlib import Path
from typing import Final

BASE: Final = 0x400000
HEADERS: Final = 64 + 56
# exit(0) in machine code: the number of the call, the status, the call.
CODE: Final = {
    "x86_64": (62, bytes.fromhex("b83c000000 31ff 0f05")),
    "aarch64": (183, bytes.fromhex("a80b80d2 000080d2 010000d4")),
}


def make_root(folder: Path) -> str:
    """Fills a new root; returns the program's path in it. Raises OSError for a machine whose code we don't know."""
    made = program(platform.machine())
    folder.chmod(0o755)
    path = folder / "true"
    path.write_bytes(made)
    path.chmod(0o755)
    return "/true"


def program(machine: str) -> bytes:
    if machine not in CODE:
        raise OSError(os.EX_UNAVAILABLE, f"no program is known for {machine}")
    kind, code = CODE[machine]
    size = HEADERS + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(2, kind, 1, BASE + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    # One segment, readable and executable, from the file's beginning.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000)
    return header + segment + code
