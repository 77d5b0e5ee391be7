"""Migrations that stand before the new code leave the old code what it needs, or say why it does not stumble."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from . import old_code

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ROOT / "coordinator/src/archipelag_coordinator/adapters/postgres/migrations/versions"
BEFORE_ANY_RELEASE = 13
"""Up to this number no older code runs anywhere."""
# Migration → what of it the old code does not stumble over, and why. The words are those of the complaint.
REASONED: Mapping[str, Mapping[str, str]] = {}


def sql_of(path: Path) -> str:
    """A revision's SQL: its file, or what it runs itself."""
    beside = path.with_suffix(".sql")
    return beside.read_text("utf-8") if beside.exists() else path.read_text("utf-8")


def revisions(stage: str) -> list[Path]:
    return sorted(VERSIONS.glob(f"{stage}_*.py"))


def test_the_old_code_works_on_every_pre_migration() -> None:
    found = []
    for path in revisions("pre"):
        number = int(path.stem.split("_")[1])
        reasons = REASONED.get(path.stem, {})
        for said in old_code.complaints(sql_of(path)) if number > BEFORE_ANY_RELEASE else ():
            found += [] if any(words in said for words in reasons) else [f"{path.stem}: {said}"]

    assert found == [], (
        "make it a `post_` one, or say in REASONED why the old code does not stumble"
    )
    assert len(revisions("pre")) >= BEFORE_ANY_RELEASE


def test_every_post_migration_names_the_pre_one_that_it_follows() -> None:
    for path in revisions("post"):
        assert re.search(r'^depends_on = "pre_\w+"$', path.read_text(), re.M), path.stem


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE jobs DROP COLUMN home",
        "ALTER TABLE jobs DROP home",
        "ALTER TABLE jobs RENAME COLUMN home TO relay",
        "ALTER TABLE jobs RENAME TO work",
        "ALTER TABLE jobs ALTER COLUMN input TYPE text",
        "ALTER TABLE jobs ALTER input SET NOT NULL",
        "ALTER TABLE jobs ALTER COLUMN priority DROP DEFAULT",
        "ALTER TABLE jobs ADD COLUMN region text NOT NULL",
        "ALTER TABLE jobs ADD region text NOT NULL CHECK (region <> '')",
        "ALTER TABLE jobs ADD COLUMN a text,\n  ADD COLUMN b text NOT NULL",
        "ALTER TABLE jobs ADD CONSTRAINT short CHECK (length(output) < 9)",
        "DROP TABLE jobs",
        "drop view whole_accounts",
        "TRUNCATE rates",
        "CREATE UNIQUE INDEX once ON jobs (user_id)",
        "ALTER TABLE jobs ADD COLUMN n text DEFAULT ''; CREATE UNIQUE INDEX once ON jobs (n)",
        "CREATE TRIGGER no BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION no()",
    ],
)
def test_what_the_old_code_would_stumble_over_is_found(sql: str) -> None:
    assert list(old_code.complaints(f"SELECT 1;\n{sql};"))


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE jobs ADD COLUMN region text",
        "ALTER TABLE jobs ADD COLUMN region text NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('simple', error)) STORED NOT NULL",
        "ALTER TABLE jobs ALTER COLUMN note DROP NOT NULL",
        "ALTER TABLE jobs ADD CONSTRAINT short CHECK (length(output) < 9) NOT VALID",
        "CREATE TABLE new (a text NOT NULL); ALTER TABLE new ADD b text NOT NULL; CREATE UNIQUE INDEX i ON new (a)",
        "CREATE INDEX slow ON jobs (home)",
        "ALTER TABLE jobs ADD COLUMN wish text; CREATE UNIQUE INDEX once ON jobs (user_id, wish)",
        "-- DROP TABLE jobs\nSELECT 1",
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DROP TABLE jobs; END $$",
        "INSERT INTO notes VALUES ('a; DROP TABLE jobs')",
    ],
)
def test_what_it_does_not_notice_is_let_through(sql: str) -> None:
    assert list(old_code.complaints(f"{sql};")) == []
