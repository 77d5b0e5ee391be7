"""People on the real database: who tampers with the audit log is found, and two who come at once are told apart."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from archipelag_contracts.units import Ucredits
from archipelag_coordinator import commands
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.config import Settings
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.errors import Conflict, LastAdministrator, LinkNotValid
from archipelag_coordinator.services import people
from archipelag_coordinator.services.audit import check_audit, read_audit
from archipelag_coordinator.services.sign_in import ask_for_link, sign_in
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing.builders import HOME, a_session, a_user
from archipelag_coordinator.testing.fakes import (
    START,
    FakeBroker,
    FakeChunkRelay,
    FakeClock,
    FakeIslandBus,
    FakeMail,
    SequenceIds,
)

Database = psycopg.Connection[Any]


@pytest.fixture
def mail() -> FakeMail:
    return FakeMail()


@pytest.fixture
def world(store: PostgresStore, mail: FakeMail) -> World:
    return World(
        store=store,
        door=store,
        clock=FakeClock(),
        ids=SequenceIds(),
        bus=FakeIslandBus(),
        relay=FakeChunkRelay(),
        broker=FakeBroker(),
        home=HOME,
        mail=mail,
        policy=Policy(sign_in_mails_per_minute=1_000, sign_up_ucredits=Ucredits(500)),
    )


async def test_who_adds_somebody_at_the_command_line_stands_in_the_log(
    postgres_dsn: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "mallory")

    settings = Settings(postgres_dsn, "", Path())
    await commands.add_user(settings, "ada@example.org", "5", None, Role.OPERATOR)
    await commands.add_user(settings, "ada@example.org", "5", None)

    noted = (await read_audit(world, limit=10))[::-1]
    assert [one.act for one in noted] == ["user.add", "user.grant", "key.add", "key.add"]
    by = {one.actor for one in noted}
    assert by == {commands.operator()} and pwd.getpwuid(os.getuid()).pw_name in str(by)
    assert "mallory" not in str(by)
    assert (await check_audit(world)).broken_at is None


async def a_log(world: World, count: int = 6) -> None:
    async with world.store.begin() as tx:
        admin, user = a_user(role=Role.ADMIN), a_user()
        await tx.users.add(admin)
        await tx.users.add(user)
    for number in range(count):
        verb = people.restore_user if number % 2 else people.suspend_user
        await verb(world, admin.id, user.id)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET detail = 'x' WHERE number = 3",
        "DELETE FROM audit_log WHERE number = 6",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
        "INSERT INTO audit_head (single, number, hash) VALUES (false, 0, decode(repeat('00', 32), 'hex'))",
        "INSERT INTO audit_log SELECT 9, at, actor, act, subject, detail, previous, hash FROM audit_log "
        "WHERE number = 6",
        "INSERT INTO audit_log SELECT 7, at, actor, act, subject, detail, previous, hash FROM audit_log "
        "WHERE number = 6",
    ],
)
async def test_the_database_only_ever_adds_to_the_log(
    world: World, database: Database, statement: str
) -> None:
    await a_log(world)

    with pytest.raises(psycopg.IntegrityError):
        database.execute(statement.encode())

    checked = await check_audit(world)
    assert (checked.entries, checked.broken_at) == (6, None)


OFF = "ALTER TABLE audit_log DISABLE TRIGGER USER; ALTER TABLE audit_head DISABLE TRIGGER USER;"


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("UPDATE audit_log SET detail = 'x' WHERE number = 3", 3),
        ("UPDATE audit_log SET at = at + interval '1 microsecond' WHERE number = 6", 6),
        ("UPDATE audit_log SET actor = 'usr_x' WHERE number = 1", 1),
        ("DELETE FROM audit_log WHERE number = 3", 3),
        ("DELETE FROM audit_log WHERE number = 1", 1),
        ("DELETE FROM audit_log WHERE number = 6", 6),
        ("DELETE FROM audit_log", 1),
        # Swapped, by their numbers only and with everything but those.
        (
            "UPDATE audit_log SET number = 100 WHERE number = 3; UPDATE audit_log SET number = 3 WHERE number = 4; "
            "UPDATE audit_log SET number = 4 WHERE number = 100",
            3,
        ),
        # Removed, and those after it moved up.
        (
            "DELETE FROM audit_log WHERE number = 3; UPDATE audit_log SET number = -number WHERE number > 3; "
            "UPDATE audit_log SET number = -number - 1 WHERE number < 0; UPDATE audit_head SET number = 5",
            3,
        ),
        ("UPDATE audit_head SET hash = decode(repeat('07', 32), 'hex')", 6),
    ],
)
async def test_whoever_gets_past_the_guards_is_found(
    world: World, database: Database, tampering: str, found: int
) -> None:
    await a_log(world)
    database.execute(f"{OFF} ALTER TABLE audit_log DROP CONSTRAINT audit_log_number_check".encode())

    database.execute(tampering.encode())

    assert (await check_audit(world)).broken_at == found


async def test_of_two_who_use_a_link_at_once_one_gets_in(world: World, mail: FakeMail) -> None:
    await ask_for_link(world, "ada@example.org", "/", client="192.0.2.1")

    outcomes = await asyncio.gather(
        *(sign_in(world, mail.link, "") for _ in range(8)), return_exceptions=True
    )

    kinds = Counter(type(outcome).__name__ for outcome in outcomes)
    assert kinds == {"SignedIn": 1, LinkNotValid.__name__: 7}


async def test_of_many_who_come_first_one_is_the_administrator(
    world: World, mail: FakeMail, database: Database
) -> None:
    links = []
    for number in range(12):
        # Three links to each of four addresses.
        await ask_for_link(world, f"a{number % 4}@example.org", "/", client="192.0.2.1")
        links.append(mail.link)

    await asyncio.gather(*(sign_in(world, link, "") for link in links))

    roles = database.execute("SELECT role, count(*) FROM users GROUP BY role").fetchall()
    assert dict(roles) == {"admin": 1, "user": 3}
    given = database.execute("SELECT balance FROM accounts WHERE id LIKE 'user:%'").fetchall()
    assert given == [(500,)] * 4


async def test_of_two_administrators_who_demote_each_other_one_is_left(world: World) -> None:
    one, two = a_user(role=Role.ADMIN), a_user(role=Role.ADMIN)
    async with world.store.begin() as tx:
        await tx.users.add(one)
        await tx.users.add(two)

    # Again and again: the two must meet in the middle for it to go wrong.
    for _ in range(15):
        outcomes = await asyncio.gather(
            people.set_role(world, one.id, two.id, Role.USER),
            people.set_role(world, two.id, one.id, Role.USER),
            return_exceptions=True,
        )
        kinds = Counter(type(outcome).__name__ for outcome in outcomes)
        assert kinds == {"User": 1, LastAdministrator.__name__: 1}
        async with world.store.begin() as tx:
            await tx.users.save(one)
            await tx.users.save(two)

    assert (await check_audit(world)).entries == 15


async def test_a_session_without_an_end_is_refused(store: PostgresStore) -> None:
    user = a_user()
    async with store.begin() as tx:
        await tx.users.add(user)

    with pytest.raises(Conflict, match="sessions_expire"):
        async with store.begin() as tx:
            await tx.keys.add(a_session(user, expires_at=None))


async def test_the_door_knows_a_session_and_its_browser(store: PostgresStore) -> None:
    user = a_user()
    session = a_session(user, user_agent="A browser")
    async with store.begin() as tx:
        await tx.users.add(user)
        await tx.keys.add(session)

    admission = await store.admit(session.hash, START, 10)

    assert admission is not None
    assert admission.key == replace(session, last_used_at=START)
