"""Attempts and their leases in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId, UserId

from archipelag_coordinator.adapters.postgres.rows import (
    INTEGER_MAX,
    Connection,
    at_most,
    changed,
    every,
    inserts,
    jsonb,
    later,
    one,
    plain,
)
from archipelag_coordinator.domain.attempt import Attempt, AttemptKey, AttemptStatus, Cause, Usage
from archipelag_coordinator.domain.karma import note_of
from archipelag_coordinator.domain.placement import Given, Obstacle, Placement, Verdict
from archipelag_coordinator.domain.usage import usage_row
from archipelag_coordinator.errors import StaleAttempt

_FIELDS: Final = tuple(field.name for field in fields(Attempt))
_PLACEMENT: Final = frozenset(field.name for field in fields(Placement))
_UNFINISHED: Final = "('assigned', 'running')"
OWNER_UNKNOWN: Final = UserId("")
"""The statement finds the Island's owner itself."""

ADD: Final = inserts("attempts", _FIELDS)
ATTEMPT: Final = "SELECT * FROM attempts WHERE job_id = %(job)s AND epoch = %(epoch)s"
OF_JOB: Final = "SELECT * FROM attempts WHERE job_id = %(job)s ORDER BY epoch"
CURRENT: Final = """
    SELECT a.* FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.epoch = j.epoch
    WHERE j.id = ANY(%(jobs)s) ORDER BY a.job_id
"""
# A heartbeat that meanwhile called an assigned attempt running is no rival.
SAVE_GUARDED: Final = """
    UPDATE attempts SET status = %(status)s, lease_until = %(lease_until)s,
        started_at = coalesce(%(started_at)s, started_at), ended_at = %(ended_at)s,
        next_position = %(next_position)s, cause = %(cause)s, reason = %(reason)s, usage = %(usage)s,
        report = %(report)s
    WHERE job_id = %(job_id)s AND epoch = %(epoch)s
        AND (status = %(was)s OR (%(was)s = 'assigned' AND status = 'running'))
"""
# What an attempt used stands in the same statement as its end: no verb can end one and forget to bill it.
END_GUARDED: Final = f"""
    WITH ended AS ({SAVE_GUARDED} RETURNING job_id, epoch, island_id, first_position, next_position,
        cause, ended_at, (SELECT owner_id FROM islands WHERE id = island_id) AS owner_id
    ), used AS (
        INSERT INTO usage (job_id, epoch, island_id, owner_id, cause, first_position, next_position,
            prompt_tokens, reread_tokens, wall_ms, at)
        SELECT job_id, epoch, island_id, owner_id, cause, first_position, next_position,
            %(prompt_tokens)s, %(reread_tokens)s, %(wall_ms)s, ended_at FROM ended
    ), noted AS (
        INSERT INTO karma_notes (island_id, job_id, epoch, kind, points_ms, at)
        SELECT island_id, job_id, epoch, %(note)s, %(points_ms)s, ended_at FROM ended
        WHERE %(note)s::text IS NOT NULL
    )
    SELECT FROM ended
"""
# In order of the key, so that two heartbeats never wait for each other.
EXTEND: Final = f"""
    WITH held AS (
        SELECT a.job_id, a.epoch FROM attempts a
        JOIN unnest(%(jobs)s::text[], %(epochs)s::int[]) AS h (job_id, epoch)
            ON a.job_id = h.job_id COLLATE "C" AND a.epoch = h.epoch
        WHERE a.island_id = %(island)s AND a.status IN {_UNFINISHED}
        ORDER BY a.job_id, a.epoch FOR NO KEY UPDATE OF a
    )
    UPDATE attempts a SET status = 'running', started_at = coalesce(a.started_at, %(now)s),
        lease_until = greatest(a.lease_until, %(lease_until)s)
    FROM held WHERE a.job_id = held.job_id AND a.epoch = held.epoch
    RETURNING a.job_id, a.epoch
"""
EXPIRED: Final = f"""
    SELECT a.job_id, a.epoch FROM attempts a JOIN jobs j ON j.id = a.job_id
    WHERE a.status IN {_UNFINISHED} AND a.lease_until <= %(now)s AND j.home = %(home)s
    ORDER BY a.lease_until, a.job_id LIMIT %(limit)s
"""
BREAK_LEASES: Final = f"""
    WITH held AS (
        SELECT job_id, epoch FROM attempts WHERE island_id = %(island)s AND status IN {_UNFINISHED}
        ORDER BY job_id, epoch FOR NO KEY UPDATE
    )
    UPDATE attempts a SET lease_until = least(a.lease_until, %(now)s)
    FROM held WHERE a.job_id = held.job_id AND a.epoch = held.epoch
"""
UNFINISHED_OF: Final = f"""
    SELECT job_id, epoch FROM attempts WHERE island_id = %(island)s AND status IN {_UNFINISHED}
    ORDER BY job_id, epoch
"""


class PostgresAttempts:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, attempt: Attempt) -> None:
        later(self._connection, ADD, _values(attempt))

    async def get(self, job: JobId, epoch: Epoch) -> Attempt | None:
        row = await one(self._connection, ATTEMPT, {"job": job, "epoch": epoch})
        return _attempt(row) if row else None

    async def of_job(self, job: JobId) -> list[Attempt]:
        return [_attempt(row) for row in await every(self._connection, OF_JOB, {"job": job})]

    async def current(self, jobs: Sequence[JobId]) -> list[Attempt]:
        rows = await every(self._connection, CURRENT, {"jobs": list(jobs)})
        return [_attempt(row) for row in rows]

    async def save(self, attempt: Attempt, *, was: Attempt) -> None:
        assert (attempt.job_id, attempt.epoch) == (was.job_id, was.epoch)
        values = _moved(attempt) | {"was": was.status.value}
        statement = SAVE_GUARDED
        if attempt.finished:
            values |= _used(attempt)
            statement = END_GUARDED
        if not await changed(self._connection, statement, values):
            raise StaleAttempt(attempt.job_id, attempt.epoch)

    async def extend(
        self, island: IslandId, held: Sequence[AttemptKey], now: datetime, lease_until: datetime
    ) -> set[AttemptKey]:
        values = {
            "island": island,
            "jobs": [job for job, _ in held],
            "epochs": [at_most(epoch, INTEGER_MAX) for _, epoch in held],
            "now": now,
            "lease_until": lease_until,
        }
        return set(map(_key, await every(self._connection, EXTEND, values)))

    async def finished(self, island: IslandId, keys: Sequence[AttemptKey]) -> set[AttemptKey]:
        return set(keys) - set(await self.unfinished_of(island))

    async def expired(self, home: RelayId, now: datetime, limit: int) -> list[AttemptKey]:
        values = {"home": home, "now": now, "limit": limit}
        return [_key(row) for row in await every(self._connection, EXPIRED, values)]

    async def break_leases(self, island: IslandId, now: datetime) -> None:
        await changed(self._connection, BREAK_LEASES, {"island": island, "now": now})

    async def unfinished_of(self, island: IslandId) -> list[AttemptKey]:
        rows = await every(self._connection, UNFINISHED_OF, {"island": island})
        return [_key(row) for row in rows]


def _key(row: Mapping[str, Any]) -> AttemptKey:
    return (row["job_id"], row["epoch"])


def _values(attempt: Attempt) -> dict[str, Any]:
    placement = attempt.placement
    # By hand: dataclasses.asdict copies every string that is in it.
    shown = vars(placement) | {
        name: [vars(one) for one in getattr(placement, name)]
        for name in ("verdicts", "preferences", "kept_out")
    }
    return _moved(attempt) | {"placement": jsonb(shown)}


def _moved(attempt: Attempt) -> dict[str, Any]:
    """Without what no move changes."""
    values = {name: getattr(attempt, name) for name in _FIELDS}
    del values["placement"]
    return values | {
        "status": attempt.status.value,
        "cause": attempt.cause.value if attempt.cause else None,
        "reason": plain(attempt.reason),
        "usage": jsonb(vars(attempt.usage)),
    }


def _used(attempt: Attempt) -> dict[str, Any]:
    row = usage_row(attempt, OWNER_UNKNOWN)
    note = note_of(row)
    return {
        "prompt_tokens": at_most(row.prompt_tokens, INTEGER_MAX),
        "reread_tokens": at_most(row.reread_tokens, INTEGER_MAX),
        "wall_ms": row.wall_ms,
        "note": note.kind.value if note else None,
        "points_ms": note.points_ms if note else None,
    }


def _attempt(row: Mapping[str, Any]) -> Attempt:
    values = {name: row[name] for name in _FIELDS}
    # A newer Coordinator beside this one may say more of a placement than is known here.
    placement = {name: value for name, value in row["placement"].items() if name in _PLACEMENT}
    verdicts = tuple(Verdict(**verdict) for verdict in placement.pop("verdicts"))
    preferences = tuple(Given(**given) for given in placement.pop("preferences", ()))
    kept_out = tuple(Obstacle(**obstacle) for obstacle in placement.pop("kept_out", ()))
    return Attempt(
        **values
        | {
            "status": AttemptStatus(row["status"]),
            "placement": Placement(
                **placement, verdicts=verdicts, preferences=preferences, kept_out=kept_out
            ),
            "cause": Cause(row["cause"]) if row["cause"] else None,
            "usage": Usage(**row["usage"]),
        }
    )
