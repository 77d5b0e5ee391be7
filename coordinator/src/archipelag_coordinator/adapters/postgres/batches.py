"""Batches and their members in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from archipelag_contracts.ids import BatchId, JobId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.adapters.postgres.rows import (
    Connection,
    changed,
    every,
    inserts,
    one,
    plain,
)
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.batch import (
    Batch,
    BatchStatus,
    FailMode,
    Glance,
    Member,
    MemberStatus,
    Merge,
)
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.errors import Conflict

_FIELDS: Final = tuple(field.name for field in fields(Batch))
_UNFINISHED: Final = "('running', 'failing', 'cancelling')"

ADD: Final = inserts(
    "batches",
    _FIELDS,
    beyond="ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL "
    "DO NOTHING RETURNING id",
)
ADD_MEMBERS: Final = """
    INSERT INTO batch_members (batch_id, number, job_id, input, status, error)
    SELECT %(batch)s, i.number, i.job_id, i.input, 'waiting', ''
    FROM unnest(%(numbers)s::int[], %(jobs)s::text[], %(inputs)s::bytea[]) AS i (number, job_id, input)
"""
BATCH: Final = "SELECT * FROM batches WHERE id = %(id)s"
LOCKED: Final = "SELECT * FROM batches WHERE id = %(id)s FOR NO KEY UPDATE"
LOCKED_IF_FREE: Final = LOCKED + " SKIP LOCKED"
BY_IDEMPOTENCY_KEY: Final = """
    SELECT * FROM batches WHERE user_id = %(user)s AND idempotency_key = %(key)s
"""
SAVE_GUARDED: Final = """
    UPDATE batches SET status = %(status)s, ended_at = %(ended_at)s, error = %(error)s
    WHERE id = %(id)s AND status = %(was)s
"""
UNFINISHED_OF: Final = f"""
    SELECT count(*) AS count FROM batches WHERE user_id = %(user)s AND status IN {_UNFINISHED}
"""
_MEMBER: Final = """
    i.batch_id, i.number, i.job_id, i.status, i.error, j.status AS job_status, j.cause, j.error AS job_error,
    j.prompt_tokens, j.output_items, j.charged FROM batch_members i LEFT JOIN jobs j ON j.id = i.job_id
"""
# Without the inputs, which may be a mebibyte and are needed once each.
MEMBERS_OF: Final = f"""
    SELECT NULL AS input, {_MEMBER} WHERE i.batch_id = ANY(%(batches)s) ORDER BY i.batch_id, i.number
"""
MEMBER_OF: Final = f"SELECT i.input, {_MEMBER} WHERE i.job_id = %(job)s"
INPUTS: Final = "SELECT job_id, input FROM batch_members WHERE job_id = ANY(%(jobs)s)"
_OF_USER: Final = "FROM batches WHERE user_id = %(user)s AND status = ANY(%(statuses)s)"
OF_USER: Final = f"""
    SELECT * {_OF_USER} ORDER BY created_at DESC, id DESC LIMIT %(limit)s OFFSET %(offset)s
"""
COUNT_OF_USER: Final = f"SELECT count(*) AS count {_OF_USER}"
CLAIM: Final = """
    UPDATE batch_members SET status = 'submitted' WHERE job_id = %(job)s AND status = 'waiting'
"""
DROP: Final = """
    UPDATE batch_members SET status = %(status)s, error = %(error)s
    WHERE batch_id = %(batch)s AND status = 'waiting' AND job_id = coalesce(%(job)s::text, job_id)
"""
# Those that wait for credit come last: whoever has least at work goes first.
TO_WORK_ON: Final = f"""
    SELECT b.id FROM batches b CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE i.status = 'waiting') AS waiting,
            count(*) FILTER (WHERE j.status IN ('queued', 'running')) AS busy,
            count(*) FILTER (WHERE i.status IN ('failed', 'cancelled')
                OR j.status IN ('failed', 'cancelled')) AS broken
        FROM batch_members i LEFT JOIN jobs j ON j.id = i.job_id WHERE i.batch_id = b.id
    ) AS p
    WHERE b.status IN {_UNFINISHED} AND (
        b.status <> 'running' OR p.busy + p.waiting = 0
        OR (p.waiting > 0 AND p.busy < b.max_parallelism)
        OR (b.fail_mode = 'fail_fast' AND p.broken > 0)
    )
    ORDER BY p.busy, b.id LIMIT %(limit)s
"""
OUTPUT_BYTES: Final = """
    SELECT coalesce(sum(octet_length(j.output)), 0) AS bytes
    FROM batch_members i JOIN jobs j ON j.id = i.job_id
    WHERE i.batch_id = %(batch)s AND j.status = 'succeeded'
"""
OUTPUTS: Final = """
    SELECT j.output FROM batch_members i JOIN jobs j ON j.id = i.job_id
    WHERE i.batch_id = %(batch)s AND j.status = 'succeeded' ORDER BY i.number
"""


class PostgresBatches:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, batch: Batch, members: Sequence[Member]) -> Batch:
        assert len(members) == batch.total
        if await one(self._connection, ADD, _values(batch)) is None:
            assert batch.idempotency_key is not None
            standing = await self.by_idempotency_key(batch.user_id, batch.idempotency_key)
            assert standing is not None, "a batch keeps its idempotency key"
            return standing
        values = {
            "batch": batch.id,
            "numbers": [member.number for member in members],
            "jobs": [member.job_id for member in members],
            "inputs": [member.input for member in members],
        }
        await changed(self._connection, ADD_MEMBERS, values)
        return batch

    async def get(self, batch: BatchId) -> Batch | None:
        row = await one(self._connection, BATCH, {"id": batch})
        return _batch(row) if row else None

    async def lock(self, batch: BatchId, *, wait: bool = True) -> Batch | None:
        row = await one(self._connection, LOCKED if wait else LOCKED_IF_FREE, {"id": batch})
        return _batch(row) if row else None

    async def save(self, batch: Batch, *, was: Batch) -> None:
        assert batch.id == was.id
        values = _values(batch) | {"was": was.status.value}
        if not await changed(self._connection, SAVE_GUARDED, values):
            raise Conflict(f"{batch.id} has moved on meanwhile")

    async def by_idempotency_key(self, user: UserId, key: str) -> Batch | None:
        row = await one(self._connection, BY_IDEMPOTENCY_KEY, {"user": user, "key": plain(key)})
        return _batch(row) if row else None

    async def unfinished_of(self, user: UserId) -> int:
        row = await one(self._connection, UNFINISHED_OF, {"user": user})
        assert row is not None
        return int(row["count"])

    async def members(self, batch: BatchId) -> list[Member]:
        return (await self.members_of([batch])).get(batch, [])

    async def members_of(self, batches: Sequence[BatchId]) -> dict[BatchId, list[Member]]:
        found: dict[BatchId, list[Member]] = {batch: [] for batch in batches}
        for row in await every(self._connection, MEMBERS_OF, {"batches": list(batches)}):
            found[row["batch_id"]].append(_member(row))
        return found

    async def inputs(self, jobs: Sequence[JobId]) -> dict[JobId, bytes]:
        rows = await every(self._connection, INPUTS, {"jobs": list(jobs)})
        return {row["job_id"]: row["input"] for row in rows}

    async def of_user(
        self, user: UserId, *, limit: int, offset: int, statuses: Collection[BatchStatus]
    ) -> tuple[list[Batch], int]:
        words = sorted(status.value for status in statuses)
        values = {"user": user, "statuses": words, "limit": limit, "offset": offset}
        rows = await every(self._connection, OF_USER, values)
        counted = await one(self._connection, COUNT_OF_USER, values)
        assert counted is not None
        return [_batch(row) for row in rows], int(counted["count"])

    async def member_of(self, job: JobId) -> Member | None:
        row = await one(self._connection, MEMBER_OF, {"job": job})
        return _member(row) if row else None

    async def claim(self, job: JobId) -> bool:
        return bool(await changed(self._connection, CLAIM, {"job": job}))

    async def drop(
        self, batch: BatchId, status: MemberStatus, error: str, *, job: JobId | None = None
    ) -> int:
        values = {"batch": batch, "status": status.value, "error": plain(error), "job": job}
        return await changed(self._connection, DROP, values)

    async def to_work_on(self, limit: int) -> list[BatchId]:
        rows = await every(self._connection, TO_WORK_ON, {"limit": limit})
        return [row["id"] for row in rows]

    async def output_bytes(self, batch: BatchId) -> int:
        row = await one(self._connection, OUTPUT_BYTES, {"batch": batch})
        assert row is not None
        return int(row["bytes"])

    async def outputs(self, batch: BatchId) -> list[str]:
        rows = await every(self._connection, OUTPUTS, {"batch": batch})
        return [(row["output"] or b"").decode() for row in rows]


def _values(batch: Batch) -> dict[str, Any]:
    values = {name: getattr(batch, name) for name in _FIELDS}
    return values | {
        "merge": batch.merge.value,
        "fail_mode": batch.fail_mode.value,
        "status": batch.status.value,
        "error": plain(batch.error),
        "idempotency_key": None if batch.idempotency_key is None else plain(batch.idempotency_key),
    }


def _batch(row: Mapping[str, Any]) -> Batch:
    values = {name: row[name] for name in _FIELDS}
    return Batch(
        **values
        | {
            "merge": Merge(row["merge"]),
            "fail_mode": FailMode(row["fail_mode"]),
            "status": BatchStatus(row["status"]),
        }
    )


def _member(row: Mapping[str, Any]) -> Member:
    job = None
    if row["job_status"] is not None:
        job = Glance(
            status=JobStatus(row["job_status"]),
            cause=Cause(row["cause"]) if row["cause"] else None,
            error=row["job_error"],
            prompt_tokens=row["prompt_tokens"],
            output_items=row["output_items"],
            charged=Ucredits(row["charged"]),
        )
    return Member(
        batch_id=row["batch_id"],
        number=row["number"],
        job_id=row["job_id"],
        input=row["input"],
        status=MemberStatus(row["status"]),
        error=row["error"],
        job=job,
    )
