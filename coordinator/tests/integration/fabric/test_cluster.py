"""Three servers that stand for each other: streams are kept threefold, and any one of them may die at any time."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from archipelag_contracts import streams, subjects
from archipelag_contracts.ending import end_tasks
from archipelag_contracts.ids import RelayId
from archipelag_coordinator.adapters.nats import credentials
from archipelag_coordinator.adapters.nats.broker import BrokerUnreachable
from archipelag_coordinator.adapters.nats.connection import Connection, make_streams
from archipelag_coordinator.adapters.nats.reports import ReportQueue
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_embedded.nats import Nats, NatsCluster
from nats.js.errors import Error as JetStreamError

# The event loop makes no difference here, and a cluster takes seconds.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


@dataclass
class Servers:
    """What the fixtures of one server ask of a server."""

    cluster: NatsCluster
    keys: credentials.Keys
    urls: list[str]
    replicas: int = 3

    @property
    def url(self) -> str:
        return self.urls[0]

    def only(self, node: Nats) -> Servers:
        return replace(self, urls=[node.url])


@pytest.fixture(scope="module")
def servers(embedded_directory: Path) -> Iterator[Servers]:
    keys = credentials.init_keys(embedded_directory / "cluster-keys")
    cluster = NatsCluster(
        embedded_directory / "cluster",
        config=lambda folder: credentials.broker_config(keys, resolver_dir=folder / "accounts"),
    )
    yield Servers(cluster, keys, cluster.start())
    cluster.stop()


@pytest.fixture
def server(servers: Servers) -> Servers:
    """In place of the one server: whatever a test stopped runs again."""
    for node in servers.cluster.servers:
        if not node.running:
            node.start()
    return servers


async def leader_of(connection: Connection, stream: str) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(nats.errors.Error):
                info = await connection.client.jetstream().stream_info(stream)
                if info.cluster is not None and info.cluster.leader:
                    return str(info.cluster.leader)
            await asyncio.sleep(0.05)


async def whole(connection: Connection) -> None:
    """Every server has caught up with every stream."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(nats.errors.Error):
                infos = [
                    await connection.client.jetstream().stream_info(one.name) for one in streams.ALL
                ]
                replicas = [r for i in infos if i.cluster for r in i.cluster.replicas or ()]
                if len(replicas) == 2 * len(infos) and all(r.current for r in replicas):
                    return
            await asyncio.sleep(0.1)


async def test_streams_are_kept_threefold_as_soon_as_the_cluster_can(fabric: Any) -> None:
    # The test before may have taken a leader down: until there is another one, nobody answers for its stream.
    await whole(fabric.connection)
    for stream in streams.ALL:
        info = await fabric.connection.client.jetstream().stream_info(stream.name)
        assert info.config.num_replicas == 3, stream.name


async def test_one_server_alone_refuses_replicas_in_words(
    embedded_directory: Path, servers: Servers, coordinator_identity: Any, make_id: Any
) -> None:
    alone = Nats(
        embedded_directory / "alone",
        config=credentials.broker_config(
            servers.keys, resolver_dir=embedded_directory / "alone" / "accounts"
        ),
    )
    alone.start()
    connection = Connection(
        [alone.url], coordinator_identity(servers.keys, RelayId(make_id("rly")))
    )
    await connection.open()

    with pytest.raises(nats.errors.Error, match="replicas"):
        await make_streams(connection, replicas=3)

    await connection.close()
    alone.stop()


@contextlib.asynccontextmanager
async def settling(fabric: Any, settled: list[bytes]) -> AsyncIterator[None]:
    """Two Coordinators' worth of taking reports."""

    async def take(_: Any, data: bytes) -> bool:
        settled.append(data)
        return True

    tasks = [asyncio.create_task(ReportQueue(fabric.connection, take).run()) for _ in range(2)]
    try:
        yield
    finally:
        await end_tasks(tasks)


async def say(host: Any, data: bytes) -> None:
    """As an Island does: until it is acknowledged."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(nats.errors.Error, JetStreamError, OSError, TimeoutError):
                await host.nc.jetstream(timeout=1).publish(subjects.report(host.id), data)
                return
            await asyncio.sleep(0.1)


async def test_a_leader_that_dies_and_one_whose_store_is_lost_cost_no_report(
    fabric: Any, server: Servers, eventually: Any
) -> None:
    host = await fabric.host().connect(
        allow_reconnect=True, max_reconnect_attempts=-1, reconnect_time_wait=0.1
    )
    settled: list[bytes] = []
    said: list[bytes] = []

    async def say_some(count: int) -> None:
        for _ in range(count):
            said.append(b"%d" % len(said))
            await say(host, said[-1])

    async with settling(fabric, settled):
        await say_some(20)
        dead = server.cluster.named(await leader_of(fabric.connection, streams.REPORTS.name))
        dead.kill()
        await say_some(20)
        shutil.rmtree(dead.store)
        dead.start()
        await say_some(20)
        await eventually(lambda: set(said) <= set(settled))
        await whole(fabric.connection)
        await eventually(lambda: fabric.connection.connected and fabric.wire.connected)

    # An acknowledgement that dies with its server costs another delivery, and that settles nothing twice.
    assert len(settled) - len(said) < 20


async def test_whoever_is_cut_off_is_cut_off_at_every_server(
    fabric: Any, server: Servers, eventually: Any
) -> None:
    nodes = server.cluster.servers
    host = fabric.host()
    late = nodes[2]
    late.kill()
    await eventually(lambda: fabric.broker._system.connected)

    await told(fabric, host)
    for node in nodes[:2]:
        host.server = server.only(node)
        assert await host.turned_away()
    late.start()
    host.server = server.only(late)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            # As every Coordinator does again and again: once is not enough for a server that is up but not yet joined
            # to the others, since what is said meanwhile reaches it only as they compare accounts, every two minutes.
            await told(fabric, host)
            if await host.turned_away():
                return
            await asyncio.sleep(0.1)


async def told(fabric: Any, host: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(BrokerUnreachable):
                return await fabric.broker.enforce({host.key.public: datetime.now(UTC)})
            await asyncio.sleep(0.1)


async def test_an_islands_going_is_heard_from_every_server(
    fabric: Any, server: Servers, eventually: Any
) -> None:
    gone: list[str] = []
    back: list[str] = []
    await fabric.broker.listen_presence(gone.append, back.append, lambda: None)
    hosts = []
    for node in server.cluster.servers:
        host = fabric.host()
        host.server = server.only(node)
        hosts.append(await host.connect())
    await eventually(lambda: len(back) == 3)

    for host in hosts:
        host.nc._transport._io_writer.transport.abort()
    await eventually(lambda: len(gone) == 3)

    assert set(gone) == {host.id for host in hosts}
