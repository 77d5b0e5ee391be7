"""Files and blobs in memory: the rows with the same guards as in PostgreSQL, and the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from archipelag_contracts.ids import Epoch, FileId, JobId, UserId

from archipelag_coordinator.domain.file import (
    FILES_MAX,
    UPLOADS_AT_ONCE_MAX,
    Blob,
    BlobId,
    BlobState,
    File,
    Input,
)
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.errors import Conflict, StorageExceeded
from archipelag_coordinator.testing.memory_state import State


class MemoryFiles:
    def __init__(self, state: State) -> None:
        self._state = state

    async def begin(self, blob: Blob) -> None:
        if blob.job_id is None:
            under_way = [
                b
                for b in self._state.blobs
                if (b.owner_id, b.state, b.job_id) == (blob.owner_id, BlobState.UPLOADING, None)
            ]
            if len(under_way) >= UPLOADS_AT_ONCE_MAX:
                raise StorageExceeded(0, f"{UPLOADS_AT_ONCE_MAX} uploads are under way already")
        elif await self.lock_written(blob.job_id, blob.epoch, blob.name) is not None:
            raise Conflict("this attempt writes a file of this name already")
        self._state.blobs.add(blob.id, blob)

    async def blob(self, blob: BlobId) -> Blob | None:
        return self._state.blobs.get(blob)

    async def lock_written(self, job: JobId, epoch: Epoch, name: str) -> Blob | None:
        wanted = (job, epoch, name, BlobState.UPLOADING)
        return next(
            (b for b in self._state.blobs if (b.job_id, b.epoch, b.name, b.state) == wanted), None
        )

    async def written(self, job: JobId, epoch: Epoch) -> tuple[int, int]:
        begun = [
            b.size_bytes
            for b in self._state.blobs
            if (b.job_id, b.epoch, b.state) == (job, epoch, BlobState.UPLOADING)
        ]
        made = [f.size_bytes for f in self._state.files if (f.job_id, f.epoch) == (job, epoch)]
        return len(begun) + len(made), sum(begun) + sum(made)

    async def grow(self, blob: Blob) -> None:
        self._uploading(blob.id)
        self._state.blobs.put(blob.id, blob)

    async def settle(self, blob: Blob) -> Blob:
        for standing in self._state.blobs:
            if (standing.sha256, standing.state) == (blob.sha256, BlobState.STORED):
                await self.give_up(blob.id)
                return standing
        self._uploading(blob.id)
        self._state.blobs.put(blob.id, blob)
        return blob

    async def give_up(self, blob: BlobId) -> None:
        found = self._state.blobs.get(blob)
        if found is not None and found.state is BlobState.UPLOADING:
            self._state.blobs.put(blob, replace(found, state=BlobState.LEAVING))

    async def add(self, file: File, *, bytes_max: int) -> None:
        own = [f.size_bytes for f in self._state.files if f.owner_id == file.owner_id]
        if len(own) >= FILES_MAX:
            raise StorageExceeded(bytes_max, f"you have {FILES_MAX} files")
        if sum(own) + file.size_bytes > bytes_max:
            raise StorageExceeded(bytes_max)
        if file.owner_id not in self._state.users or file.blob_id not in self._state.blobs:
            raise Conflict(f"{file.id} names an owner or a blob that is not stored")
        made = (file.job_id, file.epoch, file.name)
        if file.job_id and any((f.job_id, f.epoch, f.name) == made for f in self._state.files):
            raise Conflict("this attempt has made a file of this name already")
        self._state.files.add(file.id, file)

    async def get(self, owner: UserId, file: FileId, now: datetime) -> File | None:
        found = await self.linked(file, now)
        return found if found is not None and found.owner_id == owner else None

    async def lock(self, owner: UserId, file: FileId, now: datetime) -> File | None:
        return await self.get(owner, file, now)

    async def linked(self, file: FileId, now: datetime) -> File | None:
        found = self._state.files.get(file)
        return found if found is not None and self._is_shown(found, now) else None

    async def of_user(
        self,
        owner: UserId,
        now: datetime,
        *,
        limit: int,
        after: FileId | None = None,
        purpose: str | None = None,
        oldest_first: bool = False,
    ) -> list[File]:
        found = [
            f
            for f in self._state.files
            if f.owner_id == owner and purpose in (None, f.purpose) and self._is_shown(f, now)
        ]
        found.sort(key=lambda f: (f.created_at, f.id), reverse=not oldest_first)
        if after is not None:
            last = self._state.files.get(after)
            if last is None or last.owner_id != owner:
                return []
            place, turn = (last.created_at, last.id), -1 if oldest_first else 1
            found = [
                f
                for f in found
                if ((f.created_at, f.id) < place) == (turn == 1) and f.id != last.id
            ]
        return found[:limit]

    async def of_job(self, job: JobId) -> list[File]:
        found = [f for f in self._state.files if f.job_id == job]
        return sorted(found, key=lambda f: (f.epoch, f.name))

    async def remove(self, owner: UserId, file: FileId) -> bool:
        found = self._state.files.get(file)
        if found is None or found.owner_id != owner:
            return False
        self._state.files.remove(file)
        return True

    async def pin(self, inputs: Sequence[Input]) -> None:
        for one in inputs:
            if one.blob_id not in self._state.blobs or one.job_id not in self._state.jobs:
                raise Conflict(f"{one.file_id} or its job is not stored")
            self._state.job_files.put((one.job_id, one.file_id), one)

    async def inputs(self, job: JobId) -> list[Input]:
        found = [one for one in self._state.job_files if one.job_id == job]
        return sorted(found, key=lambda one: one.file_id)

    async def sweep(self, now: datetime, upload_before: datetime, limit: int) -> int:
        swept = 0
        for file in list(self._state.files)[:limit]:
            job = self._state.jobs.get(file.job_id) if file.job_id else None
            wrong = job is not None and job.finished and not self._is_of_success(file)
            if file.expires_at <= now or wrong:
                self._state.files.remove(file.id)
                swept += 1
        for (job_id, file_id), _ in self._state.job_files.items():
            reading = self._state.jobs.get(job_id)
            if reading is None or reading.finished:
                self._state.job_files.remove((job_id, file_id))
                swept += 1
        used = {f.blob_id for f in self._state.files} | {r.blob_id for r in self._state.job_files}
        for blob in list(self._state.blobs):
            late = blob.state is BlobState.UPLOADING and blob.created_at <= upload_before
            if late or (blob.state is BlobState.STORED and blob.id not in used):
                self._state.blobs.put(blob.id, replace(blob, state=BlobState.LEAVING))
                swept += 1
        return swept

    async def leaving(self, limit: int) -> list[BlobId]:
        return [b.id for b in self._state.blobs if b.state is BlobState.LEAVING][:limit]

    async def forget(self, blobs: Sequence[BlobId]) -> None:
        for blob in blobs:
            self._state.blobs.remove(blob)

    def _uploading(self, blob: BlobId) -> None:
        found = self._state.blobs.get(blob)
        if found is None or found.state is not BlobState.UPLOADING:
            raise Conflict("this upload has been given up")

    def _is_shown(self, file: File, now: datetime) -> bool:
        return file.expires_at > now and (file.job_id is None or self._is_of_success(file))

    def _is_of_success(self, file: File) -> bool:
        job = self._state.jobs.get(file.job_id) if file.job_id else None
        return job is not None and (job.status, job.epoch) == (JobStatus.SUCCEEDED, file.epoch)


class MemoryBlobs:
    """Bytes in memory; a test may lose pieces, or say that it is `full`."""

    def __init__(self) -> None:
        self.pieces: dict[tuple[BlobId, int], bytes] = {}
        self.full = False

    async def put(self, blob: BlobId, number: int, data: bytes) -> None:
        if self.full:
            raise ConnectionError("the store of files is full")
        self.pieces[(blob, number)] = data

    async def get(self, blob: BlobId, number: int) -> bytes | None:
        return self.pieces.get((blob, number))

    async def delete(self, blob: BlobId) -> None:
        for key in [key for key in self.pieces if key[0] == blob]:
            del self.pieces[key]
