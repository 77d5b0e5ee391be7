"""Files and blobs in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

from archipelag_contracts.ids import Epoch, FileId, JobId, UserId

from archipelag_coordinator.adapters.postgres.rows import (
    Connection,
    changed,
    every,
    inserts,
    one,
    plain,
)
from archipelag_coordinator.domain.file import (
    FILES_MAX,
    UPLOADS_AT_ONCE_MAX,
    Blob,
    BlobId,
    BlobState,
    File,
    Input,
)
from archipelag_coordinator.errors import Conflict, StorageExceeded

_BLOB: Final = tuple(field.name for field in fields(Blob))
_FILE: Final = tuple(field.name for field in fields(File))
_INPUT: Final = tuple(field.name for field in fields(Input))

# Whoever adds to a customer's files counts them first, one after another.
LOCK_OWNER: Final = "SELECT id FROM users WHERE id = %(owner)s FOR NO KEY UPDATE"
UPLOADS: Final = """
    SELECT count(*) AS count FROM blobs WHERE owner_id = %(owner)s AND state = 'uploading' AND job_id IS NULL
"""
BEGIN: Final = inserts("blobs", _BLOB)
THE_BLOB: Final = "SELECT * FROM blobs WHERE id = %(id)s"
LOCK_WRITTEN: Final = """
    SELECT * FROM blobs WHERE job_id = %(job)s AND epoch = %(epoch)s AND name = %(name)s AND state = 'uploading'
    FOR UPDATE
"""
WRITTEN: Final = """
    SELECT count(*) AS count, coalesce(sum(size_bytes), 0)::bigint AS size FROM (
        SELECT size_bytes FROM blobs WHERE job_id = %(job)s AND epoch = %(epoch)s AND state = 'uploading'
        UNION ALL
        SELECT size_bytes FROM files WHERE job_id = %(job)s AND epoch = %(epoch)s
    ) AS made
"""
GROW: Final = """
    UPDATE blobs SET size_bytes = %(size_bytes)s, sums = %(sums)s WHERE id = %(id)s AND state = 'uploading'
"""
LOCK_CONTENT: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%(sha256)s, 8))"
# Locked, or the sweep could be about to take it away.
SAME_CONTENT: Final = (
    "SELECT * FROM blobs WHERE sha256 = %(sha256)s AND state = 'stored' FOR KEY SHARE"
)
SETTLE: Final = """
    UPDATE blobs SET state = 'stored', sha256 = %(sha256)s, size_bytes = %(size_bytes)s, sums = %(sums)s
    WHERE id = %(id)s AND state = 'uploading'
"""
GIVE_UP: Final = "UPDATE blobs SET state = 'leaving' WHERE id = %(id)s AND state = 'uploading'"
OF_OWNER: Final = """
    SELECT count(*) AS count, coalesce(sum(size_bytes), 0)::bigint AS size FROM files WHERE owner_id = %(owner)s
"""
ADD: Final = inserts("files", _FILE)
_SHOWN: Final = """
    f.expires_at > %(now)s AND (f.job_id IS NULL OR EXISTS (
        SELECT FROM jobs j WHERE j.id = f.job_id AND j.status = 'succeeded' AND j.epoch = f.epoch))
"""
FILE: Final = f"SELECT f.* FROM files f WHERE f.id = %(id)s AND {_SHOWN}"
OWN: Final = f"{FILE} AND f.owner_id = %(owner)s"
LOCKED: Final = f"{OWN} FOR KEY SHARE"
NEWEST: Final = f"""
    SELECT f.* FROM files f WHERE f.owner_id = %(owner)s AND {_SHOWN}
        AND (%(purpose)s::text IS NULL OR f.purpose = %(purpose)s)
        AND (%(after)s::text IS NULL OR (f.created_at, f.id) <
            (SELECT a.created_at, a.id FROM files a WHERE a.id = %(after)s AND a.owner_id = %(owner)s))
    ORDER BY f.created_at DESC, f.id DESC LIMIT %(limit)s
"""
OLDEST: Final = NEWEST.replace(" <\n", " >\n").replace("DESC", "ASC")
OF_JOB: Final = "SELECT * FROM files WHERE job_id = %(job)s ORDER BY epoch, name"
REMOVE: Final = "DELETE FROM files WHERE id = %(id)s AND owner_id = %(owner)s"
PIN: Final = inserts("job_files", _INPUT, beyond="ON CONFLICT (job_id, file_id) DO NOTHING")
INPUTS: Final = "SELECT * FROM job_files WHERE job_id = %(job)s ORDER BY file_id"

SWEEPS: Final = (
    """
    DELETE FROM files WHERE id IN (
        SELECT id FROM files WHERE expires_at <= %(now)s LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    """,
    """
    DELETE FROM files WHERE id IN (
        SELECT f.id FROM files f JOIN jobs j ON j.id = f.job_id
        WHERE j.status IN ('failed', 'cancelled') OR j.status = 'succeeded' AND j.epoch <> f.epoch
        LIMIT %(limit)s FOR UPDATE OF f SKIP LOCKED)
    """,
    """
    DELETE FROM job_files USING (
        SELECT r.job_id, r.file_id FROM job_files r JOIN jobs j ON j.id = r.job_id
        WHERE j.status NOT IN ('queued', 'running') LIMIT %(limit)s
    ) AS over WHERE job_files.job_id = over.job_id AND job_files.file_id = over.file_id
    """,
    """
    UPDATE blobs SET state = 'leaving' WHERE id IN (
        SELECT id FROM blobs WHERE state = 'uploading' AND created_at <= %(upload_before)s
        LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    """,
)
_UNUSED: Final = """
    NOT EXISTS (SELECT FROM files f WHERE f.blob_id = b.id)
    AND NOT EXISTS (SELECT FROM job_files r WHERE r.blob_id = b.id)
"""
# Two statements: only the second one's view is younger than the locks, so that a file just added is seen.
LOCK_UNUSED: Final = f"""
    SELECT b.id FROM blobs b WHERE b.state = 'stored' AND {_UNUSED} LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""
LEAVE_UNUSED: Final = f"""
    UPDATE blobs b SET state = 'leaving' WHERE b.id = ANY(%(ids)s) AND b.state = 'stored' AND {_UNUSED}
"""
LEAVING: Final = "SELECT id FROM blobs WHERE state = 'leaving' ORDER BY created_at LIMIT %(limit)s"
FORGET: Final = "DELETE FROM blobs WHERE id = ANY(%(ids)s) AND state = 'leaving'"


class PostgresFiles:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def begin(self, blob: Blob) -> None:
        if blob.job_id is None:
            await one(self._connection, LOCK_OWNER, {"owner": blob.owner_id})
            row = await one(self._connection, UPLOADS, {"owner": blob.owner_id})
            assert row is not None
            if row["count"] >= UPLOADS_AT_ONCE_MAX:
                raise StorageExceeded(0, f"{UPLOADS_AT_ONCE_MAX} uploads are under way already")
        await changed(self._connection, BEGIN, _values(blob))

    async def blob(self, blob: BlobId) -> Blob | None:
        row = await one(self._connection, THE_BLOB, {"id": blob})
        return blob_of_row(row) if row else None

    async def lock_written(self, job: JobId, epoch: Epoch, name: str) -> Blob | None:
        values = {"job": job, "epoch": epoch, "name": plain(name)}
        row = await one(self._connection, LOCK_WRITTEN, values)
        return blob_of_row(row) if row else None

    async def written(self, job: JobId, epoch: Epoch) -> tuple[int, int]:
        row = await one(self._connection, WRITTEN, {"job": job, "epoch": epoch})
        assert row is not None
        return row["count"], row["size"]

    async def grow(self, blob: Blob) -> None:
        if not await changed(self._connection, GROW, _values(blob)):
            raise Conflict("this upload has been given up")

    async def settle(self, blob: Blob) -> Blob:
        values = _values(blob)
        await one(self._connection, LOCK_CONTENT, values)
        standing = await one(self._connection, SAME_CONTENT, values)
        if standing is not None:
            await self.give_up(blob.id)
            return blob_of_row(standing)
        if not await changed(self._connection, SETTLE, values):
            raise Conflict("this upload has been given up")
        return blob

    async def give_up(self, blob: BlobId) -> None:
        await changed(self._connection, GIVE_UP, {"id": blob})

    async def add(self, file: File, *, bytes_max: int) -> None:
        await one(self._connection, LOCK_OWNER, {"owner": file.owner_id})
        row = await one(self._connection, OF_OWNER, {"owner": file.owner_id})
        assert row is not None
        if row["count"] >= FILES_MAX:
            raise StorageExceeded(bytes_max, f"you have {FILES_MAX} files")
        if row["size"] + file.size_bytes > bytes_max:
            raise StorageExceeded(bytes_max)
        await changed(self._connection, ADD, _values(file))

    async def get(self, owner: UserId, file: FileId, now: datetime) -> File | None:
        row = await one(self._connection, OWN, {"owner": owner, "id": file, "now": now})
        return _file(row) if row else None

    async def lock(self, owner: UserId, file: FileId, now: datetime) -> File | None:
        row = await one(self._connection, LOCKED, {"owner": owner, "id": file, "now": now})
        return _file(row) if row else None

    async def linked(self, file: FileId, now: datetime) -> File | None:
        row = await one(self._connection, FILE, {"id": file, "now": now})
        return _file(row) if row else None

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
        values = {"owner": owner, "now": now, "limit": limit, "after": after, "purpose": purpose}
        statement = OLDEST if oldest_first else NEWEST
        return [_file(row) for row in await every(self._connection, statement, values)]

    async def of_job(self, job: JobId) -> list[File]:
        return [_file(row) for row in await every(self._connection, OF_JOB, {"job": job})]

    async def remove(self, owner: UserId, file: FileId) -> bool:
        return await changed(self._connection, REMOVE, {"owner": owner, "id": file}) > 0

    async def pin(self, inputs: Sequence[Input]) -> None:
        for file in inputs:
            await changed(self._connection, PIN, _values(file))

    async def inputs(self, job: JobId) -> list[Input]:
        rows = await every(self._connection, INPUTS, {"job": job})
        return [Input(**row) for row in rows]

    async def sweep(self, now: datetime, upload_before: datetime, limit: int) -> int:
        values: dict[str, Any] = {"now": now, "upload_before": upload_before, "limit": limit}
        swept = 0
        for statement in SWEEPS:
            swept += await changed(self._connection, statement, values)
        unused = [row["id"] for row in await every(self._connection, LOCK_UNUSED, values)]
        if unused:
            swept += await changed(self._connection, LEAVE_UNUSED, {"ids": unused})
        return swept

    async def leaving(self, limit: int) -> list[BlobId]:
        return [row["id"] for row in await every(self._connection, LEAVING, {"limit": limit})]

    async def forget(self, blobs: Sequence[BlobId]) -> None:
        if blobs:
            await changed(self._connection, FORGET, {"ids": list(blobs)})


def _values(value: Blob | File | Input) -> dict[str, Any]:
    values = asdict(value) | {"name": plain(value.name)}
    if isinstance(value, Blob):
        values["state"] = value.state.value
    return values


def blob_of_row(row: Mapping[str, Any]) -> Blob:
    values = {name: row[name] for name in _BLOB}
    state = BlobState(row["state"])
    return Blob(**values | {"state": state, "sums": bytes(row["sums"])})


def _file(row: Mapping[str, Any]) -> File:
    return File(**{name: row[name] for name in _FILE})
