"""A whole network of real processes on the loopback, in which every line between two parts may go through a proxy.

Coordinators and Islands are the shipped programs; PostgreSQL and NATS come from their wheels. Whatever happens, all of
it has ended when `started` has.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import psycopg
from archipelag_contracts import manifest as manifests
from archipelag_contracts.manifest import Manifest
from archipelag_coordinator import commands, config
from archipelag_coordinator.adapters.nats import credentials
from archipelag_coordinator.adapters.postgres.migrate import migrate
from archipelag_embedded.nats import Nats
from archipelag_embedded.postgres import Postgres
from archipelag_embedded.process import Process, free_port
from archipelag_island.adapters.enrolment import GrpcEnrolment
from archipelag_island.adapters.identity import Home
from archipelag_island.domain.capability import Capabilities

from .parts import ROOT, STOP_S, Coordinator, Island
from .proxy import Proxies

FAST = Path(__file__).with_name("fast_chat.toml")
MODEL = ROOT / "cargos" / "llm-chat" / "manifest.toml"
START_S = 90.0
LOOK_S = 0.1
RATE_PER_MINUTE = 1_000_000


HELD = """
    SELECT island_id, count(*) FROM attempts WHERE status IN ('assigned', 'running')
    GROUP BY island_id
"""
MOVED = """
    SELECT EXISTS (SELECT FROM jobs WHERE user_id = %s AND epoch > 1 AND status = 'running')
"""


@dataclass(frozen=True)
class Hosts:
    """So many Islands with this Cargo and so many slots each."""

    count: int
    cargo: Path = FAST
    slots: int = 32


@dataclass(frozen=True)
class Plan:
    """What a network is made of. `policy`: settings of the Coordinators, by the name of the limit. Without `proxied`,
    lines cost nothing and cannot be cut."""

    hosts: tuple[Hosts, ...] = (Hosts(4),)
    coordinators: int = 2
    brokers: int = 1
    proxied: bool = True
    policy: Mapping[str, str] = field(default_factory=dict)


class Network:
    """What runs, and how it is reached."""

    def __init__(self, plan: Plan, home: Path) -> None:
        self.plan = plan
        self.home = home
        self.keep = bool(os.environ.get("CHAOS_KEEP"))
        """Its folder with all logs stays when it has ended."""
        self.manifests: dict[str, Manifest] = {}
        self.coordinators: list[Coordinator] = []
        self.islands: list[Island] = []
        self.postgres = Postgres(home / "postgres", log=self.log("postgres"))
        self.brokers: list[Nats] = []
        self.watched: list[int] = []
        """Where each broker tells of itself."""
        self.proxies: Proxies
        self._switchboard: Process | None = None
        self._lines: dict[tuple[str, str], int] = {}
        self._http = httpx.AsyncClient(timeout=5)
        self._numbers = itertools.count()

    # --- Lines -----------------------------------------------------------------------------------------------------

    def lines(self, *, of: str = "", to: str = "") -> list[str]:
        """Names of lines: those of one part, those to one kind of server (`nats`, `nats0`, `postgres`)."""
        return [
            f"{part}>{server}"
            for part, server in self._lines
            if (not of or part == of) and server.startswith(to)
        ]

    def _line(self, part: str, server: str) -> int:
        """The port at which this part finds that server."""
        target = self.postgres.port if server == "postgres" else self.broker(server).port
        if not self.plan.proxied:
            return target
        if (part, server) not in self._lines:
            self._lines[part, server] = self.proxies.open(f"{part}>{server}", target)
        return self._lines[part, server]

    def broker(self, server: str) -> Nats:
        return self.brokers[int(server.removeprefix("nats"))]

    def nats_url(self, part: str) -> str:
        names = [f"nats{index}" for index in range(len(self.brokers))]
        return ",".join(f"nats://127.0.0.1:{self._line(part, name)}" for name in names)

    def database_url(self, part: str = "") -> str:
        """As this part reaches it; without one, directly."""
        direct = self.postgres.dsn()
        if not part:
            return direct
        return direct.replace(f":{self.postgres.port}/", f":{self._line(part, 'postgres')}/")

    # --- Start -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        if self.plan.proxied:
            self._start_switchboard()
        await asyncio.to_thread(self.postgres.prepare)
        self.postgres.spawn()
        await asyncio.to_thread(self.postgres.wait_ready)
        keys = credentials.init_keys(self.home / "coordinator")
        self._make_brokers(keys)
        for broker in self.brokers:
            broker.spawn()
        for broker in self.brokers:
            await asyncio.to_thread(broker.wait_ready)
        await asyncio.to_thread(migrate, self.database_url())
        await self._list_cargos()
        for index in range(self.plan.coordinators):
            self.add_coordinator(index)
        await self.until(self.all_ready, "the Coordinators are ready")
        for hosts in self.plan.hosts:
            for _ in range(hosts.count):
                await self.add_island(hosts)
        await self.until(self.all_warm, "the Islands are warm")

    def _start_switchboard(self) -> None:
        port = free_port()
        program = [sys.executable, "-m", "tests.chaos.proxy", str(port)]
        self._switchboard = Process("Proxy", program, log=self.log("proxy"), cwd=ROOT)
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.proxies = Proxies(port)
                return
            except OSError:
                if not self._switchboard.running or time.monotonic() > deadline:
                    raise self._switchboard.failed("did not start") from None
                time.sleep(LOOK_S)

    def _make_brokers(self, keys: credentials.Keys) -> None:
        routes = [free_port() for _ in range(self.plan.brokers)]
        for index in range(self.plan.brokers):
            folder = self.home / f"nats{index}"
            trust = credentials.broker_config(keys, resolver_dir=folder / "accounts")
            self.watched.append(free_port())
            config_text = trust + f"\nhttp: 127.0.0.1:{self.watched[index]}\n"
            if self.plan.brokers > 1:
                config_text += _clustered(index, routes)
            self.brokers.append(Nats(folder, config=config_text, log=self.log(f"nats{index}")))

    async def _list_cargos(self) -> None:
        paths = tuple(dict.fromkeys(hosts.cargo for hosts in self.plan.hosts))
        await commands.bootstrap(self._settings(), commands.Wanted(cargos=paths))
        for path in paths:
            manifest = manifests.parse_toml(path.read_text())
            self.manifests[manifest.slug] = manifest

    def _settings(self) -> config.Settings:
        return config.read(self._coordinator_env("operator", 1, 1, self.database_url()))

    def _coordinator_env(self, name: str, port: int, grpc: int, database: str) -> dict[str, str]:
        policy = {f"ARCHIPELAG_POLICY_{k.upper()}": v for k, v in self.plan.policy.items()}
        return os.environ | {
            "ARCHIPELAG_DATABASE_URL": database,
            "ARCHIPELAG_NATS_URL": self.nats_url(name),
            "ARCHIPELAG_NATS_REPLICAS": str(self.plan.brokers),
            "ARCHIPELAG_BROKER_PUBLIC_URLS": self.nats_url("any-island"),
            "ARCHIPELAG_STATE_DIR": str(self.home / "coordinator"),
            "ARCHIPELAG_HTTP_PORT": str(port),
            "ARCHIPELAG_GRPC_PORT": str(grpc),
            **policy,
        }

    def add_coordinator(self, index: int) -> Coordinator:
        name = f"c{index}"
        ports = free_port(), free_port()
        env = self._coordinator_env(name, *ports, self.database_url(name))
        one = Coordinator(index, env, self.log(name))
        self.coordinators.append(one)
        one.start()
        return one

    async def add_island(self, hosts: Hosts) -> Island:
        """Enrolled by a user of its own, who is paid for it; then told to reach the broker by its own line."""
        name = f"i{next(self._numbers)}"
        slug = manifests.parse_toml(hosts.cargo.read_text()).slug
        owner, code = await self.invite(name)
        folder = self.home / name
        home = Home(folder)
        home.prepare()
        address = home.coordinator(f"127.0.0.1:{self.coordinators[0].grpc_port}")
        standing = await GrpcEnrolment(address, home.key()).enrol(code, name, NOTHING_SPECIAL)
        home.save(replace(standing, broker_urls=tuple(self.nats_url(name).split(","))))
        env = os.environ | {
            "ARCHIPELAG_ISLAND_HOME": str(folder),
            "ARCHIPELAG_ISLAND_NAME": name,
            "ARCHIPELAG_ISLAND_CARGOS": slug,
            "ARCHIPELAG_ISLAND_SLOTS": str(hosts.slots),
            "ARCHIPELAG_ISLAND_THREADS": "1",
            "ARCHIPELAG_ISLAND_EXTRA_ENGINES": "echo=archipelag_island.testing.echo_engine",
            "ARCHIPELAG_MODEL_DIR": str(self.home / "models"),
        }
        island = Island(name, standing.island_id, owner, slug, env, self.log(name))
        self.islands.append(island)
        island.start()
        return island

    async def invite(self, name: str) -> tuple[str, str]:
        """An owner's id, and the code by which the first Coordinator knows their Island."""
        owner = await commands.add_user(self._settings(), f"{name}@example.org", "0", 1000)
        headers = {"Authorization": f"Bearer {owner['api_key']}"}
        url = f"{self.coordinators[0].base}/api/v1/pairing-codes"
        made = await self._http.post(url, headers=headers)
        return owner["user_id"], made.json()["data"]["code"]

    # --- What a run needs ------------------------------------------------------------------------------------------

    async def customer(self, name: str) -> tuple[str, str]:
        """A user with more credits than a run can spend: id and API key."""
        made = await commands.add_user(
            self._settings(), f"{name}@example.org", "1000000", RATE_PER_MINUTE
        )
        return made["user_id"], made["api_key"]

    async def ready(self, coordinator: Coordinator) -> bool:
        try:
            return (await self._http.get(f"{coordinator.base}/api/v1/ready")).status_code == 200
        except httpx.HTTPError:
            return False

    async def all_ready(self) -> bool:
        for one in self.coordinators:
            assert one.running, f"{one.name} ended:\n{one.process and one.process.log_tail()}"
            if not await self.ready(one):
                return False
        return True

    async def all_warm(self) -> bool:
        return all(island.ready() for island in self.islands)

    async def until(
        self, holds: Callable[[], Awaitable[bool]], what: str, timeout_s: float = START_S
    ) -> None:
        if not await becomes(holds, timeout_s):
            self.keep = True
            raise AssertionError(f"not within {timeout_s:g} s: {what}; see {self.home}")

    async def streams_on(self) -> dict[str, int]:
        """How many attempts each Island holds at this moment, by id; none while the database is away."""
        try:
            return await asyncio.to_thread(_held, self.database_url())
        except psycopg.OperationalError:
            return {}

    async def has_moved(self, customer: str) -> bool:
        """Whether another Island goes on with one of this customer's streams."""
        return await asyncio.to_thread(_moved, self.database_url(), customer)

    async def restart_postgres(self, away_s: float) -> None:
        """Killed, and started again after so long."""
        assert self.postgres.process is not None
        self.postgres.process.signal(signal.SIGKILL)
        await asyncio.to_thread(self.postgres.process.wait, STOP_S)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self.postgres.stop)
        await asyncio.to_thread(self.postgres.prepare)
        self.postgres.spawn()
        await asyncio.to_thread(self.postgres.wait_ready)

    async def restart_broker(self, index: int, away_s: float, *, forget: bool = False) -> None:
        """Killed, and started again after so long; with `forget`, with nothing of what JetStream kept."""
        broker = self.brokers[index]
        await asyncio.to_thread(broker.kill)
        if forget:
            await asyncio.to_thread(shutil.rmtree, broker.store, ignore_errors=True)
        await asyncio.sleep(away_s)
        broker.spawn()
        await asyncio.to_thread(broker.wait_ready)

    async def mend(self) -> None:
        """Everything runs and every line is whole."""
        self.proxies.heal(*self.lines())
        for part in (*self.coordinators, *self.islands):
            if part.running:
                part.signal_all(signal.SIGCONT)
            else:
                part.start()
        await self.until(self.all_ready, "the Coordinators are ready again")
        await self.until(self.all_warm, "the Islands are warm again")

    async def stop(self) -> None:
        await self._http.aclose()
        for part in (*self.islands, *self.coordinators):
            if part.running:
                part.signal_all(signal.SIGCONT)
        await asyncio.gather(*(island.stop() for island in self.islands))
        await asyncio.gather(*(one.stop() for one in self.coordinators))
        for broker in self.brokers:
            await asyncio.to_thread(broker.kill)  # Nobody is left to whom it would say goodbye.
        await asyncio.to_thread(self.postgres.stop)
        if hasattr(self, "proxies"):
            self.proxies.close()
        if self._switchboard is not None:
            await asyncio.to_thread(self._switchboard.stop)

    def log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"


NOTHING_SPECIAL = Capabilities("chaos", "linux", "x86_64", 1, (), 1 << 30, 1 << 30, (), (), ())


async def becomes(
    holds: Callable[[], Awaitable[bool]], timeout_s: float, look_s: float = LOOK_S
) -> bool:
    """Waits for it; False where it did not become true in time."""
    deadline = time.monotonic() + timeout_s
    while not await holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(look_s)
    return True


def _held(database_url: str) -> dict[str, int]:
    with psycopg.connect(database_url) as connection:
        return dict(connection.execute(HELD).fetchall())


def _moved(database_url: str, customer: str) -> bool:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(MOVED, (customer,)).fetchone()
    return row is not None and bool(row[0])


@contextlib.asynccontextmanager
async def started(plan: Plan) -> AsyncIterator[Network]:
    """A running network. Its folder stays where an error ended it, or where CHAOS_KEEP is set."""
    network = Network(plan, _folder())
    try:
        await network.start()
        yield network
    except BaseException:
        await _to_the_end(network)
        raise
    await _to_the_end(network)
    if not network.keep:
        shutil.rmtree(network.home, ignore_errors=True)


def _folder() -> Path:
    home = Path(tempfile.mkdtemp(prefix="archipelag-chaos-"))
    home.chmod(0o755)  # Cargos run without privileges and must reach their sockets.
    return home


async def _to_the_end(network: Network) -> None:
    """Also when we are cancelled a second time meanwhile."""
    stopping = asyncio.create_task(network.stop())
    try:
        await asyncio.shield(stopping)
    except asyncio.CancelledError:
        await stopping
        raise


def _clustered(index: int, routes: list[int]) -> str:
    """Clients are not told of the other servers: they would go round their proxies."""
    others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    return (
        f"\nserver_name: nats{index}\n"
        f"cluster {{ name: chaos, listen: 127.0.0.1:{routes[index]}, no_advertise: true, "
        f"routes: [{others}] }}\n"
    )
