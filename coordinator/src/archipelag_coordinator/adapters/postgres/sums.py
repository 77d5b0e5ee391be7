"""What is added up for people, in PostgreSQL: each question one statement over an index, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from archipelag_contracts.ids import IslandId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.adapters.postgres.rows import Connection, every
from archipelag_coordinator.domain.health import Chore
from archipelag_coordinator.domain.ledger import AccountId
from archipelag_coordinator.domain.sums import (
    Days,
    EarnedBy,
    EarnedSum,
    Moved,
    Place,
    Spent,
    SpentBy,
    Work,
)

_SPENT_GROUPS: Final = {
    SpentBy.DAY: "to_char(ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    SpentBy.KEY: "key_id",
    SpentBy.WORKLOAD: "cargo_slug",
}
_SPENT: Final = """
    SELECT s.*, k.name FROM (
        SELECT {group} COLLATE "C" AS of, count(*) AS jobs,
            coalesce(sum(prompt_tokens) FILTER (WHERE status <> 'failed'), 0)::bigint AS prompt_tokens,
            coalesce(sum(output_items) FILTER (WHERE status <> 'failed'), 0)::bigint AS output_items,
            sum(charged)::bigint AS charged
        FROM jobs WHERE user_id = %(user)s AND ended_at >= %(since)s AND ended_at < %(until)s
        GROUP BY 1
    ) AS s LEFT JOIN api_keys k ON {by_key} AND k.id = s.of
    ORDER BY s.of NULLS FIRST
"""
SPENT: Final = {
    by: _SPENT.format(group=group, by_key="true" if by is SpentBy.KEY else "false")
    for by, group in _SPENT_GROUPS.items()
}
# One look at an index for each attempt: a join would read everybody's pay.
_EARNED: Final = """
    WITH ended AS MATERIALIZED (
        SELECT u.*, {group} COLLATE "C" AS of FROM usage u {join}
        WHERE u.island_id = %(island)s AND u.at >= %(since)s AND u.at < %(until)s
    )
    SELECT e.of, count(*) AS attempts, count(*) FILTER (WHERE e.cause = 'completed') AS completed,
        sum(e.next_position - e.first_position)::bigint AS output_items,
        sum(e.prompt_tokens)::bigint AS prompt_tokens, sum(e.wall_ms)::bigint AS wall_ms,
        coalesce(sum(p.charged), 0)::bigint AS charged,
        coalesce(sum(p.insured), 0)::bigint AS insured, coalesce(sum(p.owed), 0)::bigint AS owed
    FROM ended e CROSS JOIN LATERAL (
        SELECT sum(amount) FILTER (WHERE kind = 'charge') AS charged,
            sum(amount) FILTER (WHERE kind = 'insured') AS insured,
            sum(amount) FILTER (WHERE kind = 'owed') AS owed
        FROM pays WHERE job_id = e.job_id AND epoch = e.epoch
    ) AS p
    GROUP BY e.of ORDER BY e.of
"""
EARNED: Final = {
    EarnedBy.DAY: _EARNED.format(group="to_char(u.at AT TIME ZONE 'UTC', 'YYYY-MM-DD')", join=""),
    EarnedBy.WORKLOAD: _EARNED.format(group="j.cargo_slug", join="JOIN jobs j ON j.id = u.job_id"),
}
# Balances are kept as they are now: going back from there, each entry is taken off again. One statement, hence one
# snapshot. The first comparison finds the place in the index, the second is exact where several entries have one time.
MOVED: Final = """
    WITH place AS (
        SELECT coalesce(%(at)s, 'infinity'::timestamptz) AS at, %(transfer)s::text COLLATE "C" AS transfer_id,
            %(account)s::text COLLATE "C" AS account_id
    ), mine AS (
        SELECT a.id, a.balance - coalesce((
            SELECT sum(e.amount) FROM entries e WHERE e.account_id = a.id AND e.at >= place.at
                AND (e.at, e.transfer_id, e.account_id) >= (place.at, place.transfer_id, place.account_id)
        ), 0) AS balance, place.at, place.transfer_id, place.account_id
        FROM accounts a, place WHERE a.id = ANY(%(accounts)s)
    ), page AS (
        SELECT e.*, m.balance - coalesce(sum(e.amount) OVER (
            PARTITION BY m.id ORDER BY e.at DESC, e.transfer_id DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS balance_after
        FROM mine m CROSS JOIN LATERAL (
            SELECT * FROM entries WHERE account_id = m.id AND at <= m.at
                AND (at, transfer_id, account_id) < (m.at, m.transfer_id, m.account_id)
            ORDER BY at DESC, transfer_id DESC LIMIT %(limit)s
        ) AS e
    )
    SELECT p.transfer_id, p.account_id, p.at, p.amount, p.balance_after::bigint AS balance_after,
        t.job_id, j.key_id, t.note
    FROM page p JOIN transfers t ON t.id = p.transfer_id
        LEFT JOIN jobs j ON j.id = t.job_id AND j.user_id = %(user)s
    ORDER BY p.at DESC, p.transfer_id DESC, p.account_id DESC LIMIT %(limit)s
"""


WORK: Final = """
    SELECT cargo_slug AS workload, count(*) FILTER (WHERE status = 'queued') AS queued,
        count(*) FILTER (WHERE status = 'running') AS running,
        min(created_at) FILTER (WHERE status = 'queued') AS oldest_at
    FROM jobs WHERE status IN ('queued', 'running')
    GROUP BY cargo_slug ORDER BY cargo_slug COLLATE "C"
"""


# Rows of the library that runs them.
CHORES: Final = """
    SELECT task_name AS name, status::text AS status, count(*) AS count,
        min(scheduled_at) AS oldest_at, max(attempts) AS attempts_max
    FROM procrastinate_jobs WHERE status <> 'succeeded'
    GROUP BY task_name, status ORDER BY task_name COLLATE "C", status::text COLLATE "C"
"""


class PostgresSums:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def spent(self, user: UserId, days: Days, by: SpentBy) -> list[Spent]:
        values = {"user": user, "since": days.since, "until": days.until}
        return [
            Spent(
                group=row["of"],
                name=row["name"],
                jobs=row["jobs"],
                prompt_tokens=row["prompt_tokens"],
                output_items=row["output_items"],
                charged=Ucredits(row["charged"]),
            )
            for row in await every(self._connection, SPENT[by], values)
        ]

    async def earned(self, island: IslandId, days: Days, by: EarnedBy) -> list[EarnedSum]:
        values = {"island": island, "since": days.since, "until": days.until}
        rows = await every(self._connection, EARNED[by], values)
        return [EarnedSum(group=row.pop("of"), **row) for row in rows]

    async def work(self) -> list[Work]:
        return [Work(**row) for row in await every(self._connection, WORK, {})]

    async def chores(self) -> list[Chore]:
        return [Chore(**row) for row in await every(self._connection, CHORES, {})]

    async def moved(
        self, user: UserId, accounts: Sequence[AccountId], *, before: Place | None, limit: int
    ) -> list[Moved]:
        values = {
            "user": user,
            "accounts": list(accounts),
            "at": before.at if before else None,
            "transfer": before.transfer_id if before else "",
            "account": before.account_id if before else "",
            "limit": limit,
        }
        return [Moved(**row) for row in await every(self._connection, MOVED, values)]
