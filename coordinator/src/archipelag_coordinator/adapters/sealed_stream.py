"""A file of bytes that nobody reads or changes without the passphrase; read back piece by piece, each checked first.

The file is a mark, a salt for scrypt, and pieces: four bytes of length, then AES-256-GCM under a nonce that counts
them and tells the last one, so that pieces cannot be moved, repeated or cut off.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

MARK: Final = b"archipelag sealed 1\n"
SALT_BYTES: Final = 16
KEY_BYTES: Final = 32
LENGTH_BYTES: Final = 4
PIECE_BYTES: Final = 1 << 20
TAG_BYTES: Final = 16
SCRYPT: Final = {"n": 1 << 16, "r": 8, "p": 1}
"""64 MiB and about a quarter of a second for each guess."""


class NotOpened(ValueError):
    """The sealed file does not open: the passphrase is another, or the file was changed or cut off."""


def derived(passphrase: bytes, salt: bytes) -> bytes:
    """A key that is costly to guess."""
    return Scrypt(salt=salt, length=KEY_BYTES, **SCRYPT).derive(passphrase)


class Sealing:
    """Writes what it is given to `into`; `end` completes the file, which without it opens to nobody."""

    def __init__(self, into: BinaryIO, key: bytes, salt: bytes) -> None:
        """`key` is of this one file: pieces of two under one key could be exchanged, and tell of each other."""
        assert len(salt) == SALT_BYTES
        self._into = into
        self._head = MARK + salt
        self._cipher = AESGCM(key)
        self._pending = bytearray()
        self._count = 0
        into.write(self._head)

    def write(self, data: bytes) -> None:
        self._pending += data
        while len(self._pending) > PIECE_BYTES:
            self._piece(bytes(self._pending[:PIECE_BYTES]), last=False)
            del self._pending[:PIECE_BYTES]

    def end(self) -> None:
        self._piece(bytes(self._pending), last=True)

    def _piece(self, data: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._count, last=last), data, self._head)
        self._into.write(struct.pack(">I", len(sealed)) + sealed)
        self._count += 1


def is_sealed(start: bytes) -> bool:
    """Whether a file that begins like this is one of these."""
    return start.startswith(MARK)


def sealed_bytes(size_bytes: int) -> int:
    """How large a file of so many bytes is when it is sealed."""
    pieces = max(1, -(-size_bytes // PIECE_BYTES))
    return len(MARK) + SALT_BYTES + size_bytes + pieces * (LENGTH_BYTES + TAG_BYTES)


def opened(source: BinaryIO, key_of: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The bytes, in pieces that were checked; `key_of` gives the key by the file's salt. Raises NotOpened: whatever
    came before is not the whole."""
    head = source.read(len(MARK) + SALT_BYTES)
    if not is_sealed(head) or len(head) != len(MARK) + SALT_BYTES:
        raise NotOpened("this is no sealed file")
    cipher = AESGCM(key_of(head[len(MARK) :]))
    count, last = 0, False
    while not last:
        sealed = _next(source)
        after = source.read(1)
        last = not after
        if after:
            source.seek(-1, 1)
        try:
            yield cipher.decrypt(_nonce(count, last=last), sealed, head)
        except InvalidTag:
            raise NotOpened(
                "another passphrase, or a file that was changed or cut off since it was written"
            ) from None
        count += 1


def _next(source: BinaryIO) -> bytes:
    length = source.read(LENGTH_BYTES)
    size = struct.unpack(">I", length)[0] if len(length) == LENGTH_BYTES else -1
    if not TAG_BYTES <= size <= PIECE_BYTES + TAG_BYTES:
        raise NotOpened("the file was changed or cut off since it was written")
    return source.read(size)


def _nonce(count: int, *, last: bool) -> bytes:
    return struct.pack(">QI", count, last)
