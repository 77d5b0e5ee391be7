"""What a network holds when nobody uses it, counted: after a crowd has gone, it is what it was before."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.chaos.network import Network

from . import gauges

HELD: Final = {
    "jobs that have not ended": "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')",
    "attempts that have not ended": (
        "SELECT count(*) FROM attempts WHERE status IN ('assigned', 'running')"
    ),
    "reservations held": "SELECT count(*) FROM reservations WHERE status = 'pending'",
    "credits held": "SELECT coalesce(sum(held), 0)::bigint FROM accounts",
    "PostgreSQL: connections of clients": (
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    ),
    "transactions left open": (
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
    ),
}
SIZES: Final = """
    SELECT c.relname, c.reltuples::bigint, pg_total_relation_size(c.oid) FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind = 'r' AND pg_total_relation_size(c.oid) > 1000000
    ORDER BY 3 DESC LIMIT 12
"""


def held(network: Network) -> dict[str, int]:
    """By what it is. What belongs to one process is counted for its part, since another may have come in its place."""
    told = {f"{part}: open files": files for part, files in _open_files(network).items()}
    told |= _broker(network.watched[0])
    told |= {f"{island.name}: files": _files(island.home) for island in network.islands}
    told |= {f"{island.name}: runs": _runs(island.home) for island in network.islands}
    with psycopg.connect(network.database_url()) as connection:
        for name, query in HELD.items():
            row = connection.execute(query).fetchone()
            assert row is not None
            told[name] = row[0]
    return told


def more(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """What there is more of now, with both counts; what was not there before, too."""
    return {
        name: (before.get(name, 0), count)
        for name, count in now.items()
        if count > before.get(name, 0)
    }


def sizes(network: Network) -> list[tuple[str, int, int]]:
    """The large tables: rows, about, and bytes with indexes."""
    with psycopg.connect(network.database_url(), autocommit=True) as connection:
        connection.execute("ANALYZE")
        return connection.execute(SIZES).fetchall()


def _open_files(network: Network) -> dict[str, int]:
    """Not PostgreSQL's: each of its connections opens what it reads."""
    taken = gauges.samples(gauges.roots(network), began=0.0)
    return {one.part: one.open_files for one in taken if one.part != "PostgreSQL"}


def _broker(port: int) -> dict[str, int]:
    """Connections, subscriptions and consumers that NATS knows."""
    varz, jsz = _ask(port, "/varz"), _ask(port, "/jsz?accounts=true&streams=true&consumers=true")
    told = {
        "NATS: connections": varz["connections"],
        "NATS: subscriptions": varz["subscriptions"],
    }
    for account in jsz.get("account_details") or ():
        for stream in account.get("stream_detail") or ():
            name = stream["name"]
            told[f"NATS: consumers of {name}"] = stream["state"]["consumer_count"]
            if name == "REPORTS":
                told[f"NATS: messages in {name}"] = stream["state"]["messages"]
    return told


def _ask(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def _files(home: Path) -> int:
    return sum(1 for path in home.rglob("*") if path.is_file())


def _runs(home: Path) -> int:
    """What an Island says that it runs."""
    told = json.loads((home / "status.json").read_text())
    return len(told.get("runs") or ())
