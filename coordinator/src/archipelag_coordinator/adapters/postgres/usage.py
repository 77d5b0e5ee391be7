"""What ended attempts used and were paid, in PostgreSQL. `attempts` and `ledger` write these rows with their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from archipelag_contracts.ids import IslandId, JobId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.adapters.postgres.rows import Connection, changed, every, one
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.ledger import Pay, PayKind
from archipelag_coordinator.domain.usage import Earned, UsageRow

OF_JOB: Final = "SELECT * FROM usage WHERE job_id = %(job)s ORDER BY epoch"
OF_ISLAND: Final = """
    SELECT * FROM usage WHERE island_id = %(island)s
    ORDER BY at DESC, job_id DESC, epoch DESC LIMIT %(limit)s OFFSET %(offset)s
"""
PAYS_OF: Final = "SELECT * FROM pays WHERE job_id = ANY(%(jobs)s) ORDER BY job_id, epoch, kind"
OWE: Final = """
    INSERT INTO pays (job_id, epoch, kind, owner_id, amount, at)
    VALUES (%(job)s, %(epoch)s, 'owed', %(owner)s, %(amount)s, %(at)s)
"""
# A lock of its own, and the sum in the statement after it: two settlements that read the same sum would both pay.
LOCK_OWNER: Final = "SELECT pg_advisory_xact_lock(hashtextextended('earned:' || %(owner)s, 0))"
EARNED: Final = """
    SELECT coalesce(sum(amount) FILTER (WHERE kind = 'charge'), 0)::bigint AS charged,
        coalesce(sum(amount) FILTER (WHERE kind = 'insured'), 0)::bigint AS insured
    FROM pays WHERE owner_id = %(owner)s AND at > %(since)s
"""


class PostgresUsages:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def of_job(self, job: JobId) -> list[UsageRow]:
        return [_usage(row) for row in await every(self._connection, OF_JOB, {"job": job})]

    async def of_island(self, island: IslandId, *, limit: int, offset: int) -> list[UsageRow]:
        values = {"island": island, "limit": limit, "offset": offset}
        return [_usage(row) for row in await every(self._connection, OF_ISLAND, values)]

    async def pays_of(self, jobs: Sequence[JobId]) -> list[Pay]:
        rows = await every(self._connection, PAYS_OF, {"jobs": list(jobs)})
        return [
            Pay(**row | {"kind": PayKind(row["kind"]), "amount": Ucredits(row["amount"])})
            for row in rows
        ]

    async def owe(self, pay: Pay) -> None:
        assert pay.kind is PayKind.OWED
        values = {
            "job": pay.job_id,
            "epoch": pay.epoch,
            "owner": pay.owner_id,
            "amount": pay.amount,
            "at": pay.at,
        }
        await changed(self._connection, OWE, values)

    async def earned(self, owner: UserId, since: datetime) -> Earned:
        values = {"owner": owner, "since": since}
        await one(self._connection, LOCK_OWNER, values)
        row = await one(self._connection, EARNED, values)
        assert row is not None
        return Earned(Ucredits(row["charged"]), Ucredits(row["insured"]))


def _usage(row: Mapping[str, Any]) -> UsageRow:
    return UsageRow(**row | {"cause": Cause(row["cause"])})  # type: ignore[operator]
