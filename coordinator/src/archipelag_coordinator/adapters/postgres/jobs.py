"""Jobs in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import partial
from typing import Any, Final

from archipelag_contracts.ids import ApiKeyId, JobId, RelayId, UserId

from archipelag_coordinator.adapters.postgres.ahead import or_refuse
from archipelag_coordinator.adapters.postgres.rows import (
    INTEGER_MAX,
    Connection,
    assigns,
    at_most,
    changed,
    every,
    inserts,
    later,
    one,
    plain,
)
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import EVERY_JOB, Job, JobFilter, JobStatus
from archipelag_coordinator.errors import Conflict, StaleAttempt
from archipelag_coordinator.services.ports import Mark, Standing

ADD_TRIES_MAX: Final = 3
_FIELDS: Final = tuple(field.name for field in fields(Job))
# Everything that a move may change. Not the home, which another Coordinator may have adopted meanwhile.
_MOVED: Final = (
    "status",
    "epoch",
    "idempotency_key",
    "queue_until",
    "started_at",
    "ended_at",
    "prompt_tokens",
    "output_items",
    "output",
    "cuts",
    "finish_reason",
    "cause",
    "error",
    "charged",
    "waiting_for",
)

ADD: Final = inserts(
    "jobs",
    _FIELDS,
    beyond="ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL "
    "DO NOTHING RETURNING id",
)
_WITHOUT_OUTPUT: Final = ", ".join(
    {"output": "NULL::bytea AS output", "cuts": "''::bytea AS cuts"}.get(name, name)
    for name in _FIELDS
)
JOB: Final = "SELECT * FROM jobs WHERE id = %(id)s"
JOB_WITHOUT_OUTPUT: Final = f"SELECT {_WITHOUT_OUTPUT} FROM jobs WHERE id = %(id)s"
LOCKED: Final = "SELECT * FROM jobs WHERE id = %(id)s FOR NO KEY UPDATE"
_OF_USER: Final = """
    FROM jobs WHERE user_id = %(user)s
        AND (status = ANY(%(statuses)s) OR (%(timed_out)s AND status = 'failed' AND cause = 'deadline'))
        AND cargo_slug = coalesce(%(workload)s::text, cargo_slug)
        AND created_at >= coalesce(%(after)s, '-infinity'::timestamptz)
        AND created_at < coalesce(%(before)s, 'infinity'::timestamptz)
"""
_PAGE: Final = "ORDER BY created_at DESC, id DESC LIMIT %(limit)s OFFSET %(offset)s"
OF_USER: Final = f"SELECT * {_OF_USER} {_PAGE}"
OF_USER_WITHOUT_OUTPUT: Final = f"SELECT {_WITHOUT_OUTPUT} {_OF_USER} {_PAGE}"
COUNT_OF_USER: Final = f"SELECT count(*) AS count {_OF_USER}"
BY_IDEMPOTENCY_KEY: Final = """
    SELECT * FROM jobs WHERE user_id = %(user)s AND idempotency_key = %(key)s
"""
SAME_REQUEST: Final = """
    SELECT * FROM jobs
    WHERE key_id = %(key)s AND request_hash = %(hash)s AND request_hash <> '' AND user_id = %(user)s
        AND created_at > %(since)s
    ORDER BY created_at DESC, id DESC LIMIT 1
"""
SAVE_GUARDED: Final = or_refuse(f"""
    UPDATE jobs SET {assigns(_MOVED)}, delivered = greatest(delivered, %(delivered)s)
    WHERE id = %(id)s AND epoch = %(was_epoch)s AND status = %(was_status)s RETURNING id
""")
# One line for each account and Cargo, found by jumping from one to the next in the index; of each no more than asked.
WAITING: Final = """
    WITH RECURSIVE lines AS (
        (SELECT user_id, cargo_digest FROM jobs WHERE status = 'queued' AND home = %(home)s
            ORDER BY user_id, cargo_digest LIMIT 1)
        UNION ALL
        SELECT found.user_id, found.cargo_digest FROM lines CROSS JOIN LATERAL (
            SELECT user_id, cargo_digest FROM jobs WHERE status = 'queued' AND home = %(home)s
                AND (user_id, cargo_digest) > (lines.user_id, lines.cargo_digest)
            ORDER BY user_id, cargo_digest LIMIT 1
        ) found
    )
    SELECT turns.id FROM lines
    CROSS JOIN LATERAL (
        SELECT count(*) AS slots FROM jobs WHERE status = 'running'
            AND user_id = lines.user_id AND cargo_digest = lines.cargo_digest
    ) taken
    CROSS JOIN LATERAL (
        SELECT id, created_at, row_number() OVER (ORDER BY priority DESC, created_at, id) AS place FROM (
            SELECT id, created_at, priority FROM jobs WHERE status = 'queued' AND home = %(home)s
                AND user_id = lines.user_id AND cargo_digest = lines.cargo_digest
            ORDER BY priority DESC, created_at, id LIMIT %(limit)s
        ) AS first
    ) turns
    ORDER BY taken.slots + turns.place, turns.created_at, turns.id LIMIT %(limit)s
"""
# Two halves, each with an index of its own.
OVERDUE: Final = """
    SELECT id FROM (
        SELECT id, deadline_at FROM jobs
        WHERE status IN ('queued', 'running') AND deadline_at <= %(now)s AND home = %(home)s
        UNION
        SELECT id, deadline_at FROM jobs
        WHERE status = 'queued' AND queue_until <= %(now)s AND home = %(home)s
    ) AS late ORDER BY deadline_at, id LIMIT %(limit)s
"""
# Skips what somebody has locked: that one is alive, and the next turn sees what became of it.
ADOPT: Final = """
    WITH orphans AS (
        SELECT id FROM jobs
        WHERE status IN ('queued', 'running') AND home <> %(home)s AND home <> ALL(%(alive)s)
        ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
    ), adopted AS (
        UPDATE jobs SET home = %(home)s FROM orphans WHERE jobs.id = orphans.id RETURNING jobs.id
    )
    SELECT id FROM adopted ORDER BY id
"""
ADOPT_OF: Final = """
    WITH theirs AS (
        SELECT id FROM jobs
        WHERE status IN ('queued', 'running') AND home = ANY(%(was)s)
            AND (%(among)s::text[] IS NULL OR id = ANY(%(among)s::text[]))
        ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
    ), adopted AS (
        UPDATE jobs SET home = %(home)s FROM theirs WHERE jobs.id = theirs.id RETURNING jobs.id
    )
    SELECT id FROM adopted ORDER BY id
"""
SEVERAL: Final = "SELECT * FROM jobs WHERE id = ANY(%(ids)s) ORDER BY id"
TAKE_HOME: Final = """
    UPDATE jobs SET home = %(home)s
    WHERE id = %(id)s AND home = %(was)s AND status IN ('queued', 'running')
"""
UNFINISHED_OF: Final = """
    SELECT id FROM jobs WHERE home = %(home)s AND status IN ('queued', 'running')
    ORDER BY id LIMIT %(limit)s
"""
STANDING: Final = """
    SELECT id, status, epoch, home FROM jobs WHERE id = ANY(%(ids)s) ORDER BY id
"""
# A reader who is elsewhere keeps a queued job alive, too.
MARK_DELIVERED: Final = """
    WITH marks AS (
        SELECT * FROM unnest(%(ids)s::text[], %(positions)s::int[], %(tokens)s::int[], %(read_at)s::timestamptz[])
            AS m (id, position, prompt_tokens, read_at)
    ), locked AS (
        SELECT j.id FROM jobs j JOIN marks m ON m.id = j.id COLLATE "C" WHERE j.status IN ('queued', 'running')
        ORDER BY j.id FOR NO KEY UPDATE OF j
    )
    UPDATE jobs j SET delivered = greatest(j.delivered, m.position),
        prompt_tokens = greatest(j.prompt_tokens, m.prompt_tokens), read_at = greatest(j.read_at, m.read_at)
    FROM locked, marks m WHERE j.id = locked.id AND m.id = j.id COLLATE "C"
"""
COUNT_COMPLETED: Final = "SELECT count(*) AS count FROM jobs WHERE status = 'succeeded'"


class PostgresJobs:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, job: Job) -> Job:
        if job.idempotency_key is None:
            later(self._connection, ADD, _values(job))
            return job
        for _ in range(ADD_TRIES_MAX):
            if await one(self._connection, ADD, _values(job)) is not None:
                return job
            standing = await self.by_idempotency_key(job.user_id, job.idempotency_key)
            if standing is not None:
                return standing
            # It failed between the two statements and gave its key up: now there is room.
        raise Conflict(f"the idempotency key of {job.id} is contended; try again")

    async def get(self, job: JobId, *, outputs: bool = True) -> Job | None:
        statement = JOB if outputs else JOB_WITHOUT_OUTPUT
        row = await one(self._connection, statement, {"id": job})
        return _job(row) if row else None

    async def lock(self, job: JobId) -> Job | None:
        row = await one(self._connection, LOCKED, {"id": job})
        return _job(row) if row else None

    async def of_user(
        self,
        user: UserId,
        *,
        limit: int,
        offset: int,
        only: JobFilter = EVERY_JOB,
        outputs: bool = True,
    ) -> tuple[list[Job], int]:
        values = {
            "user": user,
            "statuses": sorted(status.value for status in only.statuses),
            "timed_out": only.timed_out,
            "workload": None if only.workload is None else plain(only.workload),
            "after": only.created_after,
            "before": only.created_before,
            "limit": limit,
            "offset": offset,
        }
        statement = OF_USER if outputs else OF_USER_WITHOUT_OUTPUT
        rows = await every(self._connection, statement, values)
        counted = await one(self._connection, COUNT_OF_USER, values)
        assert counted is not None
        return [_job(row) for row in rows], counted["count"]

    async def by_idempotency_key(self, user: UserId, key: str) -> Job | None:
        values = {"user": user, "key": plain(key)}
        row = await one(self._connection, BY_IDEMPOTENCY_KEY, values)
        return _job(row) if row else None

    async def same_request(
        self, user: UserId, key: ApiKeyId, request_hash: bytes, since: datetime
    ) -> Job | None:
        values = {"user": user, "key": key, "hash": request_hash, "since": since}
        row = await one(self._connection, SAME_REQUEST, values)
        return _job(row) if row else None

    async def save(self, job: Job, *, was: Job) -> None:
        assert job.id == was.id
        values = _values(job) | {"was_epoch": was.epoch, "was_status": was.status.value}
        later(self._connection, SAVE_GUARDED, values, partial(self._stale, was))

    async def _stale(self, was: Job) -> StaleAttempt:
        return StaleAttempt(was.id, was.epoch)

    async def waiting(self, home: RelayId, limit: int) -> list[JobId]:
        rows = await every(self._connection, WAITING, {"home": home, "limit": limit})
        return [row["id"] for row in rows]

    async def overdue(self, home: RelayId, now: datetime, limit: int) -> list[JobId]:
        values = {"home": home, "now": now, "limit": limit}
        return [row["id"] for row in await every(self._connection, OVERDUE, values)]

    async def adopt(self, home: RelayId, alive: Sequence[RelayId], limit: int) -> list[JobId]:
        values = {"home": home, "alive": list(alive), "limit": limit}
        return [row["id"] for row in await every(self._connection, ADOPT, values)]

    async def adopt_of(
        self,
        home: RelayId,
        was: Sequence[RelayId],
        limit: int,
        among: Sequence[JobId] | None = None,
    ) -> list[JobId]:
        ids = None if among is None else list(among)
        values = {"home": home, "was": list(was), "limit": limit, "among": ids}
        return [row["id"] for row in await every(self._connection, ADOPT_OF, values)]

    async def several(self, jobs: Sequence[JobId]) -> list[Job]:
        return [_job(row) for row in await every(self._connection, SEVERAL, {"ids": list(jobs)})]

    async def take_home(self, job: JobId, home: RelayId, *, was: RelayId) -> bool:
        values = {"id": job, "home": home, "was": was}
        return bool(await changed(self._connection, TAKE_HOME, values))

    async def unfinished_of(self, home: RelayId, limit: int) -> list[JobId]:
        values = {"home": home, "limit": limit}
        return [row["id"] for row in await every(self._connection, UNFINISHED_OF, values)]

    async def standing(self, jobs: Sequence[JobId]) -> list[Standing]:
        rows = await every(self._connection, STANDING, {"ids": list(jobs)})
        return [_standing(row) for row in rows]

    async def mark_delivered(self, marks: Iterable[Mark]) -> None:
        taken = list(marks)
        if taken:
            values = {
                "ids": [mark.job_id for mark in taken],
                "positions": [at_most(mark.delivered, INTEGER_MAX) for mark in taken],
                "tokens": [at_most(mark.prompt_tokens, INTEGER_MAX) for mark in taken],
                "read_at": [mark.read_at for mark in taken],
            }
            await changed(self._connection, MARK_DELIVERED, values)

    async def count_completed(self) -> int:
        row = await one(self._connection, COUNT_COMPLETED, {})
        assert row is not None
        return int(row["count"])


def _values(job: Job) -> dict[str, Any]:
    values = {name: getattr(job, name) for name in _FIELDS}
    return values | {
        "status": job.status.value,
        "idempotency_key": None if job.idempotency_key is None else plain(job.idempotency_key),
        "prompt_tokens": at_most(job.prompt_tokens, INTEGER_MAX),
        "output": None if job.output is None else job.output.encode("utf-8", "replace"),
        "finish_reason": plain(job.finish_reason),
        "cause": job.cause.value if job.cause else None,
        "error": plain(job.error),
        "waiting_for": [plain(reason) for reason in job.waiting_for],
    }


def _standing(row: Mapping[str, Any]) -> Standing:
    finished = row["status"] not in (JobStatus.QUEUED.value, JobStatus.RUNNING.value)
    return Standing(row["id"], finished, row["epoch"], row["home"])


def _job(row: Mapping[str, Any]) -> Job:
    values = {name: row[name] for name in _FIELDS}
    return Job(
        **values
        | {
            "status": JobStatus(row["status"]),
            "output": None if row["output"] is None else row["output"].decode(),
            "cuts": bytes(row["cuts"]),
            "cause": Cause(row["cause"]) if row["cause"] else None,
            "waiting_for": tuple(row["waiting_for"]),
        }
    )
