"""What the hostile Cargo does wrong with output files."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final

from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb

DATA: Final = b"x" * (64 << 10)
HASH: Final = hashlib.sha256(DATA).digest()
END: Final = pb.RunEvent(end=pb.RunEnd(finish_reason="stop")).SerializeToString()


def part(**fields: Any) -> bytes:
    whole = {"name": "out.bin", "media_type": "text/plain", "data": DATA} | fields
    return pb.RunEvent(file=pb.FilePart(**whole)).SerializeToString()


async def file_up_the_tree() -> AsyncIterator[bytes]:
    yield part(name="../../../etc/cron.d/mine", last=True, sha256=HASH)
    yield END


async def file_absolute() -> AsyncIterator[bytes]:
    yield part(name="/etc/passwd", last=True, sha256=HASH)
    yield END


async def file_without_name() -> AsyncIterator[bytes]:
    yield part(name="", last=True, sha256=HASH)
    yield END


async def file_without_end() -> AsyncIterator[bytes]:
    yield part()
    yield END


async def file_after_its_end() -> AsyncIterator[bytes]:
    yield part(last=True, sha256=HASH)
    yield part(last=True, sha256=HASH)
    yield END


async def file_out_of_order() -> AsyncIterator[bytes]:
    """Parts have no number: in another order they are another file, which the hash tells."""
    yield part(data=b"second")
    yield part(data=b"first", last=True, sha256=hashlib.sha256(b"firstsecond").digest())
    yield END


async def file_part_too_large() -> AsyncIterator[bytes]:
    yield part(data=b"x" * (300 << 10))
    yield END


async def files_without_number() -> AsyncIterator[bytes]:
    for number in range(1000):
        yield part(name=f"{number}.bin", data=b"x")
    yield END


async def file_endless() -> AsyncIterator[bytes]:
    """Ten gigabytes, if nobody stops it."""
    data = b"x" * (256 << 10)
    for _ in range(10 << 12):
        yield part(data=data)
    yield END


MODES: Final = (
    file_up_the_tree,
    file_absolute,
    file_without_name,
    file_without_end,
    file_after_its_end,
    file_out_of_order,
    file_part_too_large,
    files_without_number,
    file_endless,
)
