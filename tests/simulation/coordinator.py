"""A Coordinator as `compose` puts it together, with everything real but sockets, processes and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any, Final

import nats.errors
from archipelag_contracts import ids
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.ids import ApiKeyId, BatchId, IslandId, JobId, RelayId, UserId
from archipelag_contracts.signing import SigningKey
from archipelag_coordinator import compose
from archipelag_coordinator import errands as doing
from archipelag_coordinator.adapters.nats.chunk_relay import NatsChunkRelay
from archipelag_coordinator.adapters.nats.connection import Connection, Identity, make_streams
from archipelag_coordinator.adapters.nats.island_bus import NatsIslandBus
from archipelag_coordinator.adapters.nats.presence import Presence as PresenceOnLine
from archipelag_coordinator.adapters.nats.replay import StreamReplay
from archipelag_coordinator.adapters.nats.reports import ReportQueue
from archipelag_coordinator.adapters.nats.wire import Wire
from archipelag_coordinator.adapters.postgres.store import UNREACHABLE
from archipelag_coordinator.apps.api.app import ApiSettings, create_app
from archipelag_coordinator.apps.api.pace import Pace
from archipelag_coordinator.apps.islands.heartbeats import Heartbeats
from archipelag_coordinator.apps.islands.known import KnownKeys
from archipelag_coordinator.apps.islands.presence import Presence
from archipelag_coordinator.apps.islands.reports import Reports
from archipelag_coordinator.apps.loops.runner import Runner
from archipelag_coordinator.apps.loops.table import TABLE
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.services import upkeep
from archipelag_coordinator.services.list_cargos import load_catalogue
from archipelag_coordinator.services.publish import Signatures
from archipelag_coordinator.services.settled import settled
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing.fakes import FakeBroker
from nats.aio.msg import Msg

from simulation.broker import CAME, WENT
from simulation.database import Database, PartyLeader, PartyStore
from simulation.party import Party, PartyClock
from simulation.watching import BEATING

URL: Final = "nats://nats:4222"
EXPIRE_S: Final = 60.0


@dataclass(frozen=True)
class NetworkKeys:
    """The private keys that all Coordinators of a network share."""

    assignment: SigningKey
    publisher: SigningKey
    cosign: CosignKey

    def signatures(self) -> Signatures:
        """How the network signs what it lists itself."""
        return Signatures(
            cosign=self.cosign.sign,
            cosign_key=self.cosign.public,
            sign=self.publisher.sign,
            public_key=self.publisher.public,
        )


class SeededIds:
    """Implements `Ids` from one seeded source."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def job(self, now: Any) -> JobId:
        return JobId(f"job_{self._body(now)}")

    def batch(self, now: Any) -> BatchId:
        return BatchId(f"bat_{self._body(now)}")

    def island(self, now: Any) -> IslandId:
        return IslandId(f"isl_{self._body(now)}")

    def user(self, now: Any) -> UserId:
        return UserId(f"usr_{self._body(now)}")

    def api_key(self, now: Any) -> ApiKeyId:
        return ApiKeyId(f"key_{self._body(now)}")

    def relay(self, now: Any) -> RelayId:
        return RelayId(f"rly_{self._body(now)}")

    def secret(self) -> str:
        return f"ak_{self._rng.randrange(10**43):043d}"

    def session_secret(self) -> str:
        return f"as_{self._rng.randrange(10**43):043d}"

    def link_secret(self) -> str:
        return f"al_{self._rng.randrange(10**43):043d}"

    def pairing_code(self) -> str:
        return "".join(self._rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=6))

    def seed(self) -> int:
        return self._rng.getrandbits(63)

    def chance(self) -> float:
        return self._rng.random()

    def _body(self, now: Any) -> str:
        return ids.encode(int(now.timestamp() * 1000), self._rng.randbytes(10))


class SimCoordinator:
    """One process from its start to its death; a restart is another of these, with a new relay id."""

    def __init__(
        self,
        party: Party,
        database: Database,
        keys: NetworkKeys,
        rng: Random,
        policy: Policy,
        gave_up: Callable[[SimCoordinator, BaseException], None],
    ) -> None:
        self.party = party
        self.loop = asyncio.get_running_loop()
        self.clock = PartyClock(self.loop, party)
        self.ids = SeededIds(rng)
        self.home = self.ids.relay(self.clock.now())
        self.keys = keys
        self.store = PartyStore(database, party)
        self.leader = PartyLeader(database, party)
        self.policy = policy
        self.serving = False
        """It takes requests."""
        self.stopping = False
        self._gave_up = gave_up
        self.world: World | None = None
        self.app: Any = None
        self.runner: Runner | None = None
        self.relay: NatsChunkRelay | None = None
        self.requests: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        self.party.spawn(self._run(), f"coordinator {self.party}")

    async def _run(self) -> None:
        try:
            await self._serve()
        except Exception as error:
            # As a supervisor sees it: the process ended by itself.
            self._gave_up(self, error)

    async def _serve(self) -> None:
        """The same steps, in the same order, as `compose.serve` and `compose._open`."""
        who = Identity(
            key=self.keys.assignment,
            token=lambda: "",
            inbox_prefix=f"_INBOX.{self.home}",
            name=str(self.home),
        )
        connection = Connection([URL], who, on_connected=make_streams)
        kept = StreamReplay(connection, self.clock)
        relay = self.relay = NatsChunkRelay(self.home, self.clock, kept)
        heard: list[PresenceOnLine] = []
        claims = replace(who, name=f"{self.home} claims")
        system = Connection([URL], claims, on_lost=partial(_unsure, heard))
        wire = Wire([URL], who)
        for part in (connection, system, wire):
            await part.open()
        relay.attach(wire)
        bus = NatsIslandBus(connection, self.keys.assignment)
        runner = self.runner = Runner(
            TABLE, lambda: self.leader.is_leader, lambda: self.leader.is_settled
        )
        world = self.world = World(
            store=self.store,
            door=self.store,
            clock=self.clock,
            ids=self.ids,
            bus=bus,
            relay=relay,
            broker=FakeBroker(),
            home=self.home,
            policy=self.policy,
            prompt_secret=b"of the simulation",
            assignment_keys=(self.keys.assignment.public,),
            publisher_keys=(self.keys.publisher.public,),
            broker_urls=(URL,),
            version="sim",
            nudge=runner.nudge,
        )
        errands = _errands(world, relay)
        presence = Presence(world)
        await bus.listen_left(
            lambda was, place: errands.run(doing.take_left(runner, world, was, place))
        )
        heard.append(PresenceOnLine(presence.gone, presence.back, presence.unsure))
        await _listen_presence(system, heard[0])
        await upkeep.beat(world)
        await load_catalogue(world)
        await upkeep.load_fleet(world)
        known = KnownKeys(world)
        heartbeats = Heartbeats(world, known, self.keys.assignment)

        async def beaten(island: IslandId, data: bytes) -> bytes | None:
            BEATING.set(island)
            return await heartbeats.take(island, data)

        await bus.listen_heartbeats(beaten)
        await bus.listen_ended(world.home, lambda job_id: settled(world, job_id))
        taking = Reports(world, known)
        await bus.listen_reports(world.home, taking.take_here)
        await bus.listen_cancels(world.home, partial(doing.cancel_handed, world))
        await bus.listen_here(world.home)
        reports = ReportQueue(connection, taking.take, taking.all_taken)
        self.app = self._app(world, connection)
        self.serving = True
        async with asyncio.TaskGroup() as group:
            group.create_task(self.leader.run(), name="leader")
            group.create_task(runner.run(world), name="loops")
            group.create_task(reports.run(), name="reports")
            group.create_task(self._chores(world), name="chores")

    async def stop(self) -> None:
        """As SIGTERM does: no new requests, a while for open ones, a word to the others."""
        self.serving = False
        if self.world is not None and self.runner is not None:
            await doing.leave(self.runner, self.world)
        await asyncio.sleep(compose.STREAMS_END_S)
        if self.world is not None and self.runner is not None:
            await doing.leave(self.runner, self.world)
        self.party.kill()

    def _app(self, world: World, connection: Connection) -> Any:
        numbers = iter(range(1, 1 << 30))
        api = ApiSettings(
            unavailable=(ConnectionError, TimeoutError, *UNREACHABLE, nats.errors.Error)
        )
        return create_app(
            world,
            settings=api,
            broker_connected=lambda: connection.connected,
            pace=Pace(spent=lambda: 0.0),  # How fast this machine is must not decide anything.
            new_request_id=lambda: f"req_{self.home}_{next(numbers)}",
        )

    async def _chores(self, world: World) -> None:
        """What Procrastinate runs beside the loops."""
        while True:
            await asyncio.sleep(EXPIRE_S)
            try:
                await upkeep.expire_reservations(world, 500)
                await upkeep.prune_items(world, 500)
            except UNREACHABLE:
                continue


async def _listen_presence(system: Connection, presence: PresenceOnLine) -> None:
    """The same steps as `NatsBroker.listen_presence`."""

    async def connected(message: Msg) -> None:
        presence.connected(message.data)

    async def disconnected(message: Msg) -> None:
        presence.disconnected(message.data)

    await system.subscribe(CAME, connected)
    await system.subscribe(WENT, disconnected)


def _unsure(heard: list[PresenceOnLine]) -> None:
    """Empty until somebody listens."""
    for one in heard:
        one.unsure()


def _errands(world: World, relay: NatsChunkRelay) -> doing.Errands:
    errands = doing.Errands()
    relay.on_wrong = lambda *attempt: errands.run(doing.end_wrong(world, *attempt))
    relay.on_end = lambda job, _island, _epoch: errands.run(doing.look_soon(world, job))
    return errands
