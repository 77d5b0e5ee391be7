"""Islands and pairing codes in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

from archipelag_contracts.ids import IslandId, UserId
from archipelag_contracts.manifest import Price

from archipelag_coordinator.adapters.postgres.rows import (
    BIGINT_MAX,
    INTEGER_MAX,
    Connection,
    assigns,
    at_most,
    changed,
    every,
    finite,
    inserts,
    jsonb,
    one,
    plain,
)
from archipelag_coordinator.domain.island import (
    MOVES,
    Glance,
    Island,
    IslandStatus,
    Offer,
    PairingCode,
)
from archipelag_coordinator.domain.wishes import NO_WISHES, Wishes
from archipelag_coordinator.errors import IllegalMove, NotFound, PairingRefused

_BEAT: Final = (
    "status",
    "region",
    "capabilities",
    "boot_id",
    "sequence",
    "seen_at",
    "offers",
    "slots",
    "broker_rtt_ms",
    "load",
)
_FIELDS: Final = ("id", "owner_id", "name", "public_key", "approved", "created_at", *_BEAT)
_OFFER: Final = frozenset(field.name for field in fields(Offer))
_ENDED: Final = "('suspended', 'retired', 'banned')"

ADD: Final = f"""
    WITH added AS (SELECT CASE WHEN %(status)s IN {_ENDED} THEN now() END AS cut_off_at)
    INSERT INTO islands ({", ".join(_FIELDS)}, cut_off_at)
    SELECT {", ".join(f"%({name})s" for name in _FIELDS)}, cut_off_at FROM added
"""
ISLAND: Final = "SELECT * FROM islands WHERE id = %(id)s"
LOCKED: Final = "SELECT * FROM islands WHERE id = %(id)s FOR NO KEY UPDATE"
BY_PUBLIC_KEY: Final = "SELECT * FROM islands WHERE public_key = %(public_key)s"
ALL: Final = "SELECT * FROM islands WHERE status NOT IN ('retired', 'banned') ORDER BY id"
# One row of four arrays: ten thousand rows would cost ten times as much to read.
GLANCES: Final = """
    SELECT coalesce(array_agg(id), '{}') AS ids, array_agg(status) AS statuses,
        array_agg(approved) AS approved,
        array_agg(coalesce(extract(epoch FROM seen_at), 0)::double precision) AS seen,
        array_agg(coalesce((wishes->>'version')::bigint, 0)) AS wishes
    FROM (SELECT * FROM islands WHERE status NOT IN ('retired', 'banned') ORDER BY id) AS standing
"""
SEVERAL: Final = """
    SELECT * FROM islands WHERE id = ANY(%(ids)s) AND status NOT IN ('retired', 'banned') ORDER BY id
"""
OF_OWNER: Final = """
    SELECT * FROM islands WHERE owner_id = %(owner)s AND status NOT IN ('retired', 'banned') ORDER BY id
"""
SAVE: Final = f"""
    UPDATE islands SET name = %(name)s, approved = %(approved)s, {assigns(_BEAT)},
        cut_off_at = CASE WHEN %(status)s IN {_ENDED} THEN coalesce(cut_off_at, now()) END
    WHERE id = %(id)s AND status = ANY(%(froms)s)
"""
# In order of id, so that two batches never wait for each other. An operator's word is never overwritten.
SAVE_BEATS: Final = f"""
    WITH beats AS (
        SELECT * FROM jsonb_to_recordset(%(beats)s) AS b (
            id text, status text, region text, capabilities jsonb, boot_id text, sequence bigint,
            seen_at timestamptz, offers jsonb, slots integer, broker_rtt_ms double precision,
            load double precision)
    ), locked AS (
        SELECT i.id FROM islands i JOIN beats b ON b.id = i.id COLLATE "C"
        WHERE i.status NOT IN {_ENDED} AND (i.seen_at IS NULL OR i.seen_at <= b.seen_at)
        ORDER BY i.id FOR NO KEY UPDATE OF i
    )
    UPDATE islands i SET {", ".join(f"{name} = b.{name}" for name in _BEAT)}
    FROM locked, beats b WHERE i.id = locked.id AND b.id = i.id COLLATE "C"
"""
SAVE_WISHES: Final = "UPDATE islands SET wishes = %(wishes)s WHERE id = %(id)s"
CUT_OFF: Final = "SELECT public_key, cut_off_at FROM islands WHERE cut_off_at IS NOT NULL"

ADD_CODE: Final = inserts("pairing_codes", ("code", "owner_id", "expires_at", "used_by"))
TAKE_CODE: Final = """
    UPDATE pairing_codes SET used_by = %(island)s
    WHERE code = %(code)s AND used_by IS NULL AND expires_at > %(now)s RETURNING *
"""
CODE: Final = "SELECT * FROM pairing_codes WHERE code = %(code)s"


class PostgresIslands:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, island: Island) -> None:
        await changed(self._connection, ADD, _values(island))

    async def get(self, island: IslandId) -> Island | None:
        row = await one(self._connection, ISLAND, {"id": island})
        return _island(row) if row else None

    async def lock(self, island: IslandId) -> Island | None:
        row = await one(self._connection, LOCKED, {"id": island})
        return _island(row) if row else None

    async def by_public_key(self, public_key: bytes) -> Island | None:
        row = await one(self._connection, BY_PUBLIC_KEY, {"public_key": public_key})
        return _island(row) if row else None

    async def all(self) -> list[Island]:
        return [_island(row) for row in await every(self._connection, ALL, {})]

    async def glances(self) -> list[Glance]:
        row = await one(self._connection, GLANCES, {})
        if not row or not row["ids"]:
            return []
        columns = (row["ids"], row["statuses"], row["approved"], row["seen"], row["wishes"])
        return [Glance(*said) for said in zip(*columns, strict=True)]

    async def several(self, islands: Sequence[IslandId]) -> list[Island]:
        if not islands:
            return []
        return [
            _island(row) for row in await every(self._connection, SEVERAL, {"ids": list(islands)})
        ]

    async def of_owner(self, owner: UserId) -> list[Island]:
        return [_island(row) for row in await every(self._connection, OF_OWNER, {"owner": owner})]

    async def save(self, island: Island) -> None:
        froms = [s.value for s in IslandStatus if island.status in MOVES[s]]
        values = _values(island) | {"froms": [*froms, island.status.value]}
        if await changed(self._connection, SAVE, values):
            return
        stored = await self.get(island.id)
        if stored is None:
            raise NotFound("Island", island.id)
        raise IllegalMove("island", stored.status, island.status)

    async def save_wishes(self, island: Island) -> None:
        values = {"id": island.id, "wishes": jsonb(_told(island.wishes))}
        if not await changed(self._connection, SAVE_WISHES, values):
            raise NotFound("Island", island.id)

    async def save_beats(self, islands: Sequence[Island]) -> None:
        beats = [_beat(island) for island in islands if island.may_connect]
        if beats:
            await changed(self._connection, SAVE_BEATS, {"beats": jsonb(beats)})

    async def cut_off(self) -> Mapping[bytes, datetime]:
        rows = await every(self._connection, CUT_OFF, {})
        return {row["public_key"]: row["cut_off_at"] for row in rows}

    async def add_code(self, code: PairingCode) -> None:
        await changed(self._connection, ADD_CODE, asdict(code))

    async def take_code(self, code: str, island: IslandId, now: datetime) -> PairingCode:
        values = {"code": plain(code), "island": island, "now": now}
        row = await one(self._connection, TAKE_CODE, values)
        if row is None:
            standing = await one(self._connection, CODE, values)
            if standing is None:
                raise PairingRefused("is unknown")
            raise PairingRefused("was used already" if standing["used_by"] else "has expired")
        return PairingCode(**row)


def _values(island: Island) -> dict[str, Any]:
    values = {name: getattr(island, name) for name in _FIELDS}
    beat = _beat(island) | {
        "capabilities": jsonb(island.capabilities),
        "offers": jsonb([vars(offer) for offer in island.offers]),
        "seen_at": island.seen_at,
    }
    return values | beat | {"name": plain(island.name)}


def _beat(island: Island) -> dict[str, Any]:
    """What heartbeats say, within what the columns hold: an Island may say anything."""
    return {
        "id": island.id,
        "status": island.status.value,
        "region": plain(island.region),
        "capabilities": island.capabilities,
        "boot_id": plain(island.boot_id),
        "sequence": at_most(island.sequence, BIGINT_MAX),
        "seen_at": island.seen_at.isoformat() if island.seen_at else None,
        "offers": [vars(offer) for offer in island.offers],
        "slots": at_most(island.slots, INTEGER_MAX),
        "broker_rtt_ms": finite(island.broker_rtt_ms),
        "load": finite(island.load),
    }


def _island(row: Mapping[str, Any]) -> Island:
    values = {name: row[name] for name in _FIELDS}
    # A newer Coordinator beside this one may say more of an offer than is known here.
    offers = tuple(
        Offer(
            **{name: value for name, value in offer.items() if name in _OFFER}
            | {"prefixes": tuple(offer.get("prefixes", ()))}
        )
        for offer in row["offers"]
    )
    known = {"status": IslandStatus(row["status"]), "offers": offers, "wishes": _wishes(row)}
    return Island(**values | known)


def _told(wishes: Wishes) -> dict[str, Any]:
    """`hours` as a hexadecimal number: JSON's own are too small for a week."""
    return {
        "version": wishes.version,
        "draining": wishes.draining,
        "hours": f"{wishes.hours:x}",
        "least": {slug: asdict(price) for slug, price in wishes.least.items()},
    }


def _wishes(row: Mapping[str, Any]) -> Wishes:
    told = row.get("wishes")
    if told is None:
        return NO_WISHES
    least = {slug: Price(**price) for slug, price in told["least"].items()}
    return Wishes(told["version"], told["draining"], int(told["hours"], 16), least)
