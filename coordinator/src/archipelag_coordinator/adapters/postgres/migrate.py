"""Brings a database to the newest schema; safe when several Coordinators start at once.

There are two lines of revisions: those named `pre_…` must stand before new code starts, and the version before works on
them as well; those named `post_…` take away what only that version needed, and each names the `pre_…` that it follows
in `depends_on`. So Coordinators can be replaced one by one: `pre`, then the programs, then `post`.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import to_tuple

LOCK: Final = (
    0x41524348_00000001  # "ARCH": advisory locks are numbers, shared by all who use the database
)
HERE: Final = Path(__file__).parent / "migrations"


class Stage(StrEnum):
    PRE = "pre"
    """Before the new code starts; the old code works on it."""
    POST = "post"
    """Once no old code runs any more; after `pre`."""


def migrate(
    dsn: str, *, stage: Stage = Stage.PRE, to: str | None = None, here: Path = HERE
) -> None:
    """Applies what is missing, up to the revision `to` if one is named. Waits while another process does the same, and
    then finds nothing to do."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(dsn),
        poolclass=sqlalchemy.pool.NullPool,
    )
    config = config_of(here)
    stages = (Stage.PRE,) if stage is Stage.PRE else (Stage.PRE, Stage.POST)
    with psycopg.connect(dsn, autocommit=True) as guard:
        # Held by this connection, so that it is let go however this process ends.
        guard.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        for one in [to] if to else [head for stage in stages for head in heads(stage, here)]:
            # A connection for each: one that has only looked would keep its transaction open, and the next step in it.
            with engine.connect() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, one)


def heads(stage: Stage, here: Path = HERE) -> list[str]:
    """The newest revision of that line; none where it has not begun."""
    found = {
        script.revision: script.down_revision
        for script in ScriptDirectory.from_config(config_of(here)).walk_revisions()
        if script.revision.startswith(f"{stage}_")
    }
    newest = sorted(set(found) - set(found.values()))
    assert len(newest) <= 1, f"one line of {stage} revisions, not {newest}"
    return newest


def missing(standing: set[str], here: Path = HERE) -> dict[Stage, list[str]]:
    """What a database lacks whose table of versions has these names. Raises KeyError with one that is not known."""
    scripts = {
        script.revision: script
        for script in ScriptDirectory.from_config(config_of(here)).walk_revisions()
    }
    applied: set[str] = set()
    open_ends = list(standing)
    while open_ends:
        name = open_ends.pop()
        if name not in applied:
            applied.add(name)
            script = scripts[name]
            open_ends += [*to_tuple(script.down_revision, ()), *to_tuple(script.dependencies, ())]
    lacking = sorted(set(scripts) - applied)
    return {stage: [one for one in lacking if one.startswith(f"{stage}_")] for stage in Stage}


def config_of(here: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(here).replace("%", "%%"))
    return config
