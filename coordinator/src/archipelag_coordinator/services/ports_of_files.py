"""What the verbs need to keep files: rows that say what there is, and a store of bytes that knows nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from archipelag_contracts.ids import Epoch, FileId, JobId, UserId

from archipelag_coordinator.domain.file import Blob, BlobId, File, Input


class Blobs(Protocol):
    """Bytes in pieces, by blob and number. Nothing here is believed: whoever reads compares the sums."""

    async def put(self, blob: BlobId, number: int, data: bytes) -> None:
        """Kept once it returns; the same again is no harm. Raises ConnectionError when it cannot be kept now."""
        ...

    async def get(self, blob: BlobId, number: int) -> bytes | None:
        """None: it is not there (any more). Raises ConnectionError when that cannot be told now."""
        ...

    async def delete(self, blob: BlobId) -> None:
        """Every piece of it; nothing where there is none. Raises ConnectionError when it cannot be done now."""
        ...


class Files(Protocol):
    """Which files there are and which bytes they stand for. Part of a transaction."""

    async def begin(self, blob: Blob) -> None:
        """Notes bytes before they come, so that half of them are found again. Raises StorageExceeded: too many uploads
        of this customer at once."""
        ...

    async def blob(self, blob: BlobId) -> Blob | None: ...
    async def lock_written(self, job: JobId, epoch: Epoch, name: str) -> Blob | None:
        """What this attempt is writing under this name, for this transaction alone."""
        ...

    async def written(self, job: JobId, epoch: Epoch) -> tuple[int, int]:
        """How many files this attempt has made or begun, and their bytes together."""
        ...

    async def grow(self, blob: Blob) -> None:
        """Saves size and sums of an upload. Raises Conflict when it has been given up."""
        ...

    async def settle(self, blob: Blob) -> Blob:
        """It is whole. Returns it, or the one with the same bytes that stands already: then this one leaves. Raises
        Conflict when it has been given up."""
        ...

    async def give_up(self, blob: BlobId) -> None:
        """An upload that will not be whole. Nothing where it is no upload any more."""
        ...

    async def add(self, file: File, *, bytes_max: int) -> None:
        """Raises StorageExceeded when the customer's files together would be more."""
        ...

    async def get(self, owner: UserId, file: FileId, now: datetime) -> File | None:
        """None for what is somebody else's, has expired, or is of a job that has not succeeded."""
        ...

    async def lock(self, owner: UserId, file: FileId, now: datetime) -> File | None:
        """As `get`, and nobody removes it before this transaction ends."""
        ...

    async def linked(self, file: FileId, now: datetime) -> File | None:
        """As `get`, for a link that was signed: whose it is is not asked."""
        ...

    async def of_user(
        self,
        owner: UserId,
        now: datetime,
        *,
        limit: int,
        after: FileId | None = None,
        purpose: str | None = None,
        oldest_first: bool = False,
    ) -> list[File]: ...
    async def of_job(self, job: JobId) -> list[File]:
        """What its attempts have made, by epoch and name."""
        ...

    async def remove(self, owner: UserId, file: FileId) -> bool: ...
    async def pin(self, inputs: Sequence[Input]) -> None:
        """These stay readable for their job until it has ended."""
        ...

    async def inputs(self, job: JobId) -> list[Input]:
        """By file id."""
        ...

    async def sweep(self, now: datetime, upload_before: datetime, limit: int) -> int:
        """Removes what has expired, what jobs made that did not succeed, uploads begun before `upload_before`, pins of
        jobs that have ended, and says of blobs that nobody has any more that they leave. Returns how many rows."""
        ...

    async def leaving(self, limit: int) -> list[BlobId]:
        """Blobs whose bytes may go."""
        ...

    async def forget(self, blobs: Sequence[BlobId]) -> None:
        """Their bytes are gone."""
        ...
