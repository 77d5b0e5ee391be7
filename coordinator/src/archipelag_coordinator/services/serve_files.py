"""Gives an Island the files of the job that it holds, and takes from it what the job has made."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from archipelag_contracts.ids import Epoch, FileId, IslandId, JobId

from archipelag_coordinator.domain.file import (
    JOB_OUTPUT,
    OUTPUTS_MAX,
    PIECE_BYTES,
    SUM_BYTES,
    Blob,
    BlobState,
    File,
    clean_name,
)
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.media import media_type_of
from archipelag_coordinator.errors import Conflict, InvalidInput, NotFound, StaleAttempt, TooLarge
from archipelag_coordinator.services.pieces import blob_of, read_piece, read_range
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World


@dataclass(frozen=True)
class Holder:
    """Who asks, and by which right: this Island, for this attempt."""

    island_id: IslandId
    job_id: JobId
    epoch: Epoch


@dataclass(frozen=True)
class Piece:
    """A part of an output file. `sha256` is that of the whole file, with its last part."""

    name: str
    media_type: str
    offset: int
    data: bytes
    last: bool
    sha256: str


@dataclass(frozen=True)
class Taken:
    """`received` bytes of it are kept. `file` once it is whole and is what its sums say."""

    received: int
    file: FileId | None = None


async def read_input(world: World, holder: Holder, file: FileId, offset: int, length: int) -> bytes:
    """At most a piece of a file that this very job reads. Raises StaleAttempt, NotFound, InvalidInput, ContentLost."""
    if not 0 < length <= PIECE_BYTES or offset < 0:
        raise InvalidInput({"length": [f"must be 1 to {PIECE_BYTES}"]})
    async with world.store.begin() as tx:
        await _held(tx, holder)
        inputs = {one.file_id: one for one in await tx.files.inputs(holder.job_id)}
    wanted = inputs.get(file)
    if wanted is None:
        raise NotFound("file", file)
    blob = await blob_of(world, wanted.blob_id, file)
    length = max(0, min(length, blob.size_bytes - offset))
    return b"".join([part async for part in read_range(world, blob, offset, length, file)])


async def write_output(world: World, holder: Holder, piece: Piece) -> Taken:
    """The same twice is once. Raises StaleAttempt, InvalidInput, TooLarge, Conflict, StorageExceeded."""
    _check(piece)
    async with world.store.begin() as tx:
        job = await _held(tx, holder)
        begun = await _begun(world, tx, job, holder, piece)
    if isinstance(begun, Taken):
        return begun
    blob = begun
    if piece.data and blob.size_bytes == piece.offset:
        # Kept before it is written down: a row never names bytes that are not there.
        await world.blobs.put(blob.id, blob.pieces, piece.data)
        async with world.store.begin() as tx:
            await _held(tx, holder)
            current = await tx.files.lock_written(holder.job_id, holder.epoch, piece.name)
            if current != blob:
                raise Conflict("another part of this file came in between: send it again")
            blob = blob.grown(piece.data)
            await tx.files.grow(blob)
    if not piece.last:
        return Taken(blob.size_bytes)
    return await _complete(world, holder, piece, blob)


def _check(piece: Piece) -> None:
    if piece.name != clean_name(piece.name):
        raise InvalidInput({"name": ["must be a plain file name"]})
    if len(piece.data) > PIECE_BYTES or (piece.offset % PIECE_BYTES and piece.data):
        raise InvalidInput({"data": [f"must come in pieces of {PIECE_BYTES} bytes"]})
    if len(piece.data) != PIECE_BYTES and not piece.last:
        raise InvalidInput({"data": ["only the last piece may be short"]})
    if piece.last and len(piece.sha256) != 2 * SUM_BYTES:
        raise InvalidInput({"sha256": ["is required with the last piece"]})


async def _held(tx: Tx, holder: Holder) -> Job:
    """Raises StaleAttempt for whoever does not hold this attempt now, whatever the reason: it is told nothing more."""
    job = await tx.jobs.get(holder.job_id)
    attempt = await tx.attempts.get(holder.job_id, holder.epoch) if job else None
    if (
        job is None
        or attempt is None
        or attempt.island_id != holder.island_id
        or attempt.finished
        or job.status is not JobStatus.RUNNING
        or job.epoch != holder.epoch
    ):
        raise StaleAttempt(holder.job_id, holder.epoch)
    return job


async def _begun(world: World, tx: Tx, job: Job, holder: Holder, piece: Piece) -> Blob | Taken:
    """The upload that this piece goes to; or what is to be said where it came before."""
    for made in await tx.files.of_job(job.id):
        if (made.epoch, made.name) == (holder.epoch, piece.name):
            if piece.last and piece.sha256 != made.sha256:
                raise Conflict("a file of this name was made already, with other content")
            return Taken(made.size_bytes, made.id)
    blob = await tx.files.lock_written(job.id, holder.epoch, piece.name)
    count, size = await tx.files.written(job.id, holder.epoch)
    if blob is None:
        if count >= OUTPUTS_MAX:
            raise TooLarge("the number of files", OUTPUTS_MAX)
        now = world.clock.now()
        blob = Blob(
            id=world.ids.blob(now),
            owner_id=job.user_id,
            state=BlobState.UPLOADING,
            created_at=now,
            job_id=job.id,
            epoch=holder.epoch,
            name=piece.name,
            media_type=piece.media_type[:100],
        )
        if piece.offset == 0:
            await tx.files.begin(blob)
    if piece.offset + len(piece.data) <= blob.size_bytes:
        at = piece.offset // PIECE_BYTES * SUM_BYTES
        same = blob.sums[at : at + SUM_BYTES] == sha256(piece.data).digest()
        if piece.data and not same:
            raise Conflict("this part came before, with other content")
        return blob if piece.last else Taken(blob.size_bytes)
    if piece.offset != blob.size_bytes:
        raise Conflict(f"the part at {blob.size_bytes} is expected next")
    if size + len(piece.data) > world.policy.file_bytes_max:
        raise TooLarge("what the job makes", world.policy.file_bytes_max)
    return blob


async def _complete(world: World, holder: Holder, piece: Piece, blob: Blob) -> Taken:
    """Reads it back and compares, and only then is it the customer's."""
    whole = sha256()
    for number in range(blob.pieces):
        whole.update(await read_piece(world, blob, number, piece.name))
    if not hmac.compare_digest(whole.hexdigest(), piece.sha256):
        async with world.store.begin() as tx:
            await tx.files.give_up(blob.id)
        raise InvalidInput({"sha256": ["is not that of what was sent"]})
    head = await read_piece(world, blob, 0, piece.name) if blob.pieces else b""
    now = world.clock.now()
    async with world.store.begin() as tx:
        job = await _held(tx, holder)
        before = [f for f in await tx.files.of_job(job.id) if f.name == piece.name]
        for made in before:
            if made.epoch == holder.epoch:
                return Taken(made.size_bytes, made.id)
            # An earlier attempt came to nothing after all.
            await tx.files.remove(job.user_id, made.id)
        stored = await tx.files.settle(blob.stored(piece.sha256))
        file = File(
            id=world.ids.file(),
            owner_id=job.user_id,
            blob_id=stored.id,
            name=piece.name,
            purpose=JOB_OUTPUT,
            media_type=media_type_of(head, blob.media_type),
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
            created_at=now,
            expires_at=now + timedelta(seconds=world.policy.result_kept_s),
            job_id=job.id,
            epoch=holder.epoch,
        )
        await tx.files.add(file, bytes_max=world.policy.files_bytes_max)
    return Taken(file.size_bytes, file.id)
