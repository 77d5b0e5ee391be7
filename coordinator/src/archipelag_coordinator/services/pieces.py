"""Reads bytes out of the store, and believes none of them unseen. Common ground of the verbs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from archipelag_coordinator.domain.file import PIECE_BYTES, Blob, BlobId
from archipelag_coordinator.errors import ContentLost
from archipelag_coordinator.services.world import World


async def blob_of(world: World, blob_id: BlobId, name: str) -> Blob:
    """Raises ContentLost."""
    async with world.store.begin() as tx:
        blob = await tx.files.blob(blob_id)
    if blob is None:
        raise ContentLost(name)
    return blob


async def read_piece(world: World, blob: Blob, number: int, name: str) -> bytes:
    """Never a wrong byte: what is not what was written is as lost as what is not there. Raises ContentLost."""
    data = await world.blobs.get(blob.id, number)
    if data is None or not blob.holds(number, data):
        raise ContentLost(name)
    return data


async def read_range(
    world: World, blob: Blob, offset: int, length: int, name: str
) -> AsyncIterator[bytes]:
    """The bytes from `offset` on, piece by piece. Raises ContentLost, be it in the middle."""
    assert offset >= 0 and offset + length <= blob.size_bytes
    end = offset + length
    while offset < end:
        number, skip = divmod(offset, PIECE_BYTES)
        piece = await read_piece(world, blob, number, name)
        part = piece[skip : skip + end - offset]
        yield part
        offset += len(part)
