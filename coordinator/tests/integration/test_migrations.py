"""Two lines of revisions: one before the new code starts, one after the old code is gone."""

import shutil

import psycopg
import pytest
from archipelag_coordinator.adapters.postgres.migrate import HERE, Stage, heads, migrate, missing

REVISION = """
from alembic import op
revision = {name!r}
down_revision = {before!r}
depends_on = {depends!r}
def upgrade():
    op.execute({sql!r})
"""


def write(folder, name, sql, before=None, depends=None):
    text = REVISION.format(name=name, before=before, depends=depends, sql=sql)
    (folder / "versions" / f"{name}.py").write_text(text)


@pytest.fixture
def here(tmp_path):
    """The same machinery, with revisions of the test's own."""
    (tmp_path / "versions").mkdir()
    shutil.copy(HERE / "env.py", tmp_path)
    write(tmp_path, "pre_0001", "CREATE TABLE a (x int)")
    write(tmp_path, "pre_0002", "ALTER TABLE a ADD COLUMN y int", "pre_0001")
    return tmp_path


@pytest.fixture
def postgres_template():
    return "template0"


def standing(dsn):
    with psycopg.connect(dsn) as database:
        found = database.execute("SELECT version_num FROM alembic_version").fetchall()
        columns = database.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'a' ORDER BY 1"
        ).fetchall()
    return {name for (name,) in found}, "".join(name for (name,) in columns)


def test_what_takes_away_waits_until_it_is_asked_for(here, postgres_dsn):
    write(here, "post_0001", "ALTER TABLE a DROP COLUMN x", depends="pre_0002")

    migrate(postgres_dsn, here=here)
    assert standing(postgres_dsn) == ({"pre_0002"}, "xy")
    assert missing({"pre_0002"}, here) == {Stage.PRE: [], Stage.POST: ["post_0001"]}
    migrate(postgres_dsn, stage=Stage.POST, here=here)

    names, columns = standing(postgres_dsn)
    assert columns == "y"
    assert missing(names, here) == {Stage.PRE: [], Stage.POST: []}


def test_the_next_version_goes_on_from_there(here, postgres_dsn):
    write(here, "post_0001", "ALTER TABLE a DROP COLUMN x", depends="pre_0002")
    migrate(postgres_dsn, stage=Stage.POST, here=here)
    write(here, "pre_0003", "ALTER TABLE a ADD COLUMN z int", "pre_0002")
    write(here, "post_0002", "ALTER TABLE a DROP COLUMN y", "post_0001", "pre_0003")

    assert missing(standing(postgres_dsn)[0], here)[Stage.PRE] == ["pre_0003"]
    migrate(postgres_dsn, here=here)
    assert standing(postgres_dsn)[1] == "yz"
    for _ in range(2):
        migrate(postgres_dsn, stage=Stage.POST, here=here)

    names, columns = standing(postgres_dsn)
    assert columns == "z" and missing(names, here)[Stage.POST] == []


def test_post_brings_pre_along(here, postgres_dsn):
    write(here, "post_0001", "ALTER TABLE a DROP COLUMN x", depends="pre_0002")

    migrate(postgres_dsn, stage=Stage.POST, here=here)

    assert standing(postgres_dsn)[1] == "y"


def test_a_name_that_is_not_known_is_named(here):
    with pytest.raises(KeyError, match="pre_9999"):
        missing({"pre_9999"}, here)


def test_two_ends_of_one_line_are_refused(here):
    write(here, "pre_0003_one", "SELECT 1", "pre_0002")
    write(here, "pre_0003_two", "SELECT 1", "pre_0002")

    with pytest.raises(AssertionError, match="one line"):
        heads(Stage.PRE, here)


def test_ours_are_one_line_each():
    assert len(heads(Stage.PRE)) == 1
    assert len(heads(Stage.POST)) <= 1
