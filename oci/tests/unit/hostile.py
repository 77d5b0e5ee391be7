"""Layers as an attacker writes them: raw blocks, so that no library tidies them up."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from archipelag_oci.pull import Layer


def header(
    name: str | bytes,
    *,
    kind: bytes = b"0",
    size: int = 0,
    mode: int = 0o644,
    target: str | bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    size_field: bytes | None = None,
) -> bytes:
    raw = name if isinstance(name, bytes) else name.encode()
    link = target if isinstance(target, bytes) else target.encode()
    block = bytearray(512)
    block[0 : len(raw)] = raw
    block[100:108] = b"%07o\0" % mode
    block[108:116] = block[116:124] = b"0000000\0"
    block[124:136] = size_field or b"%011o\0" % size
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = magic
    block[345 : 345 + len(prefix)] = prefix
    assert len(block) == 512
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def entry(name: str | bytes, data: bytes = b"", **more: object) -> bytes:
    return header(name, size=len(data), **more) + padded(data)  # type: ignore[arg-type]


def folder(name: str, mode: int = 0o755) -> bytes:
    return entry(name, kind=b"5", mode=mode)


def symlink(name: str, target: str) -> bytes:
    return entry(name, kind=b"2", target=target)


def hard_link(name: str, target: str) -> bytes:
    return entry(name, kind=b"1", target=target)


def pax(*records: tuple[str, str], kind: bytes = b"x") -> bytes:
    return entry("pax", b"".join(record(key, value) for key, value in records), kind=kind)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def long_name(name: str, kind: bytes = b"L") -> bytes:
    return entry("././@LongLink", name.encode() + b"\0", kind=kind, magic=b"ustar  \0")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def layer(folder_: Path, *parts: bytes, compression: str = "tar", name: str = "layer") -> Layer:
    """With a diff_id that holds, so that only the content is wrong."""
    return packed(folder_, b"".join(parts) + bytes(1024), compression=compression, name=name)


def packed(folder_: Path, tar: bytes, *, compression: str = "tar", name: str = "layer") -> Layer:
    path = folder_ / name
    match compression:
        case "gzip":
            path.write_bytes(gzip.compress(tar, mtime=0))
        case "zstd":
            import zstandard

            path.write_bytes(zstandard.ZstdCompressor().compress(tar))
        case _:
            path.write_bytes(tar)
    return Layer(path, compression, "sha256:" + hashlib.sha256(tar).hexdigest())
