"""Helper of the benchmarks: how many commits a second this very PostgreSQL gives to its own pgbench.

Each is one INSERT of an entry and one UPDATE of an account's balance, in one durable transaction: the least that a
posting can be, without a check that anything is right.
"""

from __future__ import annotations

import math
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from archipelag_embedded.postgres import installed
from figures import Beside

TABLES: Final = """
    CREATE SCHEMA bench;
    CREATE TABLE bench.accounts (id int PRIMARY KEY, balance bigint NOT NULL);
    CREATE TABLE bench.entries (id bigserial PRIMARY KEY, account int NOT NULL, amount bigint NOT NULL);
"""
POSTING: Final = r"""
    \set account random(1, :accounts)
    BEGIN;
    INSERT INTO bench.entries (account, amount) VALUES (:account, 1);
    UPDATE bench.accounts SET balance = balance + 1 WHERE id = :account;
    END;
"""
SECONDS_MIN: Final = 1
"""Whole seconds are all that it knows."""
RATE: Final = re.compile(r"tps = ([\d.]+)")


def raw_commits(dsn: str, *, at_once: int, seconds: float, accounts: int = 1) -> Beside:
    """Postings a second of so many connections, over so many accounts."""
    length = ("-T", str(max(SECONDS_MIN, round(seconds))))
    with _tables(dsn, accounts), tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(POSTING)
        script.flush()
        program = [str(installed() / "bin" / "pgbench"), "-n", "-M", "prepared", "-f", script.name]
        program += ["-c", str(at_once), "-D", f"accounts={accounts}", *length, dsn]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"pgbench failed:\n{done.stderr}")
    # It says none where its time was over before the first commit.
    found = RATE.search(done.stdout)
    return Beside("pgbench", float(found[1]) if found else math.nan)


@contextmanager
def _tables(dsn: str, accounts: int) -> Iterator[None]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLES)
        connection.execute(
            "INSERT INTO bench.accounts SELECT number, 0 FROM generate_series(1, %s) AS number",
            [accounts],
        )
        try:
            yield
        finally:
            connection.execute("DROP SCHEMA bench CASCADE")
