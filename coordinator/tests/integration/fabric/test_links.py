"""Two brokers joined by a link: who may join, what crosses, what stays, and whose output is kept where."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import nats.errors
import pytest
from archipelag_contracts import streams, subjects
from archipelag_contracts.ids import IslandId, RelayId
from archipelag_contracts.signing import SigningKey
from archipelag_coordinator.adapters.nats import credentials, links, nkey
from archipelag_coordinator.adapters.nats.blobs import NatsBlobs, make_blob_stream
from archipelag_coordinator.adapters.nats.broker import NatsBroker
from archipelag_coordinator.adapters.nats.connection import (
    Connection,
    Identity,
    make_streams,
    make_streams_of_region,
)
from archipelag_coordinator.adapters.nats.wire import Wire
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.domain.file import BlobId
from archipelag_coordinator.domain.link import Link
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_embedded.nats import Nats
from archipelag_embedded.process import free_port

# The event loop makes no difference here, and two servers take seconds.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

REFUSED = "Authorization Violation"


@dataclass
class Side:
    """A region's broker with one Coordinator on it."""

    nats: Nats
    relay: RelayId
    connection: Connection


@dataclass
class Joined:
    keys: credentials.Keys
    east: Side
    west: Side
    links_port: int


@pytest.fixture
async def joined(
    tmp_path: Path, coordinator_identity: Any, make_id: Callable[[str], str]
) -> AsyncIterator[Joined]:
    keys, port = credentials.init_keys(tmp_path / "keys"), free_port()
    links.write_links(keys, Link("west"), tmp_path / "link")
    at = [f"nats-leaf://127.0.0.1:{port}"]
    parts = {
        "east": links.accepting_config(port),
        "west": links.joining_config(keys, at, tmp_path / "link"),
    }
    sides = []
    async with contextlib.AsyncExitStack() as stack:
        for name, part in parts.items():
            folder = tmp_path / name
            trust = credentials.broker_config(keys, resolver_dir=folder / "jwt")
            server = Nats(folder, config=trust + part, domain=name, monitor=True)
            stack.callback(server.stop)
            server.start()
            relay = RelayId(make_id("rly"))
            connection = Connection(
                [server.url],
                coordinator_identity(keys, relay),
                on_connected=partial(make_streams_of_region, relay=relay),
            )
            await connection.open()
            stack.push_async_callback(connection.close)
            sides.append(Side(server, relay, connection))
        east, west = sides
        await answering(east, subjects.here(east.relay))
        await heard(west, subjects.here(east.relay))
        yield Joined(keys, east, west, port)


async def answering(side: Side, subject: str, queue: str = "", said: bytes = b"here") -> None:
    async def answer(message: Any) -> None:
        await message.respond(said)

    await side.connection.subscribe(subject, answer, queue=queue)


async def heard(side: Side, subject: str) -> bytes:
    """The answer, once the link stands and has told of who listens there."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(nats.errors.Error):
                return await side.connection.request(subject, b"", 1.0)
            await asyncio.sleep(0.05)


async def kept(side: Side, stream: str) -> int:
    found = await side.connection.client.jetstream().stream_info(stream)
    return int(found.state.messages)


async def test_a_question_is_answered_at_home_and_abroad_only_where_nobody_is_home(
    joined: Joined,
) -> None:
    beat = subjects.heartbeat(IslandId("isl_one"))
    await answering(joined.east, subjects.ALL_HEARTBEATS, "coordinators", b"east")
    abroad = await heard(joined.west, beat)
    await answering(joined.west, subjects.ALL_HEARTBEATS, "coordinators", b"west")

    asked = [await joined.west.connection.request(beat, b"", 2.0) for _ in range(50)]

    assert abroad == b"east"
    assert Counter(asked) == {b"west": 50}


async def test_reports_stay_and_output_goes_to_its_coordinators_region_alone(
    joined: Joined, make_id: Callable[[str], str]
) -> None:
    east, west = joined.east, joined.west
    island = IslandId(make_id("isl"))
    told: list[bytes] = []

    async def tell(message: Any) -> None:
        told.append(message.data)

    await east.connection.subscribe(subjects.output_of(east.relay), tell)
    for relay in (east.relay, west.relay):
        subject = f"{subjects.ISLANDS}.{island}.out.{relay}.job.1"
        await until_kept(west, subject, east if relay == east.relay else west)
    await west.connection.client.jetstream().publish(subjects.report(island), b"report")
    await heard(west, subjects.here(east.relay))  # What was said before has arrived by now.

    assert (await kept(east, "REPORTS"), await kept(west, "REPORTS")) == (0, 1)
    assert (await kept(east, "OUTPUT"), await kept(west, "OUTPUT")) == (1, 1)
    assert told == [b"said"]


async def until_kept(says: Side, subject: str, keeps: Side) -> None:
    await says.connection.client.publish(subject, b"said")
    async with asyncio.timeout(PATIENCE_S):
        while await kept(keeps, "OUTPUT") == 0:  # noqa: ASYNC110 - it happens in the broker
            await asyncio.sleep(0.02)


async def test_processes_that_start_at_once_all_have_their_output_kept(
    joined: Joined, make_id: Callable[[str], str]
) -> None:
    relays = [RelayId(make_id("rly")) for _ in range(4)]

    await asyncio.gather(
        *(make_streams_of_region(joined.east.connection, relay) for relay in relays)
    )

    found = await joined.east.connection.client.jetstream().stream_info(streams.OUTPUT.name)
    wanted = {subjects.output_of(relay) for relay in (joined.east.relay, *relays)}
    assert wanted == set(found.config.subjects or ())


async def test_a_network_that_becomes_a_region_and_one_again_keeps_output_both_times(
    joined: Joined,
) -> None:
    east = joined.east
    await make_streams(east.connection)
    js = east.connection.client.jetstream()
    of_one = (await js.stream_info(streams.OUTPUT.name)).config.subjects

    await make_streams_of_region(east.connection, east.relay)

    of_several = (await js.stream_info(streams.OUTPUT.name)).config.subjects
    assert (of_one, of_several) == ([subjects.ALL_OUTPUT], [subjects.output_of(east.relay)])


async def test_files_are_found_from_every_region(joined: Joined) -> None:
    await make_blob_stream(joined.east.connection)
    blob = BlobId("blb_00000000000000000000000000")
    here, there = (NatsBlobs(one.connection, "east") for one in (joined.east, joined.west))

    async with asyncio.timeout(PATIENCE_S):
        while True:  # The link has told of one subject by then, not of this store's.
            with contextlib.suppress(ConnectionError):
                await there.put(blob, 0, b"piece")
                break
    await here.put(blob, 1, b"another")

    assert [await one.get(blob, 0) for one in (here, there)] == [b"piece", b"piece"]
    assert await there.get(blob, 1) == b"another"
    assert await there.get(blob, 2) is None
    await there.delete(blob)
    assert await here.get(blob, 0) is None


OF_THE_STREAMS = (
    "STREAM.PURGE.REPORTS",
    "STREAM.DELETE.REPORTS",
    "STREAM.PURGE.OUTPUT",
    "STREAM.DELETE.OUTPUT",
    "STREAM.DELETE.BLOBS",
    "STREAM.INFO.REPORTS",
    "STREAM.MSG.GET.REPORTS",
    "STREAM.NAMES",
    "DIRECT.GET.OUTPUT",
    "CONSUMER.LIST.REPORTS",
    "CONSUMER.DELETE.REPORTS.coordinators",
    "INFO",
)


async def test_another_regions_broker_has_no_say_over_streams(joined: Joined) -> None:
    """Who has a link's file, or is that region's broker, reads no report out of ours, and takes none away."""
    east, west = joined.east, joined.west
    await make_blob_stream(east.connection)
    js = east.connection.client.jetstream()
    await js.publish(subjects.report(IslandId("isl_one")), b"report")
    there = NatsBlobs(west.connection, "east")
    async with asyncio.timeout(PATIENCE_S):
        while True:  # The link has told of the streams by then.
            with contextlib.suppress(ConnectionError):
                await there.put(BlobId("blb_00000000000000000000000000"), 0, b"piece")
                break

    for asked in OF_THE_STREAMS:
        with pytest.raises((nats.errors.TimeoutError, nats.errors.NoRespondersError)):
            await west.connection.request(f"$JS.east.API.{asked}", b'{"seq":1}', 0.3)

    standing = {one.config.name: one.state.messages for one in await js.streams_info()}
    assert standing == {"REPORTS": 1, "OUTPUT": 0, "BLOBS": 1}


async def test_an_islands_going_is_heard_in_the_other_region(
    joined: Joined, coordinator_identity: Any, eventually: Any, make_id: Callable[[str], str]
) -> None:
    east, west = joined.east, joined.west
    broker = NatsBroker(joined.keys, [east.nats.url], east.relay, SystemClock())
    await broker.open()
    gone: list[str] = []
    await broker.listen_presence(gone.append, lambda _: None, lambda: None)
    island, key = IslandId(make_id("isl")), SigningKey.generate()
    token = island_token(joined, island, key)
    wire = Wire([west.nats.url], Identity(key, lambda: token, subjects.inbox_prefix(island), "i"))
    async with asyncio.timeout(PATIENCE_S):
        while not gone:
            await wire.open()
            await wire.close()
            await asyncio.sleep(0.2)
    await broker.close()

    assert set(gone) == {island}


def island_token(joined: Joined, island: IslandId, key: SigningKey) -> str:
    now = datetime.now(UTC)
    until = now + timedelta(hours=1)
    return credentials.island_token(
        joined.keys, key.public, island, "x", issued_at=now, expires_at=until
    )


async def test_no_island_and_no_stranger_can_join_as_a_region(
    joined: Joined, tmp_path: Path, make_id: Callable[[str], str]
) -> None:
    """An Island's own token and key, and a token that somebody made for themselves, in a link's place."""
    key, strange = SigningKey.generate(), credentials.init_keys(tmp_path / "strange")
    island = island_token(joined, IslandId(make_id("isl")), key)
    seed = nkey.seed(nkey.USER, key)
    shown = {
        "island": f"-----BEGIN NATS USER JWT-----\n{island}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n",
        "stranger": links.link_credentials(strange, Link("west")),
    }
    for name, text in shown.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / links.LINK).write_text(text)
        (folder / links.SYSTEM_LINK).write_text(text)
        at = [f"nats-leaf://127.0.0.1:{joined.links_port}"]
        trust = credentials.broker_config(joined.keys, resolver_dir=folder / "jwt")
        config = trust + links.joining_config(joined.keys, at, folder)
        log = folder / "nats/nats.log"
        intruder = Nats(folder / "nats", config=config, domain=name)
        intruder.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while "Authorization" not in log.read_text():  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            intruder.stop()
        # What a broker says of one that it has let in, or that let it in.
        assert "JetStream using domains" not in log.read_text()


async def test_a_link_that_was_taken_back_is_cut_off_and_stays_out(joined: Joined) -> None:
    """What stands is dropped, and what it showed is refused, after the restart of either server too."""
    east, west = joined.east, joined.west
    broker = NatsBroker(joined.keys, [east.nats.url], east.relay, SystemClock())
    await broker.open()
    before = joins(east)

    await broker.enforce({}, [Link("west")])

    await until_refused(east, west)
    with pytest.raises(nats.errors.Error):
        await west.connection.request(subjects.here(east.relay), b"", 1.0)
    await broker.close()
    for one in (west, east):
        one.nats.stop()
        one.nats.start()
        await until_refused(east, west)
    assert before == {joined.keys.account_id, joined.keys.system_id}


async def test_another_link_of_the_region_stays_when_the_first_is_taken_back(
    joined: Joined, tmp_path: Path
) -> None:
    east, west = joined.east, joined.west
    broker = NatsBroker(joined.keys, [east.nats.url], east.relay, SystemClock())
    await broker.open()
    await broker.enforce({}, [Link("west")])
    await until_refused(east, west)
    links.write_links(joined.keys, Link("west", 2), tmp_path / "second")
    at = [f"nats-leaf://127.0.0.1:{joined.links_port}"]
    trust = credentials.broker_config(joined.keys, resolver_dir=tmp_path / "west/jwt")
    west.nats.stop()
    west.nats.configure(trust + links.joining_config(joined.keys, at, tmp_path / "second"))

    west.nats.start()

    assert await heard(west, subjects.here(east.relay)) == b"here"
    await broker.enforce({}, [Link("west"), Link("north")])
    assert joins(east) == {joined.keys.account_id, joined.keys.system_id}
    await broker.close()


def joins(side: Side) -> set[str]:
    """The accounts for which a broker of another region has joined this one's."""
    told = httpx.get(f"{side.nats.monitor_url}/leafz", trust_env=False).json()
    return {one["account"] for one in told["leafs"] or ()}


async def until_refused(here: Side, there: Side) -> None:
    """It asks again and again, and joins for neither account."""
    log = there.nats.store.parent / "nats.log"
    said = log.read_text().count(REFUSED)
    async with asyncio.timeout(PATIENCE_S):
        while joins(here) or log.read_text().count(REFUSED) < said + 4:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert joins(here) == set()


async def test_a_link_is_no_client(joined: Joined) -> None:
    """Who finds its file can say nothing by it as an Island or a Coordinator would."""
    text = links.link_credentials(joined.keys, Link("west"))
    token, seed = text.split("\n")[1], text.split("\n")[5]
    key = nkey.from_seed(nkey.USER, seed)
    wire = Wire([joined.east.nats.url], Identity(key, lambda: token, "_INBOX.x", "thief"))

    with pytest.raises(OSError, match=r"(?i)authorization"):
        await wire.open()


async def test_a_links_files_are_for_their_owner_alone_and_written_once(tmp_path: Path) -> None:
    keys = credentials.init_keys(tmp_path / "keys")
    links.write_links(keys, Link("west"), tmp_path / "link")
    files = {one.name: one for one in (tmp_path / "link").iterdir()}
    before = {name: one.read_text() for name, one in files.items()}

    links.write_links(keys, Link("west"), tmp_path / "link")
    with pytest.raises(FileExistsError, match="another link's"):
        links.write_links(keys, Link("north"), tmp_path / "link")
    links.write_links(keys, Link("north"), tmp_path / "other")

    assert {oct(one.stat().st_mode & 0o777) for one in files.values()} == {"0o600"}
    assert {name: one.read_text() for name, one in files.items()} == before
    other = {one.name: one.read_text() for one in (tmp_path / "other").iterdir()}
    assert other.keys() == before.keys() and not set(other.values()) & set(before.values())


@pytest.mark.parametrize("wrong", ["http://x:1", 'nats-leaf://x:1"]', "nats-leaf://x:1\n", ""])
async def test_an_address_that_is_none_is_not_written_into_a_configuration(
    wrong: str, tmp_path: Path
) -> None:
    keys = credentials.init_keys(tmp_path / "keys")

    with pytest.raises(ValueError, match="a link leads to"):
        links.joining_config(keys, [wrong], tmp_path)
