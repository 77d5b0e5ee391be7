"""Enrolment over real gRPC, and a broker that knows this Island by its own key alone."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import grpc
import grpc.aio
import nats.errors
import nkeys
import pytest
from archipelag_contracts import subjects
from archipelag_contracts.pb.archipelag.v1 import enrolment_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.enrolment_pb2_grpc import (
    EnrolmentServicer,
    add_EnrolmentServicer_to_server,
)
from archipelag_contracts.signing import SigningKey, verify
from archipelag_island.adapters.enrolment import GrpcEnrolment
from archipelag_island.adapters.identity import Home
from archipelag_island.adapters.link import Credentials, NatsLink
from archipelag_island.domain.capability import Capabilities
from archipelag_island.errors import (
    AlreadyRunning,
    BadSettings,
    CoordinatorUnreachable,
    EnrolmentRefused,
)
from archipelag_island.services.enrol import enrol
from archipelag_island.testing.builders import ISLAND

CAPABILITIES = Capabilities("1", "linux", "x86_64", 1, (), 1, 1, (), (), ())


@dataclass
class Desk(EnrolmentServicer):
    """Knows the one code GOOD234, once."""

    used: bool = False
    suspended: bool = False
    nonce: bytes = b"n" * 16
    seen: list[Any] = field(default_factory=list)
    port: int = 0

    async def Challenge(self, request: Any, context: Any) -> pb.ChallengeReply:  # noqa: N802
        return pb.ChallengeReply(nonce=self.nonce)

    async def Enrol(self, request: Any, context: Any) -> pb.EnrolReply:  # noqa: N802
        self.seen.append(request)
        signed = self.nonce + b"\n" + request.pairing_code.encode()
        verify(request.public_key, b"archipelag.v1.enrol\n", signed, request.signature)
        if request.pairing_code != "GOOD234":
            await context.abort(grpc.StatusCode.NOT_FOUND, "pairing code unknown")
        if self.used:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "pairing code used")
        self.used = True
        return self._reply()

    async def Renew(self, request: Any, context: Any) -> pb.EnrolReply:  # noqa: N802
        if self.suspended:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this Island is suspended")
        signed = self.nonce + b"\n" + request.island_id.encode()
        verify(self.seen[0].public_key, b"archipelag.v1.renew\n", signed, request.signature)
        return self._reply()

    def _reply(self) -> pb.EnrolReply:
        return pb.EnrolReply(
            island_id=ISLAND,
            broker_urls=["nats://127.0.0.1:4222"],
            broker_jwt="jwt",
            broker_jwt_expires_at=int(time.time()) + 3600,
            assignment_keys=[b"a" * 32],
            publisher_keys=[b"p" * 32],
            approved=False,
        )


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    server = grpc.aio.server()
    add_EnrolmentServicer_to_server(made, server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield made
    await server.stop(None)


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


def nkey(prefix: bytes) -> Any:
    return nkeys.from_seed(nkeys.encode_seed(SigningKey.generate().seed(), prefix))


def a_jwt(issuer: Any, subject: str, claims: dict[str, Any], expires: int = 0) -> str:
    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    body: dict[str, Any] = {
        "iat": int(time.time()), "iss": issuer.public_key.decode(), "sub": subject,
        "name": "test", "nats": {"version": 2, **claims},
    }  # fmt: skip
    if expires:
        body["exp"] = expires
    body["jti"] = hashlib.sha256(json.dumps(body).encode()).hexdigest()
    head = part(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    text = f"{head}.{part(json.dumps(body).encode())}"
    return f"{text}.{part(issuer.sign(text.encode()))}"


def user_subject(key: SigningKey) -> str:
    raw = bytes([nkeys.PREFIX_BYTE_USER]) + key.public
    raw += nkeys.crc16(bytearray(raw)).to_bytes(2, "little")
    return base64.b32encode(raw).decode().rstrip("=")


@dataclass
class JwtBroker:
    account: Any
    url: str

    def admit(self, key: SigningKey, lasts_s: int = 3600) -> str:
        claims = {
            "type": "user",
            "pub": {"allow": subjects.island_publishes(ISLAND)},
            "sub": {"allow": subjects.island_subscribes(ISLAND)},
            "subs": -1, "data": -1, "payload": -1,
        }  # fmt: skip
        return a_jwt(self.account, user_subject(key), claims, int(time.time()) + lasts_s)


@pytest.fixture
async def jwt_broker(tmp_path: Path) -> AsyncIterator[JwtBroker]:
    operator, account = nkey(nkeys.PREFIX_BYTE_OPERATOR), nkey(nkeys.PREFIX_BYTE_ACCOUNT)
    limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    account_jwt = a_jwt(
        operator,
        account.public_key.decode(),
        {"type": "account", "limits": {**limits, "wildcards": True}},
    )
    operator_jwt = a_jwt(operator, operator.public_key.decode(), {"type": "operator"})
    ports = tmp_path / "ports"
    ports.mkdir()
    config = tmp_path / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:-1"\nports_file_dir: "{ports}"\noperator: "{operator_jwt}"\nresolver: MEMORY\n'
        f'resolver_preload: {{ {account.public_key.decode()}: "{account_jwt}" }}\n'
    )
    server = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "nats-server"), "-c", str(config),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while True:
                files = list(ports.glob("*.ports"))
                if files and (text := files[0].read_text()):
                    url = json.loads(text)["nats"][0]
                    break
                await asyncio.sleep(0.01)
        yield JwtBroker(account, url)
    finally:
        server.kill()
        await server.wait()


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
            cancel=lambda _: True,
            up=self.up.set,
            refused=self.refused.set,
            chance=Random(1),
        )


async def run_until(link: NatsLink, *events: asyncio.Event) -> asyncio.Task[None]:
    task = asyncio.create_task(link.run())
    async with asyncio.timeout(20):
        for event in events:
            await event.wait()
    return task


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


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


async def test_ended_credentials_are_refused_and_fresh_ones_taken(jwt_broker: JwtBroker) -> None:
    key = SigningKey.generate()
    line = Line(key, jwt_broker.url, jwt_broker.admit(key, lasts_s=2))

    task = await run_until(line.open(), line.up, line.refused)
    line.up.clear()
    line.jwt = jwt_broker.admit(key)
    async with asyncio.timeout(20):
        await line.up.wait()

    await end(task)


async def test_hostile_broker_gets_no_signature_over_a_message_of_ours() -> None:
    link = Line(SigningKey.generate(), "nats://127.0.0.1:1", "jwt").open()

    for wanted in ("archipelag.v1.renew\nn\nisl", "archipelag.v1.Report\n\n", "", "x" * 65):
        with pytest.raises(nats.errors.Error, match="not a nonce"):
            link._sign(wanted)
