"""A real nats-server in operator mode, Coordinators on it and Islands with credentials of their own."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest
import uvloop
from archipelag_contracts import ids, subjects
from archipelag_contracts.ids import IslandId, RelayId
from archipelag_contracts.signing import SigningKey
from archipelag_coordinator.adapters.nats import credentials
from archipelag_coordinator.adapters.nats.broker import NatsBroker
from archipelag_coordinator.adapters.nats.connection import Connection, Identity, make_streams
from archipelag_coordinator.adapters.nats.jwt import base64url
from archipelag_coordinator.adapters.nats.wire import Wire
from archipelag_coordinator.clock import SystemClock
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_embedded.process import free_port
from nats.aio.client import Client


def new_id(prefix: str) -> str:
    return f"{prefix}_{ids.encode(1, secrets.token_bytes(10))}"


@dataclass
class Server:
    """One nats-server process that can be stopped, started and killed."""

    folder: Path
    keys: credentials.Keys
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None
    replicas: int = 1

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def urls(self) -> list[str]:
        return [self.url]

    async def start(self) -> None:
        config = self.folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{self.folder}/js" }}\n'
            + credentials.broker_config(self.keys, resolver_dir=self.folder / "jwt")
        )
        binary = shutil.which("nats-server") or str(Path(sys.executable).parent / "nats-server")
        self.process = await asyncio.create_subprocess_exec(
            binary, "-c", str(config), "-l", str(self.folder / "log")
        )
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
                    return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def log(self) -> str:
        return (self.folder / "log").read_text()


@dataclass
class HostClient:
    """What an Island has: its key, its token, a connection, and every error the broker sent it."""

    id: IslandId
    key: SigningKey
    token: str
    server: Server
    nc: Client = field(default_factory=Client)
    errors: list[str] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)

    async def connect(self, **options: Any) -> HostClient:
        async def failed(error: Exception) -> None:
            self.errors.append(str(error))

        async def closed() -> None:
            self.closed.set()

        async def disconnected() -> None:
            self.disconnected.set()

        self.nc = await nats.connect(
            self.server.urls,
            user_jwt_cb=lambda: bytearray(self.token.encode()),
            signature_cb=lambda nonce: base64url(self.key.sign(b"", nonce.encode())).encode(),
            inbox_prefix=subjects.inbox_prefix(self.id),
            error_cb=failed,
            closed_cb=closed,
            disconnected_cb=disconnected,
            **{"connect_timeout": PATIENCE_S, "allow_reconnect": False, **options},
        )
        return self

    async def settle(self) -> None:
        """The broker has dealt with all that was said. nats-py's first ping overtakes what it has not yet written."""
        await self.nc.flush(PATIENCE_S)
        await self.nc.flush(PATIENCE_S)

    async def turned_away(self, *, key: SigningKey | None = None) -> bool:
        """Whether the broker refuses this token. By our own wire, since nats-py leaks sockets when refused."""
        who = Identity(key or self.key, lambda: self.token, subjects.inbox_prefix(self.id), "host")
        wire = Wire(self.server.urls, who)
        try:
            await wire.open()
        except OSError as error:
            return "authorization" in str(error).lower()
        await wire.close()
        return False

    async def refused(self, *, publish: str = "", subscribe: str = "", reply: str = "") -> bool:
        """Whether the broker says no: it does so before it answers a ping."""
        before = len(self.errors)
        if publish:
            await self.nc.publish(publish, b"x", reply=reply)
        if subscribe:
            await self.nc.subscribe(subscribe)
        await self.settle()
        return any("permissions violation" in error.lower() for error in self.errors[before:])


@dataclass
class Fabric:
    """A network's fabric: the server, one Coordinator on it, and a way to add Islands."""

    server: Server
    keys: credentials.Keys
    relay: RelayId
    connection: Connection
    broker: NatsBroker
    wire: Wire
    hosts: list[HostClient] = field(default_factory=list)

    def host(self, island: IslandId | None = None, *, life_s: float = 3600.0) -> HostClient:
        island = island or IslandId(new_id("isl"))
        key = SigningKey.generate()
        token = self.broker.credentials(
            key.public, island, "test", datetime.now(UTC) + timedelta(seconds=life_s)
        )
        host = HostClient(island, key, token, self.server)
        self.hosts.append(host)
        return host


def identity(keys: credentials.Keys, relay: RelayId) -> Identity:
    return Identity(
        key=keys.coordinator_user,
        token=lambda: credentials.coordinator_token(keys, relay, issued_at=datetime.now(UTC)),
        inbox_prefix=credentials.inbox_of(relay),
        name=str(relay),
    )


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Production runs on uvloop, and its transports differ from asyncio's."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    keys = credentials.init_keys(tmp_path / "keys")
    one = Server(tmp_path, keys)
    await one.start()
    yield one
    await one.kill()


@pytest.fixture
async def fabric(server: Server) -> AsyncIterator[Fabric]:
    relay = RelayId(new_id("rly"))
    keys = server.keys
    streams = partial(make_streams, replicas=server.replicas)
    connection = Connection(server.urls, identity(keys, relay), on_connected=streams)
    broker = NatsBroker(keys, server.urls, relay, SystemClock())
    wire = Wire(server.urls, identity(keys, relay))
    await connection.open()
    await broker.open()
    await wire.open()
    one = Fabric(server, keys, relay, connection, broker, wire)
    yield one
    for host in one.hosts:
        if host.nc.is_connected or host.nc.is_reconnecting:
            await host.nc.close()
    await wire.close()
    await broker.close()
    await connection.close()


Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    async def wait(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110 - what is awaited happens in another process
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def make_id() -> Callable[[str], str]:
    return new_id


@pytest.fixture
def coordinator_identity() -> Callable[[credentials.Keys, RelayId], Identity]:
    return identity
