"""The ledger in PostgreSQL: a posting locks its rows, in one order for everybody, and is then one statement.

The order is: reservation, platform accounts by id, other accounts by id (and only then, by the verbs, API keys). Two
postings can therefore wait for each other's end, never for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from archipelag_contracts.ids import JobId

from archipelag_coordinator.adapters.postgres import parts
from archipelag_coordinator.adapters.postgres.rows import (
    Connection,
    Row,
    changed,
    every,
    later,
    one,
    plain,
)
from archipelag_coordinator.domain.ledger import (
    MAY_OVERDRAW,
    Account,
    AccountId,
    Reservation,
    ReservationStatus,
    Transfer,
)
from archipelag_coordinator.errors import AlreadyPosted, InsufficientCredits

_LOCK_ORDER: Final = "a.id NOT LIKE 'platform:%%', a.id"

ACCOUNT: Final = """
    SELECT coalesce(sum(balance), 0)::bigint AS balance, coalesce(sum(held), 0)::bigint AS held
    FROM accounts WHERE id = ANY(%(parts)s)
"""
AVAILABLE: Final = (
    "SELECT id, balance - held AS available FROM accounts WHERE id = ANY(%(accounts)s)"
)
OPEN: Final = """
    INSERT INTO accounts (id)
    SELECT a.id FROM unnest(%(accounts)s::text[]) AS a (id) ORDER BY a.id COLLATE "C"
    ON CONFLICT (id) DO NOTHING
"""
# A statement of its own, before the one that decides: that one then sees every row as it is now. Locking and deciding
# in one statement let a balance from before the wait through now and then (tests/integration/test_ledger_storm.py).
LOCK: Final = f"""
    WITH pending AS MATERIALIZED (
        SELECT account_id FROM reservations
        WHERE job_id = %(reserved_for)s AND status = 'pending' FOR NO KEY UPDATE
    )
    SELECT FROM accounts a
    WHERE a.id = ANY(%(accounts)s::text[] || ARRAY(SELECT account_id::text FROM pending))
        AND (SELECT count(*) FROM accounts WHERE id = ANY(%(accounts)s::text[]))
            = cardinality(%(accounts)s::text[])
    ORDER BY {_LOCK_ORDER} FOR NO KEY UPDATE
"""
# Posts a transfer, and with it ends a reservation where one is named: all of it, or nothing and the reason.
POST: Final = """
    WITH pending AS MATERIALIZED (
        SELECT account_id, amount FROM reservations
        WHERE job_id = %(reserved_for)s AND status = 'pending'
    ), wanted AS MATERIALIZED (
        SELECT id, sum(amount)::bigint AS amount, sum(released)::bigint AS released FROM (
            SELECT id COLLATE "C" AS id, amount, 0 AS released
            FROM unnest(%(accounts)s::text[], %(amounts)s::bigint[]) AS w (id, amount)
            UNION ALL SELECT account_id, 0, amount FROM pending
        ) AS parts
        WHERE %(reserved_for)s::text IS NULL OR EXISTS (SELECT FROM pending)
        GROUP BY id
    ), locked AS MATERIALIZED (
        SELECT a.id, a.balance - a.held AS available, w.amount, w.released
        FROM accounts a JOIN wanted w ON w.id = a.id
    ), refused AS MATERIALIZED (
        SELECT id, -amount AS required, available + released AS available FROM locked
        WHERE amount < 0 AND available + released + amount < 0 AND id <> ALL(%(may_overdraw)s)
        ORDER BY id LIMIT 1
    ), posted AS (
        INSERT INTO transfers (id, at, job_id, note)
        SELECT %(id)s, %(at)s, %(job)s, %(note)s
        WHERE (SELECT count(*) FROM locked) = (SELECT count(*) FROM wanted)
            AND EXISTS (SELECT FROM wanted) AND NOT EXISTS (SELECT FROM refused)
        ON CONFLICT (id) DO NOTHING RETURNING id
    ), written AS (
        INSERT INTO entries (transfer_id, account_id, amount, at)
        SELECT posted.id, locked.id, locked.amount, %(at)s FROM posted, locked
        WHERE locked.amount <> 0
    ), paid AS (
        INSERT INTO pays (job_id, epoch, kind, owner_id, amount, at)
        SELECT %(job)s, p.epoch, %(pay_kind)s, p.owner_id, p.amount, %(at)s
        FROM posted, unnest(%(pay_epochs)s::int[], %(pay_owners)s::text[], %(pay_amounts)s::bigint[])
            AS p (epoch, owner_id, amount)
    ), ended AS (
        UPDATE reservations SET status = 'posted' FROM posted
        WHERE job_id = %(reserved_for)s AND status = 'pending'
    ), moved AS (
        UPDATE accounts a SET balance = a.balance + locked.amount, held = a.held - locked.released
        FROM locked, posted WHERE a.id = locked.id
    )
    SELECT EXISTS (SELECT FROM posted) AS posted, EXISTS (SELECT FROM pending) AS pending,
        (SELECT count(*) FROM wanted) - (SELECT count(*) FROM locked) AS missing,
        (SELECT id FROM refused) AS refused, (SELECT required FROM refused) AS required,
        (SELECT available FROM refused) AS available
"""
ENTRIES: Final = "SELECT account_id, amount FROM entries WHERE transfer_id = %(id)s"
# Refused by the account's own guard, so that it can go with the COMMIT: an account that many use at once is locked for
# no round trip of ours.
RESERVE: Final = """
    WITH kept AS (
        INSERT INTO reservations (job_id, account_id, amount, status, created_at, expires_at)
        VALUES (%(job)s, %(account)s, %(amount)s, 'pending', %(created_at)s, %(expires_at)s)
        ON CONFLICT (job_id) DO NOTHING RETURNING amount
    )
    UPDATE accounts a SET held = a.held + kept.amount FROM kept WHERE a.id = %(account)s
"""
RELEASE: Final = """
    WITH ended AS (
        UPDATE reservations SET status = %(status)s
        WHERE job_id = %(job)s AND status = 'pending' RETURNING account_id, amount
    )
    UPDATE accounts a SET held = a.held - ended.amount FROM ended WHERE a.id = ended.account_id
"""
EXPIRE: Final = f"""
    WITH late AS MATERIALIZED (
        SELECT r.job_id FROM reservations r LEFT JOIN jobs j ON j.id = r.job_id
        WHERE r.status = 'pending' AND r.expires_at <= %(now)s
            AND (j.id IS NULL OR j.status NOT IN ('queued', 'running'))
        ORDER BY r.expires_at, r.job_id LIMIT %(limit)s FOR NO KEY UPDATE OF r SKIP LOCKED
    ), ended AS (
        UPDATE reservations r SET status = 'expired' FROM late
        WHERE r.job_id = late.job_id AND r.status = 'pending'
        RETURNING r.job_id, r.account_id, r.amount, r.expires_at
    ), sums AS MATERIALIZED (
        SELECT account_id, sum(amount)::bigint AS amount FROM ended GROUP BY account_id
    ), locked AS MATERIALIZED (
        SELECT a.id, sums.amount FROM accounts a JOIN sums ON sums.account_id = a.id
        ORDER BY {_LOCK_ORDER} FOR NO KEY UPDATE OF a
    ), moved AS (
        UPDATE accounts a SET held = a.held - locked.amount FROM locked WHERE a.id = locked.id
    )
    SELECT job_id FROM ended ORDER BY expires_at, job_id
"""
RESERVATION: Final = "SELECT * FROM reservations WHERE job_id = %(job)s"
_TRANSFERS: Final = """
    SELECT t.*, (SELECT jsonb_object_agg(e.account_id, e.amount::text) FROM entries e
        WHERE e.transfer_id = t.id) AS entries
    FROM transfers t JOIN (
        SELECT transfer_id FROM entries {of}
        ORDER BY at DESC, transfer_id DESC LIMIT %(limit)s OFFSET %(offset)s
    ) AS page ON page.transfer_id = t.id
    ORDER BY t.at DESC, t.id DESC
"""
TRANSFERS_OF: Final = _TRANSFERS.format(of="WHERE account_id = %(account)s")
TRANSFERS_OF_PARTED: Final = _TRANSFERS.format(
    of="WHERE account_id = ANY(%(parts)s) GROUP BY at, transfer_id"
)
# One statement, hence one snapshot: balances and entries of the same moment.
REBUILD: Final = """
    WITH moved AS (SELECT account_id, sum(amount) AS balance FROM entries GROUP BY account_id),
    pending AS (
        SELECT account_id, sum(amount) AS held FROM reservations WHERE status = 'pending'
        GROUP BY account_id
    )
    SELECT a.id, a.balance AS kept_balance, a.held AS kept_held,
        coalesce(moved.balance, 0)::bigint AS balance, coalesce(pending.held, 0)::bigint AS held
    FROM accounts a LEFT JOIN moved ON moved.account_id = a.id
        LEFT JOIN pending ON pending.account_id = a.id
    WHERE a.balance <> coalesce(moved.balance, 0) OR a.held <> coalesce(pending.held, 0)
    ORDER BY a.id
"""


class PostgresLedger:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def account(self, account: AccountId) -> Account:
        row = await one(self._connection, ACCOUNT, {"parts": parts.parts_of(account)})
        assert row is not None
        return Account(account, row["balance"], row["held"])

    async def transfer(self, transfer: Transfer) -> bool:
        row = await self._post(transfer, None)
        return bool(row["posted"]) or not await self._stands(transfer)

    async def reserve(self, reservation: Reservation) -> None:
        assert reservation.account_id not in parts.PARTED, (
            "a platform account pays, it holds nothing"
        )
        values = {
            "job": reservation.job_id,
            "account": reservation.account_id,
            "accounts": [reservation.account_id],
            "reserved_for": None,
            "amount": reservation.amount,
            "created_at": reservation.created_at,
            "expires_at": reservation.expires_at,
        }
        if not reservation.amount:
            # Whoever has no account has nothing, which is enough.
            later(self._connection, OPEN, values)
        later(self._connection, LOCK, values)
        later(self._connection, RESERVE, values, partial(self._lacking, reservation))

    async def _lacking(self, reservation: Reservation) -> InsufficientCredits:
        account = await self.account(reservation.account_id)
        return InsufficientCredits(reservation.amount, account.available)

    async def post(self, job: JobId, transfer: Transfer | None) -> bool:
        if transfer is None:
            return await self._release(job, ReservationStatus.POSTED)
        row = await self._post(transfer, job)
        if not row["pending"] or row["posted"]:
            return bool(row["posted"])
        await self._stands(transfer)
        return await self._release(job, ReservationStatus.POSTED)

    async def void(self, job: JobId) -> bool:
        return await self._release(job, ReservationStatus.VOIDED)

    async def lock(self, job: JobId, accounts: Iterable[AccountId]) -> None:
        wanted = sorted({row for account in accounts for row in parts.locked_for(account, job)})
        # Missing accounts first: opening one while others are locked could deadlock.
        await changed(self._connection, OPEN, {"accounts": wanted})
        await changed(self._connection, LOCK, {"accounts": wanted, "reserved_for": job})

    async def expire(self, now: datetime, limit: int) -> list[JobId]:
        rows = await every(self._connection, EXPIRE, {"now": now, "limit": limit})
        return [row["job_id"] for row in rows]

    async def reservation(self, job: JobId) -> Reservation | None:
        row = await one(self._connection, RESERVATION, {"job": job})
        return Reservation(**row | {"status": ReservationStatus(row["status"])}) if row else None

    async def transfers_of(self, account: AccountId, *, limit: int, offset: int) -> list[Transfer]:
        of_parts = parts.parts_of(account)
        values = {"account": account, "parts": of_parts, "limit": limit, "offset": offset}
        statement = TRANSFERS_OF if len(of_parts) == 1 else TRANSFERS_OF_PARTED
        return [_transfer(row) for row in await every(self._connection, statement, values)]

    async def rebuild(self) -> list[tuple[Account, Account]]:
        return [
            (
                Account(row["id"], row["kept_balance"], row["kept_held"]),
                Account(row["id"], row["balance"], row["held"]),
            )
            for row in await every(self._connection, REBUILD, {})
        ]

    async def _post(self, transfer: Transfer, reserved_for: JobId | None) -> Row:
        """What POST says, after opening accounts that are used for the first time."""
        available = await self._parts_paid_from(transfer, reserved_for)
        rows = parts.rows_of(transfer, available)
        values = {
            "reserved_for": reserved_for,
            "accounts": list(rows),
            "amounts": list(rows.values()),
            "may_overdraw": sorted(MAY_OVERDRAW),
            "id": transfer.id,
            "at": transfer.at,
            "job": transfer.job_id,
            "note": plain(transfer.note),
            "pay_kind": transfer.pays[0].kind.value if transfer.pays else None,
            "pay_epochs": [pay.epoch for pay in transfer.pays],
            "pay_owners": [pay.owner_id for pay in transfer.pays],
            "pay_amounts": [pay.amount for pay in transfer.pays],
        }
        row = await self._lock_and(POST, values)
        if row["missing"]:
            await changed(self._connection, OPEN, {"accounts": sorted(rows)})
            row = await self._lock_and(POST, values)
        if row["required"] is not None and not await self._stands(transfer):
            if row["refused"] in parts.PARTED:
                had = sum(available[part] for part in parts.parts_of(row["refused"]))
                raise InsufficientCredits(-transfer.entries[row["refused"]], had)
            raise InsufficientCredits(row["required"], row["available"])
        return row

    async def _parts_paid_from(
        self, transfer: Transfer, reserved_for: JobId | None
    ) -> dict[AccountId, int]:
        """What each part of the parted accounts has that this transfer takes from, locked with all that it touches."""
        paying = parts.paid_out(transfer)
        if not paying:
            return {}
        wanted = parts.names(paying)
        others = [parts.part_for(a, transfer) for a in transfer.entries if a not in paying]
        accounts = sorted([*wanted, *others])
        # Missing accounts first: opening one while others are locked could deadlock.
        await changed(self._connection, OPEN, {"accounts": accounts})
        values = {"accounts": accounts, "reserved_for": reserved_for}
        await changed(self._connection, LOCK, values)
        rows = await every(self._connection, AVAILABLE, {"accounts": wanted})
        return {row["id"]: row["available"] for row in rows}

    async def _lock_and(self, statement: str, values: Mapping[str, Any]) -> Row:
        later(self._connection, LOCK, values)
        row = await one(self._connection, statement, values)
        assert row is not None
        return row

    async def _stands(self, transfer: Transfer) -> bool:
        """Whether this transfer is posted already. Raises AlreadyPosted when another one has its id."""
        rows = await every(self._connection, ENTRIES, {"id": transfer.id})
        standing = parts.whole((row["account_id"], row["amount"]) for row in rows)
        if standing and standing != dict(transfer.entries):
            raise AlreadyPosted(f"{transfer.id} stands with other entries")
        return bool(standing)

    async def _release(self, job: JobId, status: ReservationStatus) -> bool:
        values = {"job": job, "status": status.value}
        return await changed(self._connection, RELEASE, values) > 0


def _transfer(row: Mapping[str, Any]) -> Transfer:
    entries = parts.whole((name, int(amount)) for name, amount in row["entries"].items())
    return Transfer(row["id"], entries, row["at"], row["job_id"], row["note"])
