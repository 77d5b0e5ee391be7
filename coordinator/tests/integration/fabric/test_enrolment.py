"""The gRPC door: an Island enrols, renews, and is told plainly why when it may not."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from archipelag_contracts import subjects
from archipelag_contracts.pb.archipelag.v1 import enrolment_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.common_pb2 import Capabilities
from archipelag_contracts.pb.archipelag.v1.enrolment_pb2_grpc import EnrolmentStub
from archipelag_contracts.signing import SigningKey
from archipelag_coordinator.apps.islands.enrolment import (
    RENEWALS_PER_MINUTE,
    EnrolmentService,
    _peer,
    bind_enrolment,
    start_enrolment,
)
from archipelag_coordinator.apps.islands.nonces import Nonces
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.domain.island import PairingCode
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.services.suspend import restore_island, suspend_island
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing import builders
from archipelag_coordinator.testing.fakes import FakeChunkRelay, FakeIslandBus, SequenceIds
from archipelag_coordinator.testing.memory_store import MemoryStore

CODE = "ABCDEF"
OPERATOR = builders.a_user().id


@dataclass
class Door:
    stub: Any
    world: World
    owner: User
    key: SigningKey = field(default_factory=SigningKey.generate)

    async def code(self, code: str = CODE, life_s: float = 600.0) -> None:
        expires_at = datetime.now(UTC) + timedelta(seconds=life_s)
        async with self.world.store.begin() as tx:
            await tx.islands.add_code(PairingCode(code, self.owner.id, expires_at))

    async def nonce(self) -> bytes:
        reply: pb.ChallengeReply = await self.stub.Challenge(pb.ChallengeRequest())
        return reply.nonce

    async def enrol_request(self, code: str = CODE, **changes: Any) -> pb.EnrolRequest:
        nonce = changes.pop("nonce", None) or await self.nonce()
        signer: SigningKey = changes.pop("signer", self.key)
        sane: dict[str, Any] = {
            "pairing_code": code,
            "public_key": self.key.public,
            "name": "Ada's box",
            "capabilities": Capabilities(region="eu", cores=4),
            "nonce": nonce,
            "signature": signer.sign(b"archipelag.v1.enrol\n", nonce + b"\n" + code.encode()),
        }
        return pb.EnrolRequest(**sane | changes)

    async def enrol(self, code: str = CODE, **changes: Any) -> pb.EnrolReply:
        reply: pb.EnrolReply = await self.stub.Enrol(await self.enrol_request(code, **changes))
        return reply

    async def renew(self, island: str, signer: SigningKey | None = None) -> pb.EnrolReply:
        nonce = await self.nonce()
        signed = nonce + b"\n" + island.encode()
        signature = (signer or self.key).sign(b"archipelag.v1.renew\n", signed)
        reply: pb.EnrolReply = await self.stub.Renew(
            pb.RenewRequest(island_id=island, nonce=nonce, signature=signature)
        )
        return reply


@pytest.fixture
async def door(fabric: Any) -> AsyncIterator[Door]:
    clock = SystemClock()
    store = MemoryStore(clock)
    owner, _, _ = await builders.a_customer(store)
    world = World(
        store=store,
        door=store,
        clock=clock,
        ids=SequenceIds(),
        bus=FakeIslandBus(),
        relay=FakeChunkRelay(),
        broker=fabric.broker,
        home=fabric.relay,
        assignment_keys=(fabric.keys.assignment.public,),
        publisher_keys=(fabric.keys.publisher.public,),
        broker_urls=(fabric.server.url,),
    )
    service = EnrolmentService(world, Nonces(os.urandom(32), clock, os.urandom))
    server, port = bind_enrolment("127.0.0.1:0")
    await start_enrolment(server, service)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Door(EnrolmentStub(channel), world, owner)
    await server.stop(None)


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


async def test_an_island_enrols_and_its_credentials_work(fabric: Any, door: Door) -> None:
    await door.code()

    reply = await door.enrol()

    host = fabric.host(reply.island_id)
    host.key, host.token = door.key, reply.broker_jwt
    await host.connect()
    assert not await host.refused(publish=subjects.heartbeat(host.id))
    assert list(reply.assignment_keys) == [fabric.keys.assignment.public]
    assert list(reply.publisher_keys) == [fabric.keys.publisher.public]
    assert list(reply.broker_urls) == [fabric.server.url] and reply.approved
    assert reply.broker_jwt_expires_at > datetime.now(UTC).timestamp()


async def test_enrolling_again_keeps_the_id_and_needs_no_code(door: Door) -> None:
    await door.code()
    first = await door.enrol()

    again = await door.enrol("ZZZZZZ")

    assert again.island_id == first.island_id


async def test_a_code_is_good_once_and_for_ten_minutes(door: Door) -> None:
    await door.code()
    await door.enrol()
    door.key = SigningKey.generate()
    await door.code("OLDOLD", life_s=-1)

    assert (await refused(door.enrol()))[0] is grpc.StatusCode.FAILED_PRECONDITION
    code, said = await refused(door.enrol("OLDOLD"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION and "make a new one" in said
    assert (await refused(door.enrol("NEVER1")))[0] is grpc.StatusCode.NOT_FOUND


async def test_a_replayed_or_foreign_or_missing_nonce_is_refused(door: Door) -> None:
    await door.code()
    request = await door.enrol_request()
    await door.stub.Enrol(request)

    assert (await refused(door.stub.Enrol(request)))[0] is grpc.StatusCode.UNAUTHENTICATED
    for nonce in (b"x", bytes(56), os.urandom(56)):
        code, said = await refused(door.enrol(nonce=nonce))
        assert code is grpc.StatusCode.UNAUTHENTICATED and "nonce" in said


async def test_a_signature_by_another_key_is_refused_and_uses_up_nothing(door: Door) -> None:
    await door.code()
    nonce = await door.nonce()

    code, _ = await refused(door.enrol(nonce=nonce, signer=SigningKey.generate()))
    assert code is grpc.StatusCode.UNAUTHENTICATED
    for changes in ({"public_key": b""}, {"public_key": b"x" * 31}, {"signature": b""}):
        assert (await refused(door.enrol(nonce=nonce, **changes)))[0] is (
            grpc.StatusCode.UNAUTHENTICATED
        )

    assert (await door.enrol(nonce=nonce)).island_id


async def test_guessing_codes_is_stopped(door: Door) -> None:
    codes = [(await refused(door.enrol("GUESS1")))[0] for _ in range(12)]

    assert codes[:10] == [grpc.StatusCode.NOT_FOUND] * 10
    code, said = await refused(door.enrol("GUESS1"))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "try again in" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "x" * 65},
        {"name": "x" * 5000},
        {"name": "a\x1b[2J"},
        {"code": "X" * 17},
    ],
)
async def test_an_impossible_name_or_code_is_refused(door: Door, changes: dict[str, Any]) -> None:
    await door.code()

    assert (await refused(door.enrol(**changes)))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_request_that_is_too_large_is_refused(door: Door) -> None:
    huge = Capabilities(agent_version="x" * (1 << 20))

    assert (await refused(door.enrol(capabilities=huge)))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_renewal_needs_the_islands_own_key(door: Door) -> None:
    await door.code()
    island = (await door.enrol()).island_id

    fresh = await door.renew(island)

    assert fresh.island_id == island and fresh.broker_jwt
    stranger = SigningKey.generate()
    assert (await refused(door.renew(island, stranger)))[0] is grpc.StatusCode.UNAUTHENTICATED
    unknown = builders.an_id("isl")
    assert (await refused(door.renew(unknown)))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert (await refused(door.renew("isl_1")))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_strangers_renewals_keep_no_island_out(door: Door) -> None:
    """Behind a proxy all come from one address, and without fresh credentials an Island is out within a day."""
    await door.code()
    island = (await door.enrol()).island_id
    stranger = SigningKey.generate()

    for _ in range(150):
        await refused(door.renew(island, stranger))

    assert (await door.renew(island)).broker_jwt


async def test_one_islands_renewals_are_counted_and_use_up_no_nonces(door: Door) -> None:
    await door.code()
    island = (await door.enrol()).island_id

    for _ in range(RENEWALS_PER_MINUTE):
        await door.renew(island)

    assert (await refused(door.renew(island)))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_renewal_is_not_given_twice_for_one_nonce(door: Door) -> None:
    await door.code()
    island = (await door.enrol()).island_id
    nonce = await door.nonce()
    signature = door.key.sign(b"archipelag.v1.renew\n", nonce + b"\n" + island.encode())
    request = pb.RenewRequest(island_id=island, nonce=nonce, signature=signature)

    assert (await door.stub.Renew(request)).broker_jwt

    assert (await refused(door.stub.Renew(request)))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_a_suspended_island_gets_no_credentials_until_it_is_restored(
    fabric: Any, door: Door
) -> None:
    await door.code()
    reply = await door.enrol()
    island = reply.island_id

    await suspend_island(door.world, OPERATOR, island)  # type: ignore[arg-type]

    for call in (door.renew(island), door.enrol()):
        code, said = await refused(call)
        assert code is grpc.StatusCode.PERMISSION_DENIED and "suspended" in said
    host = fabric.host(island)
    host.key, host.token = door.key, reply.broker_jwt
    assert await host.turned_away()
    await restore_island(door.world, OPERATOR, island)  # type: ignore[arg-type]
    host.token = (await door.renew(island)).broker_jwt
    assert not await host.turned_away()


async def test_when_the_store_is_away_the_caller_is_told_to_come_back(door: Door) -> None:
    class Away:
        def begin(self) -> Any:
            raise ConnectionError("secret-host:5432 refused")

    service = EnrolmentService(
        replace(door.world, store=Away()), Nonces(b"x" * 32, SystemClock(), os.urandom)
    )
    server, port = bind_enrolment("127.0.0.1:0")
    await start_enrolment(server, service)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        elsewhere = Door(EnrolmentStub(channel), door.world, door.owner)
        code, said = await refused(elsewhere.enrol())
    await server.stop(None)

    assert code is grpc.StatusCode.UNAVAILABLE
    assert "secret-host" not in said


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("ipv4:10.1.2.3:555", "10.1.2.3"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:555", "2001:db8:1:2::"),
        ("ipv6:[2001:db8:1:2:ffff::1]:555", "2001:db8:1:2::"),
        ("ipv6:[::ffff:10.1.2.3]:555", "10.1.2.3"),
        ("unix:/run/x", "unix"),
        ("ipv4:nonsense", "unknown"),
        ("", ""),
    ],
)
def test_callers_are_counted_by_their_address(peer: str, counted: str) -> None:
    assert _peer(peer) == counted
