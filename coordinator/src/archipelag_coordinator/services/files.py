"""What a customer may do with their files: look, read, delete. Also what is done when nobody needs them any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from archipelag_contracts.ids import FileId, JobId, UserId

from archipelag_coordinator.domain.file import File
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.pieces import blob_of, read_range
from archipelag_coordinator.services.world import World

LEAVING_MAX: Final = 100


async def list_files(
    world: World,
    owner: UserId,
    *,
    limit: int,
    after: FileId | None = None,
    purpose: str | None = None,
    oldest_first: bool = False,
) -> tuple[list[File], bool]:
    """Files after that one, and whether there are more."""
    async with world.store.begin() as tx:
        found = await tx.files.of_user(
            owner,
            world.clock.now(),
            limit=limit + 1,
            after=after,
            purpose=purpose,
            oldest_first=oldest_first,
        )
    return found[:limit], len(found) > limit


async def find_file(world: World, owner: UserId, file: FileId) -> File:
    """Raises NotFound, also for somebody else's: whether it exists is nobody's business."""
    async with world.store.begin() as tx:
        found = await tx.files.get(owner, file, world.clock.now())
    if found is None:
        raise NotFound("file", file)
    return found


async def linked_file(world: World, file: FileId) -> File:
    """For whoever has a link that was signed. Raises NotFound."""
    async with world.store.begin() as tx:
        found = await tx.files.linked(file, world.clock.now())
    if found is None:
        raise NotFound("file", file)
    return found


async def delete_file(world: World, owner: UserId, file: FileId) -> None:
    """A job that reads it goes on reading it. Raises NotFound."""
    await find_file(world, owner, file)
    async with world.store.begin() as tx:
        if not await tx.files.remove(owner, file):
            raise NotFound("file", file)


async def files_of_job(world: World, owner: UserId, job_id: JobId) -> list[File]:
    """What it has made: nothing before it has succeeded. Raises NotFound."""
    now = world.clock.now()
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
        if job is None or job.user_id != owner:
            raise NotFound("job", job_id)
        made = await tx.files.of_job(job_id)
    if job.status is not JobStatus.SUCCEEDED:
        return []
    return [file for file in made if file.epoch == job.epoch and file.expires_at > now]


async def read_whole(world: World, file: File, *, bytes_max: int) -> bytes:
    """Of a file that is small enough. Raises ContentLost."""
    assert file.size_bytes <= bytes_max
    blob = await blob_of(world, file.blob_id, file.id)
    parts = [part async for part in read_range(world, blob, 0, blob.size_bytes, file.id)]
    return b"".join(parts)


async def sweep_files(world: World, limit: int) -> tuple[int, int]:
    """Rows that nobody needs go first, then the bytes that nobody has any more. Returns how many of both."""
    now = world.clock.now()
    before = now - timedelta(seconds=world.policy.upload_s)
    async with world.store.begin() as tx:
        rows = await tx.files.sweep(now, before, limit)
        leaving = await tx.files.leaving(LEAVING_MAX)
    for blob in leaving:
        await world.blobs.delete(blob)
        async with world.store.begin() as tx:
            await tx.files.forget([blob])
    return rows, len(leaving)
