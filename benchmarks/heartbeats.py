"""What do the heartbeats of 10,000 Islands cost one Coordinator, and what happens when it restarts?

    python benchmarks/heartbeats.py [--islands 10000] [--lines 50] [--seconds 30] [--away 8]

A real Coordinator on one core, on a real PostgreSQL and a real NATS in operator mode. The Islands are rows that were
put into the database, each with a key of its own; what they send is signed by it, checked by the Coordinator, and
answered with its signature, over the broker. Simulated is that they share lines: `--lines` of them have their own
connection with their own JWT, the others one that may speak for all. They keep the intervals they are told, and try
again as an Island does. Beside it: a responder of bare nats-py, for as many messages of the same size, unsigned and
unread.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import math
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median, quantiles

import nats
import network
import psycopg
from archipelag_contracts import manifest, subjects
from archipelag_contracts.ids import IslandId, UserId
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import island_pb2 as pb
from archipelag_contracts.signing import SigningKey, digest
from archipelag_coordinator.adapters.nats import credentials
from archipelag_coordinator.adapters.nats.jwt import base64url
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.ids import SystemIds
from archipelag_coordinator.testing.builders import an_island
from archipelag_embedded.nats import Nats
from archipelag_embedded.postgres import Postgres
from archipelag_embedded.process import Process, free_port
from archipelag_island.domain.backoff import beat_again_s
from figures import Beside, Figure
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from telling import state

TIMEOUT_S = 3.0
USUAL_S = 10.0
BATCH = 1_000
FLOOD = 50_000
BEAT_BYTES = 280
PATH = "heartbeats"
HOW = (
    "CPU of a Coordinator on one core while the fleet beats every 10 s over a real NATS, all else that it does "
    "included; each is signed, checked and answered signed. Limit: nats-py alone, unsigned and unread: answers at the "
    "same pace, and what a core receives as fast as they come."
)
HOW_BACK = (
    "The Coordinator is stopped, away for some seconds and started; seconds from its start. Limit: if all kept their "
    "interval from its start on."
)


@dataclass
class Virtual:
    """One Island: what it is, and when it beats next."""

    id: IslandId
    key: SigningKey
    line: Client | None = None
    sequence: int = 0
    asked_at: float | None = None
    unanswered: int = 0
    interval_s: float = USUAL_S
    due_at: float = 0.0
    catalogue: int = 0


@dataclass
class Heard:
    answered: int = 0
    given_up: int = 0
    taken_s: list[float] = field(default_factory=list)
    by_second: Counter[int] = field(default_factory=Counter)
    who: set[IslandId] = field(default_factory=set)


class Fleet:
    """Beats for all, by one heap of who is due."""

    def __init__(self, islands: list[Virtual], shared: Client, chance: Random) -> None:
        self._islands = {island.id: island for island in islands}
        self._shared = shared
        self._chance = chance
        self._state = _offer()
        self.heard = Heard()
        self._due: list[tuple[float, IslandId]] = []
        for island in islands:
            self._later(island, chance.uniform(0, USUAL_S))

    async def listen(self) -> None:
        await self._shared.subscribe("_INBOX.*.b", cb=self.answered)

    async def run(self) -> None:
        while True:
            now = time.monotonic()
            while self._due[0][0] <= now:
                at, name = heapq.heappop(self._due)
                if at == self._islands[name].due_at:
                    await self._turn(self._islands[name], now)
            await asyncio.sleep(min(0.005, max(0.0, self._due[0][0] - now)))

    async def _turn(self, island: Virtual, now: float) -> None:
        if island.asked_at is not None:  # Its time-out.
            island.asked_at = None
            island.unanswered += 1
            self.heard.given_up += 1
            self._later(island, beat_again_s(island.unanswered, island.interval_s, self._chance))
            return
        island.sequence += 1
        beat = pb.Heartbeat(
            island_id=island.id,
            sequence=island.sequence,
            boot_id="boot",
            cargos=[self._state],
            slots=4,
            slots_free=4,
            broker_rtt_us=4_000,
            load=self._chance.random(),
            catalogue_number=island.catalogue,
            reads_documents=True,
        )
        island.asked_at = now
        self._later(island, TIMEOUT_S)
        line = island.line or self._shared
        await line.publish(
            subjects.heartbeat(island.id),
            island.key.seal(beat),
            reply=f"{subjects.inbox_prefix(island.id)}.b",
        )

    async def answered(self, message: Msg) -> None:
        island = self._islands[IslandId(message.subject.split(".")[1])]
        if island.asked_at is None:
            return  # Too late.
        now = time.monotonic()
        if not message.data:  # Nobody listens for heartbeats.
            island.asked_at = None
            island.unanswered += 1
            self._later(island, beat_again_s(island.unanswered, island.interval_s, self._chance))
            return
        said = pb.HeartbeatReply.FromString(common.Signed.FromString(message.data).payload)
        if said.sequence != island.sequence:
            return
        heard = self.heard
        heard.answered += 1
        heard.taken_s.append(now - island.asked_at)
        heard.by_second[int(now)] += 1
        heard.who.add(island.id)
        island.asked_at, island.unanswered = None, 0
        island.catalogue = said.catalogue_number or island.catalogue
        island.interval_s = said.next_interval_ms / 1000
        self._later(island, island.interval_s)

    def _later(self, island: Virtual, wait_s: float) -> None:
        """Older entries of the same Island count no more."""
        island.due_at = time.monotonic() + wait_s
        heapq.heappush(self._due, (island.due_at, island.id))


def _offer() -> pb.CargoState:
    cargo = manifest.parse_toml(network.MANIFEST.read_text())
    return pb.CargoState(
        slug=cargo.slug,
        digest=digest(cargo.canonical()),
        state=pb.CargoState.STATE_WARM,
        items_per_s=40.0,
        first_item_ms=80.0,
        slots=4,
        prompt_tokens_per_s=900.0,
    )


@dataclass(frozen=True)
class Back:
    """After a restart: when the last was heard, and how many in the busiest second."""

    all_s: float
    peak: int


@dataclass(frozen=True)
class Bare:
    """What nats-py alone takes: microseconds of CPU for an answer at the fleet's pace, and for a message at its own."""

    answer_us: float
    receive_us: float


def _figures(islands: int, beat_us: float, back: Back, bare: Bare) -> list[Figure]:
    fleet = f"{islands:,} Islands"
    nats_py = "bare nats-py"
    paces = 1e6 / beat_us, Beside(nats_py, 1e6 / bare.receive_us)
    even = Beside("evenly spread", islands / USUAL_S)
    interval = Beside("one interval", USUAL_S)
    return [
        Figure(
            PATH, f"CPU each, {fleet}", beat_us, "µs", HOW, limit=Beside(nats_py, bare.answer_us)
        ),
        Figure(PATH, "a core stands", paces[0], "/s", HOW, limit=paces[1], more_is_better=True),
        Figure(PATH, "all heard after a restart", back.all_s, "s", HOW_BACK, limit=interval),
        Figure(PATH, "in the busiest second after it", back.peak, "/s", HOW_BACK, limit=even),
    ]


async def measure(options: argparse.Namespace) -> list[Figure]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(network._folder()))
        postgres = Postgres(home / "postgres", log=home / "postgres.log")
        stack.callback(postgres.stop)
        database = postgres.start()
        state = home / "coordinator"
        env = os.environ | {
            "ARCHIPELAG_DATABASE_URL": database,
            "ARCHIPELAG_STATE_DIR": str(state),
            "ARCHIPELAG_HTTP_PORT": str(free_port()),
            "ARCHIPELAG_GRPC_PORT": str(free_port()),
            "ARCHIPELAG_LOG_LEVEL": "WARNING",
        }
        network._run(env, "keys", "init", "--state-dir", str(state))
        broker = Nats(
            home / "nats",
            config=network._run(env, "broker-config", "--state-dir", str(state)),
        )
        stack.callback(broker.stop)
        env["ARCHIPELAG_NATS_URL"] = url = broker.start()
        network._run(env, "migrate")
        network._run(env, "bootstrap", "--json", "--cargo", str(network.MANIFEST))
        islands = await _enrol(database, options.islands)
        running = [coordinator := _coordinator(env, home)]
        stack.callback(lambda: [one.stop() for one in running])
        keys = credentials.load_keys(state)
        shared = await _connect_shared(url, keys)
        for island in islands[: options.lines]:
            island.line = await _connect(url, keys, island)
        fleet = Fleet(islands, shared, Random(1))
        await fleet.listen()
        for island in islands[: options.lines]:
            assert island.line is not None
            await island.line.subscribe(f"{subjects.inbox_prefix(island.id)}.b", cb=fleet.answered)
        beating = asyncio.create_task(fleet.run())
        try:
            async with asyncio.timeout(network.START_S):
                while not fleet.heard.answered:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            await asyncio.sleep(options.warm)
            assert postgres.process is not None and broker.process is not None
            pids = {"Coordinator": coordinator.pid, "PostgreSQL": postgres.process.pid}
            pids |= {"NATS": broker.process.pid, "all Islands": os.getpid()}
            beat_us = await _steady(fleet, pids, options.seconds)
            _memory(coordinator)
            coordinator.stop()
            await asyncio.sleep(options.away)
            fleet.heard = Heard()
            running.append(_coordinator(env, home))
            back_at = time.monotonic()
            back = await _after_restart(fleet, back_at, options)
            _deaths(database)
        finally:
            beating.cancel()
        bare = await _floor(url, keys, options)
    return _figures(options.islands, beat_us, back, bare)


async def _steady(fleet: Fleet, pids: dict[str, int], seconds: float) -> float:
    """Microseconds of the Coordinator's CPU for a heartbeat."""
    fleet.heard = heard = Heard()
    before = {name: network.cost(pid, tree=name != "all Islands") for name, pid in pids.items()}
    await asyncio.sleep(seconds)
    print(f"heartbeats answered: {heard.answered / seconds:.0f}/s, given up: {heard.given_up}")
    taken = heard.taken_s or [0.0, 0.0]
    print(
        f"answer p50 {1e3 * median(taken):.1f} ms, p99 {1e3 * quantiles(taken, n=100)[98]:.1f} ms"
    )
    each_us = {}
    for name, pid in pids.items():
        spent = network.cost(pid, tree=name != "all Islands").cpu_s - before[name].cpu_s
        each_us[name] = 1e6 * spent / max(1, heard.answered)
        print(f"{name:12} {each_us[name]:6.0f} µs a heartbeat, {spent / seconds:.3f} core")
    return each_us["Coordinator"]


def _memory(coordinator: Process) -> None:
    print(f"Coordinator's memory: {network.cost(coordinator.pid).memory_mb:.0f} MiB")


async def _after_restart(fleet: Fleet, back_at: float, options: argparse.Namespace) -> Back:
    islands = options.islands
    while len(fleet.heard.who) < islands and time.monotonic() < back_at + 60:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    all_s = time.monotonic() - back_at
    heard = len(fleet.heard.who)
    await asyncio.sleep(options.after)
    peak = max(fleet.heard.by_second.values())
    normal = islands / USUAL_S
    print(
        f"after a restart: {heard} of {islands} heard within {all_s:.1f} s of the start, "
        f"at most {peak} in a second: {peak / normal:.2f} × normal, given up {fleet.heard.given_up}"
    )
    return Back(all_s if heard == islands else math.nan, peak)


def _deaths(database: str) -> None:
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT status, count(*) FROM islands GROUP BY 1").fetchall()
    print("Islands by state afterwards:", dict(rows))


async def _floor(url: str, keys: credentials.Keys, options: argparse.Namespace) -> Bare:
    """A responder of bare nats-py: the same number of messages of the same size."""
    token, seed = _wide(keys)
    with network.on_one_core():
        program = [sys.executable, __file__, "--echo", url, token, seed]
        echo = subprocess.Popen(program)  # noqa: ASYNC220 - nothing waits for it yet
    try:
        client = await _connect_shared(url, keys)
        async with asyncio.timeout(network.START_S):
            while await _count(client) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        answer_us = await _ask_floor(client, options, echo.pid)
        return Bare(answer_us, await _flood_floor(client, echo.pid))
    finally:
        echo.kill()
        echo.wait(10)


async def _ask_floor(client: Client, options: argparse.Namespace, pid: int) -> float:
    count = 0

    async def back(_: Msg) -> None:
        nonlocal count
        count += 1

    await client.subscribe("bench.back", cb=back)
    rate = options.islands / USUAL_S
    before, begun = network.cost(pid), time.monotonic()
    sent = 0
    for turn in range(int(options.seconds * 100)):
        while sent < int((turn + 1) * rate / 100):
            sent += 1
            await client.publish("bench.echo", bytes(BEAT_BYTES), reply="bench.back")
        await asyncio.sleep(max(0.0, begun + (turn + 1) / 100 - time.monotonic()))
    await asyncio.sleep(0.5)
    spent = network.cost(pid).cpu_s - before.cpu_s
    each_us = 1e6 * spent / max(1, count)
    print(f"bare nats-py {each_us:6.0f} µs an answer, at {count / options.seconds:.0f}/s")
    return each_us


async def _flood_floor(client: Client, pid: int) -> float:
    """As many as it can take: those that come while it works are read at once, which is what makes each cheap."""
    before = network.cost(pid)
    for _ in range(FLOOD // BATCH):
        for _ in range(BATCH):
            await client.publish("bench.flood", bytes(BEAT_BYTES))
        await client.flush(60)
    async with asyncio.timeout(60):
        while await _count(client) != FLOOD:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    each_us = 1e6 * (network.cost(pid).cpu_s - before.cpu_s) / FLOOD
    print(f"bare nats-py {each_us:6.1f} µs to receive one, as fast as they come")
    return each_us


async def _count(client: Client) -> int | None:
    """How many of a flood the responder has received; None: it does not listen yet."""
    try:
        return int((await client.request("bench.count", b"", timeout=30)).data)
    except NoRespondersError:
        return None


async def _echo(url: str, token: str, seed: str) -> None:
    key = SigningKey.from_seed(bytes.fromhex(seed))
    client = await _line(url, token, key, "_INBOX.echo")

    async def answer(message: Msg) -> None:
        await client.publish(message.reply, bytes(BEAT_BYTES))

    count = 0

    async def taken(_: Msg) -> None:
        nonlocal count
        count += 1

    async def told(message: Msg) -> None:
        await message.respond(b"%d" % count)

    await client.subscribe("bench.echo", cb=answer)
    await client.subscribe("bench.flood", cb=taken, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await client.subscribe("bench.count", cb=told)
    await asyncio.Event().wait()


async def _enrol(database: str, count: int) -> list[Virtual]:
    ids, now = SystemIds(), datetime.now(UTC)
    made = [Virtual(ids.island(now), SigningKey.generate()) for _ in range(count)]
    async with PostgresStore(database, pool_max=2) as store:
        with psycopg.connect(database) as connection:
            row = connection.execute("SELECT id FROM users LIMIT 1").fetchone()
        assert row is not None
        for first in range(0, count, BATCH):
            async with store.begin() as tx:
                for one in made[first : first + BATCH]:
                    await tx.islands.add(
                        an_island(
                            id=one.id,
                            owner_id=UserId(row[0]),
                            public_key=one.key.public,
                            seen_at=now,
                            offers=(),
                        )
                    )
    return made


def _coordinator(env: dict[str, str], home: Path) -> Process:
    with network.on_one_core():
        return Process(
            "Coordinator",
            [sys.executable, "-m", "archipelag_coordinator", "serve"],
            log=network._log(home, "coordinator"),
            env=env,
            cwd=network.HERE.parent,
        )


def _wide(keys: credentials.Keys) -> tuple[str, str]:
    relay = SystemIds().relay(datetime.now(UTC))
    token = credentials.coordinator_token(keys, relay, issued_at=datetime.now(UTC))
    return token, keys.coordinator_user.seed().hex()


async def _connect_shared(url: str, keys: credentials.Keys) -> Client:
    return await _line(url, _wide(keys)[0], keys.coordinator_user, "_INBOX.bench")


async def _connect(url: str, keys: credentials.Keys, island: Virtual) -> Client:
    now = datetime.now(UTC)
    token = credentials.island_token(
        keys,
        island.key.public,
        island.id,
        "virtual",
        issued_at=now,
        expires_at=now + timedelta(hours=1),
    )
    return await _line(url, token, island.key, subjects.inbox_prefix(island.id))


async def _line(url: str, token: str, key: SigningKey, inbox: str) -> Client:
    return await nats.connect(
        url,
        user_jwt_cb=lambda: bytearray(token.encode()),
        signature_cb=lambda nonce: base64url(key.sign(b"", nonce.encode())).encode(),
        inbox_prefix=inbox,
        pending_size=64 << 20,
    )


def main() -> None:
    if sys.argv[1:2] == ["--echo"]:
        asyncio.run(_echo(*sys.argv[2:5]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--islands", type=int, default=10_000)
    parser.add_argument("--lines", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--away", type=float, default=8.0, help="seconds the Coordinator is away")
    parser.add_argument("--warm", type=float, default=2 * USUAL_S, help="seconds before measuring")
    parser.add_argument(
        "--after", type=float, default=15.0, help="seconds watched once all are back"
    )
    network.pin_tools()
    state(asyncio.run(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
