"""Takes a customer's file piece by piece: whole and written down at the end, or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterable
from datetime import timedelta
from hashlib import sha256

from archipelag_contracts.ids import Epoch, FileId, JobId, UserId

from archipelag_coordinator.domain.file import PIECE_BYTES, Blob, BlobState, File, clean_name
from archipelag_coordinator.domain.media import HEAD_BYTES, media_type_of
from archipelag_coordinator.errors import IdempotencyMismatch, InvalidInput, TooLarge
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World


class Upload:
    """Guards bytes on their way into the store. Ends with `finish` or `give_up`; what is left of one whose process died
    is swept.

    The whole body is always taken and kept, so that nobody learns whether somebody else has the same file.
    """

    def __init__(self, world: World, blob: Blob) -> None:
        self._world = world
        self._blob = blob
        self._hash = sha256()
        self._rest = bytearray()
        self._head = b""

    @property
    def size_bytes(self) -> int:
        return self._blob.size_bytes + len(self._rest)

    @property
    def sha256(self) -> str:
        """Of what has come so far."""
        return self._hash.hexdigest()

    async def write(self, data: bytes) -> None:
        """Raises TooLarge, and ConnectionError when the store cannot take it."""
        limit = self._world.policy.file_bytes_max
        if self.size_bytes + len(data) > limit:
            raise TooLarge("the file", limit)
        self._hash.update(data)
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]
        self._rest += data
        while len(self._rest) >= PIECE_BYTES:
            await self._put(bytes(self._rest[:PIECE_BYTES]))
            del self._rest[:PIECE_BYTES]

    async def finish(
        self,
        *,
        name: str,
        purpose: str,
        kept_s: float,
        claimed: str = "",
        job_id: JobId | None = None,
        epoch: Epoch = Epoch(0),
        file_id: FileId | None = None,
    ) -> File:
        """It is whole. `claimed`: what its sender says that it is. `file_id`: the same upload, sent again, is the same
        file. Raises InvalidInput, StorageExceeded, IdempotencyMismatch."""
        if self._rest:
            await self._put(bytes(self._rest))
            self._rest.clear()
        if not self._blob.size_bytes:
            raise InvalidInput({"file": ["is empty"]})
        now = self._world.clock.now()
        async with self._world.store.begin() as tx:
            blob = await tx.files.settle(self._blob.stored(self._hash.hexdigest()))
            before = await self._before(tx, file_id, name, purpose)
            if before is not None:
                return before
            file = File(
                id=file_id or self._world.ids.file(),
                owner_id=self._blob.owner_id,
                blob_id=blob.id,
                name=clean_name(name),
                purpose=purpose,
                media_type=media_type_of(self._head, claimed),
                size_bytes=blob.size_bytes,
                sha256=blob.sha256,
                created_at=now,
                expires_at=now + timedelta(seconds=kept_s),
                job_id=job_id,
                epoch=epoch,
            )
            await tx.files.add(file, bytes_max=self._world.policy.files_bytes_max)
        return file

    async def _before(self, tx: Tx, file_id: FileId | None, name: str, purpose: str) -> File | None:
        """What the same request has made. Two at once have settled one after the other, as their bytes are equal."""
        if file_id is None:
            return None
        found = await tx.files.get(self._blob.owner_id, file_id, self._world.clock.now())
        if found is None:
            return None
        sent = (self._hash.hexdigest(), clean_name(name), purpose)
        if sent != (found.sha256, found.name, found.purpose):
            raise IdempotencyMismatch(
                "this Idempotency-Key was used for another file; use a new key for a new file"
            )
        return found

    async def give_up(self) -> None:
        """The bytes that came are swept away. Harmless after `finish`."""
        async with self._world.store.begin() as tx:
            await tx.files.give_up(self._blob.id)

    async def _put(self, piece: bytes) -> None:
        await self._world.blobs.put(self._blob.id, self._blob.pieces, piece)
        self._blob = self._blob.grown(piece)


async def begin_upload(world: World, owner: UserId) -> Upload:
    """Raises StorageExceeded when this customer has too many under way."""
    now = world.clock.now()
    blob = Blob(world.ids.blob(now), owner, BlobState.UPLOADING, now)
    async with world.store.begin() as tx:
        await tx.files.begin(blob)
    return Upload(world, blob)


async def upload(world: World, owner: UserId, parts: AsyncIterable[bytes]) -> Upload:
    """All of it, not yet a file."""
    begun = await begin_upload(world, owner)
    try:
        async for part in parts:
            await begun.write(part)
    except BaseException:
        await begun.give_up()
        raise
    return begun
