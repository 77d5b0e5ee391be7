"""What a shared object says of itself, read from headers made by hand."""

from __future__ import annotations

import struct
from pathlib import Path

from archipelag_oci import elf

X86_64 = 62
LOAD, DYNAMIC = 1, 2
NEEDED, STRINGS, STRINGS_SIZE = 1, 5, 10


def an_object(path: Path, names_before: int) -> Path:
    """One that needs libx.so.1, whose name comes after so many bytes of other names."""
    strings = b"\0" + b"s" * names_before + b"\0libx.so.1\0"
    at = 64 + 2 * 56
    dynamic = ((NEEDED, names_before + 2), (STRINGS, at + 48), (STRINGS_SIZE, len(strings)))
    whole = at + 48 + len(strings)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 3, X86_64, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0
    )
    segments = [
        struct.pack("<IIQQQQQQ", LOAD, 4, 0, 0, 0, whole, whole, 4096),
        struct.pack("<IIQQQQQQ", DYNAMIC, 4, at, at, at, 48, 48, 8),
    ]
    entries = b"".join(struct.pack("<QQ", *entry) for entry in dynamic)
    path.write_bytes(head + b"".join(segments) + entries + strings)
    return path


def test_what_is_needed_is_found_behind_megabytes_of_symbols(tmp_path: Path) -> None:
    for names_before in (0, 3 << 20):
        found = elf.needs(an_object(tmp_path / "x.so", names_before))

        assert found == elf.Needs(X86_64, ("libx.so.1",), (), "")


def test_what_is_cut_short_is_no_object(tmp_path: Path) -> None:
    path = an_object(tmp_path / "x.so", 100)
    path.write_bytes(path.read_bytes()[:-60])

    assert elf.needs(path) is None
