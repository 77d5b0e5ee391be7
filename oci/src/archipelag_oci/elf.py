"""What a shared object needs, read from its own headers: no tool that runs a stranger's loader."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

MAGIC: Final = b"\x7fELF"
HEADERS_MAX: Final = 512
STRINGS_BYTES_MAX: Final = 64 << 20
"""A library with every symbol of an inference engine has names of more than a megabyte, those it needs the last."""
_DYNAMIC_BYTES_MAX: Final = 1 << 20

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS, _RPATH, _STRINGS_SIZE, _RUNPATH = 1, 5, 15, 10, 29


@dataclass(frozen=True)
class Needs:
    machine: int
    libraries: tuple[str, ...]
    search: tuple[str, ...]
    """Folders of its own, with `$ORIGIN` for where it lies."""
    loader: str


def needs(path: Path) -> Needs | None:
    """None for what is no 64-bit little-endian ELF file."""
    with path.open("rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:6] != MAGIC + b"\x02\x01":
            return None
        try:
            return _read(file, head)
        except (struct.error, ValueError):
            return None


def _read(file: BinaryIO, head: bytes) -> Needs:
    machine = struct.unpack_from("<H", head, 18)[0]
    offset = struct.unpack_from("<Q", head, 32)[0]
    size, count = struct.unpack_from("<HH", head, 54)
    if size != 56 or count > HEADERS_MAX:
        raise ValueError("no program headers that are read here")
    segments = [
        struct.unpack("<IIQQQQQQ", _at(file, offset + size * number, size))
        for number in range(count)
    ]
    loader = ""
    dynamic: list[tuple[int, int]] = []
    for kind, _flags, begin, _address, _physical, length, *_ in segments:
        if kind == _INTERPRETER:
            loader = _at(file, begin, min(length, 4096)).split(b"\0")[0].decode()
        elif kind == _DYNAMIC:
            data = _at(file, begin, min(length, _DYNAMIC_BYTES_MAX))
            dynamic = list(struct.iter_unpack("<QQ", data[: len(data) // 16 * 16]))
    first = dict(reversed(dynamic))
    strings = b""
    if _STRINGS in first:
        begin = _offset(segments, first[_STRINGS])
        strings = _at(file, begin, min(first.get(_STRINGS_SIZE, 0), STRINGS_BYTES_MAX))
    libraries = tuple(_string(strings, value) for tag, value in dynamic if tag == _NEEDED)
    where = first.get(_RUNPATH, first.get(_RPATH))
    search = tuple(_string(strings, where).split(":")) if where is not None else ()
    return Needs(machine, libraries, search, loader)


def _at(file: BinaryIO, begin: int, length: int) -> bytes:
    file.seek(begin)
    data = file.read(length)
    if len(data) != length:
        raise ValueError("shorter than its headers say")
    return data


def _offset(segments: list[tuple[int, ...]], address: int) -> int:
    for kind, _flags, begin, virtual, _physical, length, *_ in segments:
        if kind == _LOAD and virtual <= address < virtual + length:
            return begin + address - virtual
    raise ValueError("an address in no segment")


def _string(strings: bytes, at: int) -> str:
    return strings[at : strings.index(b"\0", at)].decode()
