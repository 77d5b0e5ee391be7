"""The items of running answers in PostgreSQL: appended about once a second, read when another Coordinator goes on."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from archipelag_contracts.ids import JobId, RelayId

from archipelag_coordinator.adapters.postgres.rows import Connection, changed, every
from archipelag_coordinator.domain.items import Items, cut, cuts_of, joined
from archipelag_coordinator.services.ports import Said

# Only by the process whose job it is, and of the attempt that is current: whoever lost it must not mix in.
KEEP: Final = """
    INSERT INTO job_items (job_id, first_position, texts, cuts, tokens)
    SELECT s.job_id, s.first_position, s.texts, s.cuts, s.tokens
    FROM unnest(%(jobs)s::text[], %(epochs)s::int[], %(firsts)s::int[], %(texts)s::bytea[], %(cuts)s::bytea[],
                %(tokens)s::bytea[]) AS s (job_id, epoch, first_position, texts, cuts, tokens)
    JOIN jobs j ON j.id = s.job_id COLLATE "C" AND j.epoch = s.epoch AND j.home = %(home)s AND j.status = 'running'
    ON CONFLICT (job_id, first_position) DO UPDATE
        SET texts = excluded.texts, cuts = excluded.cuts, tokens = excluded.tokens
        WHERE octet_length(excluded.cuts) > octet_length(job_items.cuts)
"""
ITEMS: Final = "SELECT * FROM job_items WHERE job_id = %(job)s ORDER BY first_position"
ITEMS_OF_JOBS: Final = """
    SELECT * FROM job_items WHERE job_id = ANY(%(jobs)s) ORDER BY job_id, first_position
"""
FORGET: Final = "DELETE FROM job_items WHERE job_id = %(job)s AND first_position >= %(since)s"
PRUNE: Final = """
    DELETE FROM job_items USING (
        SELECT i.job_id, i.first_position FROM job_items i JOIN jobs j ON j.id = i.job_id
        WHERE j.status NOT IN ('queued', 'running') LIMIT %(limit)s
    ) AS old WHERE job_items.job_id = old.job_id AND job_items.first_position = old.first_position
"""


class PostgresItems:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def keep(self, home: RelayId, said: Sequence[Said]) -> None:
        if not said:
            return
        values: dict[str, Any] = {
            "home": home,
            "jobs": [one.job_id for one in said],
            "epochs": [one.epoch for one in said],
            "firsts": [one.items.first for one in said],
            "texts": ["".join(one.items.texts).encode("utf-8", "replace") for one in said],
            "cuts": [cuts_of(one.items.texts) for one in said],
            "tokens": [_packed(one.items.tokens) for one in said],
        }
        await changed(self._connection, KEEP, values)

    async def of_job(self, job: JobId) -> Items:
        return joined(_items(row) for row in await every(self._connection, ITEMS, {"job": job}))

    async def of_jobs(self, jobs: Sequence[JobId]) -> dict[JobId, Items]:
        pieces: dict[JobId, list[Items]] = {job: [] for job in jobs}
        for row in await every(self._connection, ITEMS_OF_JOBS, {"jobs": list(jobs)}):
            pieces[row["job_id"]].append(_items(row))
        return {job: joined(found) for job, found in pieces.items()}

    async def forget(self, job: JobId, *, since: int) -> None:
        await changed(self._connection, FORGET, {"job": job, "since": since})

    async def prune(self, limit: int) -> int:
        return await changed(self._connection, PRUNE, {"limit": limit})


def _packed(tokens: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(tokens)}I", *tokens) if any(tokens) else b""


def _items(row: Mapping[str, Any]) -> Items:
    texts = tuple(cut(bytes(row["texts"]).decode(), bytes(row["cuts"])))
    packed = bytes(row["tokens"])
    tokens = struct.unpack(f"<{len(packed) // 4}I", packed) if packed else (0,) * len(texts)
    return Items(row["first_position"], texts, tokens)
