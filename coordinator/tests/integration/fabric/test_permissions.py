"""The broker lets an Island say and hear its own, and cuts off who is suspended."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from archipelag_contracts import subjects
from archipelag_contracts.ids import Epoch, JobId, RelayId
from archipelag_contracts.pb.archipelag.v1.job_pb2 import Chunk
from archipelag_contracts.signing import SigningKey
from archipelag_coordinator.adapters.nats.chunk_relay import NatsChunkRelay
from archipelag_coordinator.adapters.nats.island_bus import NatsIslandBus
from archipelag_coordinator.adapters.nats.replay import StreamReplay
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.domain.answer import Answer
from archipelag_embedded.fixtures import PATIENCE_S

JOB = JobId("job_00000000000000000000000000")


async def test_an_island_may_use_its_own_subjects(fabric: Any) -> None:
    host = await fabric.host().connect()

    for subject in (
        subjects.heartbeat(host.id),
        subjects.report(host.id),
        subjects.out(host.id, fabric.relay, JOB, Epoch(1)),
    ):
        assert not await host.refused(publish=subject), subject
    heard = (subjects.assign(host.id), subjects.cancel(host.id), subjects.CATALOGUE_CHANGED)
    for subject in (*heard, host.nc.new_inbox()):
        assert not await host.refused(subscribe=subject), subject


async def test_an_island_cannot_touch_another_islands_subjects(fabric: Any) -> None:
    host = await fabric.host().connect()
    other = await fabric.host().connect()
    root = f"{subjects.ISLANDS}.{other.id}"

    published = [f"{root}.{kind}" for kind in ("heartbeat", "report", "assign", "cancel", "x")]
    published += [
        subjects.out(other.id, fabric.relay, JOB, Epoch(1)),
        f"{subjects.inbox_prefix(other.id)}.a",
        f"_INBOX.{fabric.relay}.a",
        "_INBOX.a",
        subjects.assign(host.id),
        subjects.cancel(host.id),
        subjects.ended(RelayId(fabric.relay)),
        subjects.KEYS_CHANGED,
        subjects.CATALOGUE_CHANGED,
        f"{host.id}",
        "anything",
    ]
    for subject in published:
        assert await host.refused(publish=subject), subject

    heard = [f"{root}.{kind}" for kind in ("heartbeat", "report", "assign", "cancel", "out.>")]
    heard += [
        f"{root}.>",
        f"{subjects.ISLANDS}.*.assign",
        f"{subjects.ISLANDS}.>",
        f"{subjects.inbox_prefix(other.id)}.>",
        "_INBOX.>",
        "_INBOX.*.*",
        f"_INBOX.{fabric.relay}.>",
        ">",
        "*",
        subjects.ALL_HEARTBEATS,
        subjects.ALL_OUTPUT,
        subjects.report(host.id),
        subjects.ended(RelayId(fabric.relay)),
        subjects.KEYS_CHANGED,
    ]
    for subject in heard:
        assert await host.refused(subscribe=subject), subject


async def test_an_island_cannot_steer_the_broker_or_its_streams(fabric: Any) -> None:
    host = await fabric.host().connect()

    for subject in (
        "$JS.API.INFO",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.PURGE.REPORTS",
        "$JS.API.STREAM.DELETE.OUTPUT",
        "$JS.API.STREAM.MSG.GET.OUTPUT",
        "$JS.API.DIRECT.GET.OUTPUT",
        "$JS.API.CONSUMER.CREATE.REPORTS",
        "$JS.API.CONSUMER.MSG.NEXT.REPORTS.coordinators",
        "$JS.ACK.REPORTS.coordinators.1.1.1.1.1",
        "$JS.FC.OUTPUT.x",
        "$KV.x.y",
        "$SYS.REQ.CLAIMS.UPDATE",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.USER.INFO",
        f"$SYS.REQ.ACCOUNT.{fabric.keys.account_id}.CLAIMS.UPDATE",
    ):
        assert await host.refused(publish=subject), subject
    for subject in ("$SYS.>", "$JS.>", "$JS.EVENT.ADVISORY.>", "$KV.>", "$O.>"):
        assert await host.refused(subscribe=subject), subject


async def test_an_island_answers_an_assignment_once_and_only_where_it_was_asked(
    fabric: Any,
) -> None:
    host = await fabric.host().connect()
    asked = asyncio.get_running_loop().create_future()

    async def answer(message: Any) -> None:
        await message.respond(b"yes")
        asked.set_result(message.reply)

    await host.nc.subscribe(subjects.assign(host.id), cb=answer)
    await host.settle()

    reply = await fabric.connection.request(subjects.assign(host.id), b"?", 5)

    assert reply == b"yes"
    assert await host.refused(publish=await asked)


async def test_a_stranger_is_refused(fabric: Any) -> None:
    host = fabric.host()
    impostor = fabric.host()

    assert await host.turned_away(key=impostor.key)  # a token without its key
    host.token = ""
    assert await host.turned_away()
    host.token = "a.b.c"
    assert await host.turned_away()
    for hello in (b"{}", b'{"user":"a","pass":"b"}', b'{"auth_token":"a"}'):
        reader, writer = await asyncio.open_connection("127.0.0.1", fabric.server.port)
        writer.write(b"CONNECT " + hello + b"\r\nPING\r\n")
        said = await asyncio.wait_for(reader.read(), PATIENCE_S)
        assert b"-ERR 'Authorization Violation'" in said and b"PONG" not in said
        writer.close()
        await writer.wait_closed()


async def test_credentials_run_out(fabric: Any) -> None:
    host = fabric.host(life_s=-5)

    assert await host.turned_away()


async def test_a_suspended_island_is_cut_off_and_refused_and_others_are_not(fabric: Any) -> None:
    host = await fabric.host().connect()
    other = await fabric.host().connect()

    await fabric.broker.enforce({host.key.public: datetime.now(UTC)})

    await asyncio.wait_for(host.closed.wait(), PATIENCE_S)
    assert await host.turned_away()
    again = fabric.host(host.id)
    again.key = host.key
    again.token = fabric.broker.credentials(
        host.key.public, host.id, "again", datetime.fromtimestamp(4e9, UTC)
    )
    assert await again.turned_away()
    assert other.nc.is_connected and not other.closed.is_set()
    assert not await other.refused(publish=subjects.heartbeat(other.id))
    assert await fabric.connection.client.rtt() < 5


async def test_a_restored_island_may_connect_again(fabric: Any) -> None:
    host = fabric.host()
    await fabric.broker.enforce({host.key.public: datetime.now(UTC)})
    assert await host.turned_away()

    await fabric.broker.enforce({})

    await host.connect()
    assert not await host.refused(publish=subjects.heartbeat(host.id))


async def test_a_suspension_outlives_the_brokers_restart(fabric: Any) -> None:
    host = fabric.host()
    await fabric.broker.enforce({host.key.public: datetime.now(UTC)})
    await fabric.server.kill()

    await fabric.server.start()

    assert await host.turned_away()


async def test_a_broker_that_lost_everything_is_told_again(fabric: Any, eventually: Any) -> None:
    import shutil

    host = fabric.host()
    await fabric.broker.enforce({host.key.public: datetime.now(UTC)})
    await fabric.server.kill()
    shutil.rmtree(fabric.server.folder / "jwt")
    shutil.rmtree(fabric.server.folder / "js")

    await fabric.server.start()

    jwts = fabric.server.folder / "jwt"
    from archipelag_coordinator.adapters.nats import nkey

    await eventually(
        lambda: any(
            _revokes(path, nkey.public(nkey.USER, host.key.public)) for path in jwts.rglob("*.jwt")
        )
    )
    assert await host.turned_away()


def _revokes(path: Any, user: str) -> bool:
    import base64

    parts = path.read_text().split(".")
    return len(parts) == 3 and user.encode() in base64.urlsafe_b64decode(parts[1] + "==")


async def test_no_secret_stands_in_the_brokers_configuration(fabric: Any) -> None:
    config = (fabric.server.folder / "nats.conf").read_text()
    seeds = [p.read_text().strip() for p in (fabric.server.folder / "keys").glob("*.seed")]

    assert len(seeds) == 8
    assert not any(seed in config for seed in seeds)
    assert "password" not in config and "token" not in config and "PRIVATE" not in config


async def test_what_the_broker_says_for_an_island_does_no_harm(
    fabric: Any, eventually: Any
) -> None:
    """The broker acknowledges a report wherever the report says, so an Island can place that one text anywhere."""
    hostile = await fabric.host().connect()
    victim = await fabric.host().connect()
    relay = NatsChunkRelay(
        fabric.relay, SystemClock(), StreamReplay(fabric.connection, SystemClock())
    )
    relay.attach(fabric.wire)
    answer = Answer(JOB, items_max=9, size_bytes_max=99, now=0.0)
    answer.begin(Epoch(1), 0.0)
    relay.open(answer, victim.id, Epoch(1))
    bus = NatsIslandBus(fabric.connection, SigningKey.generate())
    keys_changed: list[int] = []
    await bus.listen_keys_changed(lambda: keys_changed.append(1))
    said: list[bytes] = []

    async def heard(message: Any) -> None:
        said.append(message.data)

    await fabric.connection.subscribe(subjects.KEYS_CHANGED, heard)
    await fabric.wire.flush()
    victims = subjects.out(victim.id, fabric.relay, JOB, Epoch(1))

    for mine in (
        subjects.report(hostile.id),
        subjects.out(hostile.id, fabric.relay, JOB, Epoch(1)),
    ):
        for reply in (
            victims,
            subjects.KEYS_CHANGED,
            subjects.ended(fabric.relay),
            "$JS.API.STREAM.PURGE.REPORTS",
            "$JS.API.STREAM.DELETE.OUTPUT",
            "$SYS.REQ.CLAIMS.UPDATE",
        ):
            for headers in (None, {"Nats-Trace-Dest": reply}, {"Nats-Rollup": "all"}):
                await hostile.nc.publish(mine, b"", reply=reply, headers=headers)
    await hostile.settle()
    await victim.nc.publish(victims, Chunk(texts=["fine"], tokens=[1]).SerializeToString())
    await eventually(lambda: bool(answer.texts))

    assert answer.texts == ["fine"] and answer.attempt_end is None
    assert keys_changed == []
    await eventually(lambda: bool(said))
    assert all(b"REPORTS" in one for one in said)  # output is never acknowledged
    js = fabric.connection.client.jetstream()
    assert (await js.stream_info("REPORTS")).state.first_seq == 1
    assert (await js.stream_info("OUTPUT")).state.first_seq == 1
    assert not await victim.turned_away()
    await relay.stop()
