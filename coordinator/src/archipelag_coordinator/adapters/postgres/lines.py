"""The lines before the slots in PostgreSQL: each question one statement over an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from archipelag_contracts.ids import CargoDigest, JobId

from archipelag_coordinator.adapters.postgres.rows import Connection, every, one
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.lines import Line, LineKey, Standing

# Two halves, each counted in an index of its own.
ALL: Final = """
    SELECT user_id, cargo_digest, sum(queued)::int AS queued, sum(running)::int AS running, min(since) AS since FROM (
        SELECT user_id, cargo_digest, count(*) AS queued, 0 AS running, min(created_at) AS since
        FROM jobs WHERE status = 'queued' GROUP BY user_id, cargo_digest
        UNION ALL
        SELECT user_id, cargo_digest, 0, count(*), NULL
        FROM jobs WHERE status = 'running' GROUP BY user_id, cargo_digest
    ) AS halves
    GROUP BY user_id, cargo_digest ORDER BY sum(queued + running) DESC, user_id, cargo_digest LIMIT %(limit)s
"""
BEFORE: Final = """
    SELECT count(*) AS count FROM jobs
    WHERE status = 'queued' AND user_id = %(user)s AND cargo_digest = %(digest)s
        AND (priority > %(priority)s OR (priority = %(priority)s AND (created_at, id) < (%(created_at)s, %(id)s)))
"""
STANDING: Final = """
    SELECT id, user_id, cargo_digest, created_at, place - 1 AS before FROM (
        SELECT id, user_id, cargo_digest, created_at, row_number() OVER (
            PARTITION BY user_id, cargo_digest ORDER BY priority DESC, created_at, id
        ) AS place
        FROM jobs WHERE status = 'queued' AND (user_id, cargo_digest) IN (
            SELECT user_id, cargo_digest FROM jobs WHERE id = ANY(%(ids)s) AND status = 'queued'
        )
    ) AS lines
    WHERE id = ANY(%(ids)s) ORDER BY id
"""
# A job's id begins with its time.
HELD_LATELY: Final = """
    SELECT cargo_digest, extract(epoch FROM ended_at - started_at)::float8 AS held_s
    FROM (SELECT * FROM jobs WHERE status = 'succeeded' ORDER BY id DESC LIMIT %(limit)s) AS newest
    WHERE started_at IS NOT NULL AND ended_at IS NOT NULL ORDER BY id
"""


class PostgresLines:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def all(self, limit: int) -> list[Line]:
        return [
            Line(
                LineKey(row["user_id"], row["cargo_digest"]),
                row["queued"],
                row["running"],
                row["since"],
            )
            for row in await every(self._connection, ALL, {"limit": limit})
        ]

    async def before(self, job: Job) -> int:
        values = {
            "user": job.user_id,
            "digest": job.cargo_digest,
            "priority": job.priority,
            "created_at": job.created_at,
            "id": job.id,
        }
        row = await one(self._connection, BEFORE, values)
        assert row is not None
        return int(row["count"])

    async def standing(self, jobs: Sequence[JobId]) -> list[Standing]:
        return [
            Standing(
                row["id"],
                LineKey(row["user_id"], row["cargo_digest"]),
                row["before"],
                row["created_at"],
            )
            for row in await every(self._connection, STANDING, {"ids": list(jobs)})
        ]

    async def held_lately(self, limit: int) -> list[tuple[CargoDigest, float]]:
        rows = await every(self._connection, HELD_LATELY, {"limit": limit})
        return [(row["cargo_digest"], row["held_s"]) for row in rows]
