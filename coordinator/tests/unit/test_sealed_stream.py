"""A sealed file opens whole, under its own passphrase, or not at all."""

from functools import partial
from io import BytesIO

import pytest
from archipelag_coordinator.adapters.sealed_stream import (
    MARK,
    PIECE_BYTES,
    SALT_BYTES,
    NotOpened,
    Sealing,
    derived,
    is_sealed,
    opened,
    sealed_bytes,
)

PASSPHRASE = b"correct horse battery"
SALT = b"salt of the test"
HEAD = len(MARK) + SALT_BYTES


def sealed(data: bytes) -> bytes:
    into = BytesIO()
    sealing = Sealing(into, derived(PASSPHRASE, SALT), SALT)
    for at in range(0, len(data), 700_000):
        sealing.write(data[at : at + 700_000])
    sealing.end()
    return into.getvalue()


def read(data: bytes, passphrase: bytes = PASSPHRASE) -> bytes:
    return b"".join(opened(BytesIO(data), partial(derived, passphrase)))


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES])
def test_what_was_sealed_comes_back(size):
    data = bytes(n % 251 for n in range(size))
    assert len(SALT) == SALT_BYTES
    file = sealed(data)

    assert is_sealed(file)
    assert len(file) == sealed_bytes(size)
    assert size < 10 or data[:10] not in file
    assert read(file) == data


def test_another_passphrase_opens_nothing():
    with pytest.raises(NotOpened, match="another passphrase"):
        read(sealed(b"books"), b"another passphrase")


def damages():
    file = sealed(bytes(2 * PIECE_BYTES + 5))
    first = HEAD + 4 + PIECE_BYTES + 16
    second = first + 4 + PIECE_BYTES + 16
    flipped = bytearray(file)
    flipped[-1] ^= 1
    salted = bytearray(file)
    salted[len(MARK)] ^= 1
    yield "one bit", bytes(flipped)
    yield "another salt", bytes(salted)
    yield "cut off between pieces", file[:second]
    yield "cut off within one", file[: second - 3]
    yield "a piece left out", file[:first] + file[second:]
    yield "pieces in another order", file[:HEAD] + file[first:second] + file[HEAD:first]
    yield "more behind it", file + file[HEAD:first]
    yield "no pieces", file[:HEAD]
    yield "half a head", file[: HEAD - 1]
    yield "a length that asks for all memory", file[:HEAD] + b"\xff\xff\xff\xff" + file[HEAD:]


@pytest.mark.parametrize("file", [pytest.param(file, id=what) for what, file in damages()])
def test_a_file_that_was_changed_does_not_open(file):
    with pytest.raises(NotOpened):
        read(file)
