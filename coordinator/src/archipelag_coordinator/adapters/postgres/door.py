"""Who is it, and do they ask too often: one round trip, counted where all Coordinators count."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archipelag_coordinator.adapters.postgres.rows import Connection, Row, changed, one
from archipelag_coordinator.adapters.postgres.users import key_of, user_of
from archipelag_coordinator.domain import rate
from archipelag_coordinator.services.ports import Admission

# One more in the bucket, as domain/rate.py has it, after those that passed uncounted: what does not fit into a minute
# is refused and not counted.
_POUR: Final = """
    ON CONFLICT (bucket) DO UPDATE SET drain_us = excluded.drain_us,
        allowed = greatest(r.empty_at, %(now_us)s) + excluded.drain_us * (%(passed)s + 1) <= %(now_us)s + %(window_us)s,
        empty_at = greatest(r.empty_at, %(now_us)s) + excluded.drain_us * (%(passed)s
            + CASE WHEN greatest(r.empty_at, %(now_us)s) + excluded.drain_us * (%(passed)s + 1)
                <= %(now_us)s + %(window_us)s THEN 1 ELSE 0 END)
    RETURNING empty_at, allowed
"""
ADMIT: Final = f"""
    WITH caller AS MATERIALIZED (
        SELECT k.*, u.email, u.role, u.suspended, u.created_at AS user_created_at,
            coalesce(k.rate_per_minute, %(per_minute)s) AS rate_limit
        FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.hash = %(hash)s
    ), used AS (
        -- Skips a key that a posting has locked: whether it was used is known to the minute anyway.
        UPDATE api_keys SET last_used_at = %(now)s WHERE id = (
            SELECT k.id FROM api_keys k WHERE k.id = (SELECT id FROM caller)
                AND (k.last_used_at IS NULL OR k.last_used_at <= %(now)s - %(used_every)s)
            FOR NO KEY UPDATE SKIP LOCKED
        ) RETURNING last_used_at
    ), poured AS (
        INSERT INTO rates AS r (bucket, drain_us, empty_at, allowed)
        SELECT 'key:' || id, %(window_us)s / rate_limit,
            %(now_us)s + %(window_us)s / rate_limit * (%(passed)s + 1), true
        FROM caller {_POUR}
    )
    SELECT caller.*, poured.*, (SELECT last_used_at FROM used) AS used_now FROM caller, poured
"""
COUNT: Final = f"""
    INSERT INTO rates AS r (bucket, drain_us, empty_at, allowed)
    VALUES (%(bucket)s, %(drain_us)s, %(now_us)s + %(drain_us)s, true) {_POUR}
"""
PRUNE: Final = "DELETE FROM rates WHERE empty_at < %(now_us)s"


async def admit(
    connection: Connection, key_hash: bytes, now: datetime, per_minute: int, passed: int
) -> Admission | None:
    values = _times(now) | {
        "hash": key_hash,
        "per_minute": per_minute,
        "passed": passed,
        "used_every": rate.LAST_USED_EVERY,
    }
    row = await one(connection, ADMIT, values)
    if row is None:
        return None
    limit = row["rate_limit"]
    taken = rate.taken(row["empty_at"], rate.microseconds(now), limit, allowed=row["allowed"])
    key = key_of(row | {"last_used_at": row["used_now"] or row["last_used_at"]})
    user = user_of(row | {"id": row["user_id"], "created_at": row["user_created_at"]})
    return Admission(key, user, limit, taken.remaining, taken.reset_s, taken.retry_after_s)


async def count(
    connection: Connection, bucket: str, now: datetime, per_minute: int
) -> float | None:
    values = _times(now) | {"bucket": bucket, "drain_us": rate.drain_us(per_minute), "passed": 0}
    row = await one(connection, COUNT, values)
    assert row is not None
    return _taken(row, now, per_minute).retry_after_s


async def prune(connection: Connection, now: datetime) -> int:
    """Removes buckets that are empty; they start anew when they are needed."""
    return await changed(connection, PRUNE, _times(now))


def _taken(row: Row, now: datetime, per_minute: int) -> rate.Taken:
    return rate.taken(row["empty_at"], rate.microseconds(now), per_minute, allowed=row["allowed"])


def _times(now: datetime) -> dict[str, object]:
    return {"now": now, "now_us": rate.microseconds(now), "window_us": rate.WINDOW_US}
