"""Enrolment over real gRPC, and a broker that knows this Island by its own key alone."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import nats.errors
import pytest
from archipelag_contracts.ending import end_tasks
from archipelag_contracts.signing import SigningKey
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.enrolment import GrpcEnrolment
from archipelag_island.adapters.identity import Home
from archipelag_island.adapters.link import Credentials, NatsLink
from archipelag_island.agent import CANCEL_AGAIN_S
from archipelag_island.domain.capability import Capabilities
from archipelag_island.errors import (
    AlreadyRunning,
    BadSettings,
    CoordinatorUnreachable,
    EnrolmentRefused,
)
from archipelag_island.services.enrol import enrol
from archipelag_island.testing.builders import ISLAND

from .doors import Desk, JwtBroker

CAPABILITIES = Capabilities("1", "linux", "x86_64", 1, (), 1, 1, (), (), ())


def client(desk: Desk, key: SigningKey | None = None) -> GrpcEnrolment:
    return GrpcEnrolment(f"127.0.0.1:{desk.port}", key or SigningKey.generate())


async def test_enrols_renews_and_keeps_what_it_got(desk: Desk, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    enrolment = client(desk, home.key())

    standing = await enrol(enrolment, "GOOD234", "my machine", CAPABILITIES, Random(1))
    home.save(standing)
    renewed = await enrolment.renew(ISLAND)

    assert home.load() == standing
    assert renewed.island_id == ISLAND
    assert not standing.approved
    assert desk.seen[0].name == "my machine"
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "home" / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "home" / "identity.json").stat().st_mode & 0o777 == 0o600
    assert Home(tmp_path / "home").key().public == desk.seen[0].public_key


@pytest.mark.parametrize(
    ("code", "used", "words"),
    [("WRONG23", False, "not known"), ("GOOD234", True, "used or has expired")],
)
async def test_refusal_says_what_to_do(desk: Desk, code: str, used: bool, words: str) -> None:
    desk.used = used

    with pytest.raises(EnrolmentRefused, match=words) as caught:
        await enrol(client(desk), code, "x", CAPABILITIES, Random(1))

    assert "new one" in str(caught.value)


async def test_why_nobody_answers_is_told_in_plain_words(desk: Desk) -> None:
    for address, words in (
        ("127.0.0.1:1", "nothing listens there; check the address"),
        (f"https://127.0.0.1:{desk.port}", "it speaks no TLS there, so leave https:// away;"),
    ):
        with pytest.raises(CoordinatorUnreachable, match=words):
            await GrpcEnrolment(address, SigningKey.generate()).reachable()


async def test_suspended_island_is_told(desk: Desk) -> None:
    desk.suspended = True

    with pytest.raises(EnrolmentRefused, match="suspended"):
        await client(desk).renew(ISLAND)


async def test_coordinator_that_is_away_is_worth_another_try() -> None:
    with pytest.raises(CoordinatorUnreachable, match="ARCHIPELAG_COORDINATOR"):
        await GrpcEnrolment("127.0.0.1:1", SigningKey.generate()).renew(ISLAND)


def test_two_agents_never_share_a_home(tmp_path: Path) -> None:
    first, second = Home(tmp_path), Home(tmp_path)
    first.lock()

    with pytest.raises(AlreadyRunning):
        second.lock()

    first.unlock()
    second.lock()
    second.unlock()


def test_broken_key_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("not a key")

    with pytest.raises(BadSettings, match="enrol anew"):
        Home(tmp_path).key()

    assert (tmp_path / "key").read_text() == "not a key"


# --- a broker in operator mode ---------------------------------------------------------------------------------


@dataclass
class Line:
    """A link and what it called back."""

    key: SigningKey
    url: str
    jwt: str
    up: asyncio.Event = field(default_factory=asyncio.Event)
    refused: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self) -> NatsLink:
        return NatsLink(
            island=ISLAND,
            key=self.key,
            credentials=lambda: Credentials((self.url,), self.jwt, ()),
            accept=lambda _: None,
            room=lambda _: None,
            cancel=lambda _: True,
            up=self.up.set,
            refused=self.refused.set,
            chance=Random(1),
        )


async def run_until(link: NatsLink, *events: asyncio.Event) -> asyncio.Task[None]:
    task = asyncio.create_task(link.run())
    async with asyncio.timeout(PATIENCE_S):
        for event in events:
            await event.wait()
    return task


async def end(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await end_tasks([task], CANCEL_AGAIN_S)


async def test_broker_knows_the_island_by_its_own_key(jwt_broker: JwtBroker) -> None:
    key = SigningKey.generate()
    line = Line(key, jwt_broker.url, jwt_broker.admit(key))

    task = await run_until(line.open(), line.up)

    assert not line.refused.is_set()
    await end(task)


async def test_stolen_credentials_are_worth_nothing_without_the_key(
    jwt_broker: JwtBroker,
) -> None:
    owner, thief = SigningKey.generate(), SigningKey.generate()
    line = Line(thief, jwt_broker.url, jwt_broker.admit(owner))

    task = await run_until(line.open(), line.refused)

    assert not line.up.is_set()
    await end(task)


@asynccontextmanager
async def resetting() -> AsyncIterator[str]:
    """A broker's address that refuses everybody, and resets the line in the same moment."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"nonce": "AAAAAAAAAAA", "auth_required": true}\r\n')
        await reader.readuntil(b"PING\r\n")
        writer.write(b"-ERR 'Authorization Violation'\r\n")
        door = writer.get_extra_info("socket")
        door.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_island_ends_in_the_moment_of_its_refusal() -> None:
    async with resetting() as url:
        line = Line(SigningKey.generate(), url, "jwt")
        task = await run_until(line.open(), line.refused)

        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_S)

    assert task.cancelled()


async def test_ended_credentials_are_refused_and_fresh_ones_taken(jwt_broker: JwtBroker) -> None:
    key = SigningKey.generate()
    line = Line(key, jwt_broker.url, jwt_broker.admit(key, lasts_s=2))

    task = await run_until(line.open(), line.up, line.refused)
    line.up.clear()
    line.jwt = jwt_broker.admit(key)
    async with asyncio.timeout(PATIENCE_S):
        await line.up.wait()

    await end(task)


async def test_hostile_broker_gets_no_signature_over_a_message_of_ours() -> None:
    link = Line(SigningKey.generate(), "nats://127.0.0.1:1", "jwt").open()

    for wanted in ("archipelag.v1.renew\nn\nisl", "archipelag.v1.Report\n\n", "", "x" * 65):
        with pytest.raises(nats.errors.Error, match="not a nonce"):
            link._sign(wanted)
