"""A reader of tar archives for hostile ones: ustar, PAX and GNU's long names, each header bounded, nothing guessed.

The standard library's reads a header of any size into memory, knows sparse files and follows what it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from archipelag_oci.errors import UnsafeLayer
from archipelag_oci.packed import Packed

BLOCK: Final = 512
PAX_BYTES_MAX: Final = 64 * 1024
LONG_NAME_BYTES_MAX: Final = 8 * 1024
HEADERS_MAX: Final = 8
"""Extended headers in a row before one entry."""

FILE: Final = "file"
FOLDER: Final = "folder"
SYMLINK: Final = "symbolic link"
HARD_LINK: Final = "hard link"

_KINDS: Final = {
    b"0": FILE,
    b"\0": FILE,
    b"7": FILE,
    b"1": HARD_LINK,
    b"2": SYMLINK,
    b"5": FOLDER,
}
_REFUSED: Final = {
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"S": "a sparse file",
    b"D": "a GNU folder dump",
    b"M": "a part of another volume",
    b"V": "a volume's label",
}
_PRIVILEGE: Final = ("security.", "trusted.", "system.posix_acl")


@dataclass(frozen=True)
class Entry:
    name: str
    kind: str
    mode: int
    size: int
    mtime_s: int
    target: str


def entries(stream: Packed) -> Iterator[Entry]:
    """Each entry; read exactly `size` bytes and `skip_padding` after a file. Raises UnsafeLayer."""
    extended: dict[str, str] = {}
    in_a_row = 0
    while (header := _header(stream)) is not None:
        kind = header[156:157]
        size = _number(header[124:136], "a size")
        if kind in (b"x", b"g", b"L", b"K"):
            in_a_row += 1
            if in_a_row > HEADERS_MAX:
                raise UnsafeLayer("extended headers without an entry")
            extended |= _extension(stream, kind, size)
            continue
        yield _entry(header, kind, size, extended)
        extended, in_a_row = {}, 0
    if extended:
        raise UnsafeLayer("the layer ends after an extended header")
    stream.drain()


def skip_padding(stream: Packed, size: int) -> None:
    stream.exactly(-size % BLOCK)


def _header(stream: Packed) -> bytes | None:
    """The next header; None at the end, which is a block of zeros or of nothing."""
    header = stream.read(BLOCK)
    if not header or header == bytes(BLOCK):
        return None
    if len(header) != BLOCK:
        raise UnsafeLayer("the layer ends in the middle of a header")
    stored = _number(header[148:156], "a checksum")
    if stored != sum(header[:148]) + 8 * 32 + sum(header[156:]):
        raise UnsafeLayer("a header's checksum does not hold: not a tar archive, or a broken one")
    return header


def _entry(header: bytes, kind: bytes, size: int, extended: Mapping[str, str]) -> Entry:
    if kind in _REFUSED:
        raise UnsafeLayer(f"holds {_REFUSED[kind]}, which no image needs")
    if kind not in _KINDS:
        raise UnsafeLayer(f"holds an entry of unknown kind {kind!r}")
    name = extended.get("path") or _name(header)
    target = extended.get("linkpath") or _text(header[157:257])
    if "size" in extended:
        size = _decimal(extended["size"])
    found = _KINDS[kind]
    # Old archives mark a folder by its name alone.
    if found == FILE and kind != b"7" and name.endswith("/") and size == 0:
        found = FOLDER
    if found != FILE and size:
        raise UnsafeLayer(f"a {found} with {size} bytes of its own")
    return Entry(
        name,
        found,
        _number(header[100:108], "a mode"),
        size,
        _number(header[136:148], "a time"),
        target,
    )


def _extension(stream: Packed, kind: bytes, size: int) -> dict[str, str]:
    most = PAX_BYTES_MAX if kind in b"xg" else LONG_NAME_BYTES_MAX
    if size > most:
        raise UnsafeLayer(f"an extended header of {size} bytes; {most} at most")
    data = stream.exactly(size)
    skip_padding(stream, size)
    match kind:
        case b"L":
            return {"path": _text(data)}
        case b"K":
            return {"linkpath": _text(data)}
        case b"x":
            return _pax(data)
    if any(key in ("path", "linkpath", "size") for key in _pax(data)):
        raise UnsafeLayer("a global header that names every file")
    return {}


def _pax(data: bytes) -> dict[str, str]:
    """`LENGTH KEY=VALUE\\n`, one after another. Keys that would give privileges or holes are refused."""
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        length = _decimal(_utf8(data[at:space])) if space > at else 0
        record = data[space + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if not equals or not record.endswith(b"\n") or at + length > len(data):
            raise UnsafeLayer("a PAX header that is none")
        name = _utf8(key)
        if name in found:
            raise UnsafeLayer(f"a PAX header that says {name[:40]!r} twice")
        _refuse_key(name)
        if name in ("path", "linkpath", "size"):
            found[name] = _utf8(value[:-1])
        at += length
    return found


def _refuse_key(name: str) -> None:
    if name.startswith("GNU.sparse"):
        raise UnsafeLayer("holds a sparse file, which no image needs")
    for prefix in ("SCHILY.xattr.", "LIBARCHIVE.xattr."):
        if name.startswith(prefix) and name.removeprefix(prefix).startswith(_PRIVILEGE):
            raise UnsafeLayer(
                f"holds the attribute {name.removeprefix(prefix)[:60]!r}, a privilege"
            )
    if name.startswith("SCHILY.acl"):
        raise UnsafeLayer("holds an access list, which no image needs")


def _name(header: bytes) -> str:
    name, prefix = _text(header[:100]), ""
    if header[257:263] == b"ustar\0":
        prefix = _text(header[345:500])
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return _utf8(field.partition(b"\0")[0])


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UnsafeLayer("a name that is not UTF-8") from None


def _number(field: bytes, what: str) -> int:
    """Octal, or GNU's base 256 where that is too small; never negative."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
        if field[0] & 0x40 or value >= 1 << 62:
            raise UnsafeLayer(f"{what} that no file has")
        return value
    digits = field.strip(b" \0")
    if any(digit not in b"01234567" for digit in digits):
        raise UnsafeLayer(f"{what} that is no number")
    return int(digits or b"0", 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise UnsafeLayer("a PAX number that is none")
    return int(text)
