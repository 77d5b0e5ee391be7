"""A packed layer read a little at a time: never more in memory than was asked for, and counted against bombs."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol, cast

import zstandard

from archipelag_oci.errors import TooLarge, UnsafeLayer

READ_BYTES: Final = 128 * 1024
ZSTD_WINDOW_BYTES_MAX: Final = 64 << 20
"""What an unpacked frame may make us hold; zstd's own default for archives is 8 MiB."""


@dataclass(frozen=True)
class Bounds:
    """Of the unpacked bytes of one layer."""

    bytes_max: int
    ratio_max: int = 200
    """Unpacked to packed, once more than `ratio_from_bytes` are unpacked: an honest layer packs 2 to 20 times."""
    ratio_from_bytes: int = 64 << 20


class _Unpacker(Protocol):
    def read(self, size: int) -> bytes: ...


class Packed:
    """Reads as a file does, and knows the SHA-256 of what was read: the layer's diff_id."""

    def __init__(self, file: BinaryIO, compression: str, bounds: Bounds) -> None:
        self._source = _Counted(file)
        self._bounds = bounds
        self._unpacker = _unpacker(self._source, compression)
        self._hash = hashlib.sha256()
        self._read = 0

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()

    def read(self, size: int) -> bytes:
        """At most `size` bytes; fewer only at the end. Raises TooLarge, UnsafeLayer."""
        parts: list[bytes] = []
        while size:
            part = self._some(min(size, READ_BYTES))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) != size:
            raise UnsafeLayer("the layer ends in the middle of a file")
        return data

    def drain(self) -> None:
        """To the end: what follows the last file belongs to the digest."""
        while self._some(READ_BYTES):
            pass

    def _some(self, size: int) -> bytes:
        try:
            part = self._unpacker.read(size)
        except (zlib.error, zstandard.ZstdError, EOFError) as error:
            raise UnsafeLayer(f"the layer cannot be unpacked: {error}") from None
        self._read += len(part)
        if self._read > self._bounds.bytes_max:
            raise TooLarge(f"the layer unpacks to more than {self._bounds.bytes_max} bytes")
        if (
            self._read > self._bounds.ratio_from_bytes
            and self._read > self._source.count * self._bounds.ratio_max
        ):
            raise TooLarge(
                f"the layer unpacks to more than {self._bounds.ratio_max} times its size: a bomb"
            )
        self._hash.update(part)
        return part


class _Counted:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self.count += len(part)
        return part


class _Gzip:
    """Members one after another, as gzip allows; what follows the last is refused."""

    def __init__(self, source: _Counted) -> None:
        self._source = source
        self._member = zlib.decompressobj(wbits=31)
        self._held = b""
        self._began = False

    def read(self, size: int) -> bytes:
        while True:
            if self._member.eof:
                self._held = self._member.unused_data
                if not self._held:
                    self._held = self._source.read(READ_BYTES)
                if not self._held:
                    return b""
                self._member = zlib.decompressobj(wbits=31)
            if not self._held:
                self._held = self._source.read(READ_BYTES)
            ended = not self._held
            part = self._member.decompress(self._held, size)
            self._held = self._member.unconsumed_tail
            if part:
                return part
            if ended and not self._member.eof:
                raise EOFError("it ends too early")


class _Plain:
    def __init__(self, source: _Counted) -> None:
        self._source = source

    def read(self, size: int) -> bytes:
        return self._source.read(size)


def _unpacker(source: _Counted, compression: str) -> _Unpacker:
    match compression:
        case "tar":
            return _Plain(source)
        case "gzip":
            return _Gzip(source)
        case "zstd":
            found = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
            return found.stream_reader(
                cast("BinaryIO", source), read_across_frames=True, closefd=False
            )
        case other:
            raise UnsafeLayer(f"a layer packed with {other!r} is not read")
