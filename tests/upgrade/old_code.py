"""Whether a migration that comes before the new code leaves the old code what it needs: a reading of its SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

NAME: Final = r'(?:"?\w+"?\.)?"?(\w+)"?'
BODY: Final = re.compile(r"\$(\w*)\$.*?\$\1\$", re.S)
COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.S)
TEXT: Final = re.compile(r"'(?:[^']|'')*'")
CREATED: Final = re.compile(rf"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?{NAME}", re.I)
ALTERED: Final = re.compile(rf"ALTER TABLE (?:IF EXISTS |ONLY )*{NAME}\s+(.*)", re.I | re.S)
INDEXED: Final = re.compile(rf"CREATE (UNIQUE )?INDEX (CONCURRENTLY )?.*?\bON {NAME}", re.I | re.S)
ADDED_EMPTY: Final = re.compile(
    r"ADD COLUMN (?:IF NOT EXISTS )?(\w+)(?![^,;]*(?:DEFAULT|GENERATED|NOT NULL))", re.I
)
TRIGGER: Final = re.compile(rf"CREATE (?:CONSTRAINT )?TRIGGER .*?\bON {NAME}", re.I | re.S)
# Part of an ALTER TABLE → what the old code would miss, or do in vain.
ACTIONS: Final = (
    (re.compile(r"DROP (COLUMN )?(?!CONSTRAINT|NOT NULL|DEFAULT|EXPRESSION|IDENTITY)", re.I), "takes a column away"),
    (re.compile(r"RENAME", re.I), "renames what the old code calls by its old name"),
    (re.compile(r"ALTER (COLUMN )?\S+ (SET DATA )?TYPE", re.I), "changes a type, and rewrites the table under a lock"),
    (re.compile(r"ALTER (COLUMN )?\S+ SET NOT NULL", re.I), "refuses rows that the old code writes"),
    (re.compile(r"ALTER (COLUMN )?\S+ DROP DEFAULT", re.I), "takes a default away that the old code relies upon"),
    (re.compile(r"ADD (COLUMN )?(?!CONSTRAINT)(?=.*NOT NULL)(?!.*(DEFAULT|GENERATED))", re.I | re.S),
     "adds a column that the old code leaves empty: give it a default"),
    (re.compile(r"ADD CONSTRAINT(?!.*NOT VALID)", re.I | re.S), "adds a constraint that the old code may break"),
)  # fmt: skip
STATEMENTS: Final = (
    (re.compile(r"DROP (TABLE|VIEW|MATERIALIZED|FUNCTION|TYPE|SEQUENCE|SCHEMA)", re.I),
     "takes away what the old code uses"),
    (re.compile(r"TRUNCATE", re.I), "empties a table"),
    (re.compile(r"ALTER (VIEW|FUNCTION|TYPE|SEQUENCE) .*RENAME", re.I | re.S), "renames what the old code uses"),
)  # fmt: skip


def complaints(sql: str) -> Iterator[str]:
    """What in these statements the old code might stumble over, in words."""
    sql = COMMENT.sub(" ", BODY.sub("''", sql))
    sql = TEXT.sub("''", sql)
    new: set[str] = set()
    # Columns that the old code leaves empty: nothing about them concerns its rows.
    empty = {one.lower() for one in ADDED_EMPTY.findall(sql)}
    for statement in (one.strip() for one in sql.split(";")):
        first = " ".join(statement.split())[:80]
        if created := CREATED.match(statement):
            new.add(created[1].lower())
            continue
        for pattern, why in STATEMENTS:
            if pattern.match(statement):
                yield f"`{first}` {why}"
        if (altered := ALTERED.match(statement)) and altered[1].lower() not in new:
            for action in parts(altered[2]):
                yield from (
                    f"`{action[:80]}` {why}" for pattern, why in ACTIONS if pattern.match(action)
                )
        indexed = INDEXED.match(statement)
        if (
            indexed
            and indexed[1]
            and indexed[3].lower() not in new
            and not empty & words(statement)
        ):
            yield f"`{first}` refuses rows that the old code may write"
        if (trigger := TRIGGER.match(statement)) and trigger[1].lower() not in new:
            yield f"`{first}` may refuse what the old code does"


def words(statement: str) -> set[str]:
    return set(re.findall(r"\w+", statement.lower()))


def parts(actions: str) -> Iterator[str]:
    """The actions of one ALTER TABLE, at commas that stand in no bracket."""
    depth, begun = 0, 0
    for at, sign in enumerate(actions):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            yield " ".join(actions[begun:at].split())
            begun = at + 1
    yield " ".join(actions[begun:].split())
