"""The bytes of customers' files beside a backup of the database, and their way back into the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from archipelag_coordinator.adapters.files_folder import FilesFolder, FolderRefused, Listed
from archipelag_coordinator.domain.file import PIECE_BYTES, Blob, BlobId
from archipelag_coordinator.services.ports_of_files import Blobs


@dataclass(frozen=True)
class Bytes:
    """Where the network keeps them, and where backups do."""

    store: Blobs
    folder: FilesFolder


@dataclass(frozen=True)
class Kept:
    """What became of the bytes. Those that were copied were in no backup before."""

    files: int
    files_bytes: int
    files_copied: int
    files_lost: tuple[str, ...]
    """Blobs whose bytes are not, or not as they were, in the store."""


async def keep(files: Bytes, stored: Sequence[Blob]) -> tuple[Kept, list[Listed]]:
    """Copies what the folder does not have yet. Raises OSError, and ConnectionError where the store is away."""
    listed: list[Listed] = []
    lost: list[str] = []
    copied = 0
    for blob in stored:
        one = Listed(blob.id, blob.sha256, blob.size_bytes)
        if not files.folder.has(one):
            if not await _copied(files, blob, one):
                lost.append(blob.id)
                continue
            copied += 1
        listed.append(one)
    size = sum(one.size_bytes for one in listed)
    return Kept(len(listed), size, copied, tuple(lost)), listed


async def _copied(files: Bytes, blob: Blob, one: Listed) -> bool:
    try:
        with files.folder.keeping(one) as into:
            for number in range(blob.pieces):
                data = await files.store.get(blob.id, number)
                if data is None or not blob.holds(number, data):
                    raise FolderRefused(f"{blob.id} is lost")
                into.write(data)
    except FolderRefused:
        return False
    return True


async def bring_back(files: Bytes, listed: Sequence[Listed]) -> int:
    """Puts into the store what is not there as it should be; how many blobs. Raises ConnectionError and
    FolderRefused."""
    put = 0
    for one in listed:
        put += await _brought(files, one)
    return put


async def _brought(files: Bytes, one: Listed) -> bool:
    changed = False
    for number, data in enumerate(_in_pieces(files.folder.read(one))):
        if await files.store.get(one.blob, number) != data:
            await files.store.put(one.blob, number, data)
            changed = True
    return changed


def missing_bytes(stored: Sequence[Blob], listed: Sequence[Listed]) -> tuple[BlobId, ...]:
    """Blobs of the database whose bytes did not come with it."""
    sums = {one.blob: one.sha256 for one in listed}
    return tuple(blob.id for blob in stored if sums.get(blob.id) != blob.sha256)


def _in_pieces(read: Iterator[bytes]) -> Iterator[bytes]:
    pending = bytearray()
    for data in read:
        pending += data
        while len(pending) >= PIECE_BYTES:
            yield bytes(pending[:PIECE_BYTES])
            del pending[:PIECE_BYTES]
    if pending:
        yield bytes(pending)
