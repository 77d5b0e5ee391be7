"""Faults: what breaks, when and for how long, all by seed. Each begins, lasts and ends by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from archipelag_contracts.ids import IslandId
from archipelag_island.adapters.link import NatsLink
from archipelag_island.domain.attempt import AttemptKey

from simulation.broker import NAME as BROKER
from simulation.cargo import Knobs
from simulation.database import NAME as DATABASE
from simulation.liars import LIES, Liar
from simulation.party import Party
from simulation.world import World

CALM: Final = Knobs()


@dataclass(frozen=True)
class Weather:
    """How much of it: seconds between faults on average, and what may happen, by weight."""

    every_s: float
    weights: dict[str, float]
    liars: float = 0.0
    """Chance that a host does not say the truth."""
    sick: float = 0.0
    """Chance that a host's Cargos die, stall or stumble now and then."""
    skewed: float = 0.0


class Nemesis:
    """Brings faults about until it is told to stop; then everything is mended."""

    def __init__(self, world: World, weather: Weather) -> None:
        self._world = world
        self._weather = weather
        self._rng = world.rng("faults")
        self._under_way: set[asyncio.Task[None]] = set()
        self._armed = 0
        self.counts: dict[str, int] = {}
        world.database.after_commit.append(self._after_commit)

    def prepare(self) -> None:
        """What hosts are like from the start."""
        rng, weather = self._rng, self._weather
        for host in self._world.hosts:
            if rng.random() < weather.sick:
                host.knobs.die = rng.choice((0.0, 0.002, 0.01))
                host.knobs.stall = rng.choice((0.0, 0.001, 0.003))
                host.knobs.fail = rng.choice((0.0, 0.0, 0.001))
                host.knobs.refuse_slot = rng.choice((0.0, 0.02))
                host.knobs.hasty = rng.choice((0.0, 0.3))
            if rng.random() < weather.liars:
                name = rng.choice(sorted(LIES))
                host.lie = self._liar(name, host.id)
                host.lies = name
                self._world.trace(f"{host.name} lies: {name}")
            if rng.random() < weather.skewed:
                host.skew_s = rng.choice((-3600.0, -200.0, -20.0, 20.0, 200.0, 3600.0))
                host.drift = rng.choice((0.0, -0.02, 0.02))

    def _liar(self, name: str, island: IslandId) -> Callable[[NatsLink], Liar]:
        def strangers() -> list[AttemptKey]:
            """Other hosts' attempts; those at work last, since liars look there first."""
            state = self._world.memory._state
            others = [a for a in state.attempts if a.island_id != island]
            others.sort(key=lambda a: not a.finished)
            return [AttemptKey(a.job_id, a.epoch) for a in others]

        return lambda link: LIES[name](link, self._rng, strangers)

    async def run(self) -> None:
        kinds = sorted(self._weather.weights)
        weights = [self._weather.weights[kind] for kind in kinds]
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / self._weather.every_s))
            kind = self._rng.choices(kinds, weights)[0]
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self._world.trace(f"fault {kind}")
            task = asyncio.get_running_loop().create_task(FAULTS[kind](self))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def stop(self) -> None:
        """Faults end: networks heal, frozen parties thaw, the dead are started again."""
        world = self._world
        for task in sorted(self._under_way, key=lambda t: t.number):  # type: ignore[attr-defined]
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._armed = 0
        world.trace("faults stop")
        world.network.heal_all()
        world.network.latency_s = (0.0002, 0.004)
        world.network.spikes = False
        world.database.lose_before = world.database.lose_after = 0.0
        world.database.come_up()
        for party in world.alive():
            party.thaw()
        if world.broker is None:
            world.start_broker()
        assert world.broker is not None
        world.broker.party.thaw()
        world.broker.loss = world.broker.repeat = 0.0
        for host in world.hosts:
            host.disk_full = False
            host.knobs.__dict__.update(CALM.__dict__)
        for slot, coordinator in enumerate(world.coordinators):
            if coordinator is not None and coordinator.stopping:
                world.kill_coordinator(slot)
            if world.coordinators[slot] is None:
                world.start_coordinator(slot)
        for slot, island in enumerate(world.islands):
            host = world.hosts[slot]
            # Liars and hosts with a wrong clock start anew as others are, so that what is left can settle.
            if host.skew_s or host.lie is not None or (island is not None and island.stopping):
                world.kill_island(slot)
            host.skew_s, host.drift, host.lie = 0.0, 0.0, None
            if world.islands[slot] is None:
                world.start_island(slot)

    # --- One fault each --------------------------------------------------------------------------------------------

    async def island_dies(self) -> None:
        slot = self._rng.randrange(len(self._world.hosts))
        self._world.kill_island(slot)
        if self._rng.random() < 0.2:
            self._tear_journal(slot)
        await self._last(0.3, 25.0)
        if self._world.islands[slot] is None:
            self._world.start_island(slot)

    def _tear_journal(self, slot: int) -> None:
        """A power cut: the end of the file never reached the disk."""
        host = self._world.hosts[slot]
        path = host.folder / f"{host.name}.journal"
        if path.exists():
            data = path.read_bytes()
            path.write_bytes(data[: max(0, len(data) - self._rng.randint(1, 200))])

    async def island_drains(self) -> None:
        slot = self._rng.randrange(len(self._world.hosts))
        island = self._world.islands[slot]
        if island is None or island.stopping or island.party.dead:
            return
        island.stopping = True
        island.party.spawn(island.drain())
        await self._last(6.0, 20.0)
        if self._world.islands[slot] is island:
            self._world.kill_island(slot)
            self._world.start_island(slot)

    async def island_freezes(self) -> None:
        await self._freeze(self._some_island(), 0.5, 90.0)

    async def cargo_dies(self) -> None:
        slot = self._rng.randrange(len(self._world.hosts))
        island = self._world.islands[slot]
        if island is not None and not island.party.dead:
            island.party.context.copy().run(island.runtime.kill_one)

    async def disk_fills(self) -> None:
        host = self._rng.choice(self._world.hosts)
        host.disk_full = True
        await self._last(2.0, 20.0)
        host.disk_full = False

    async def coordinator_dies(self) -> None:
        slot = self._rng.randrange(len(self._world.coordinators))
        self._world.kill_coordinator(slot)
        await self._last(0.3, 15.0)
        self._world._restart_coordinator(slot)

    async def coordinator_stops(self) -> None:
        """Stopped well, as at an upgrade."""
        slot = self._rng.randrange(len(self._world.coordinators))
        one = self._world.coordinators[slot]
        if one is None or not one.serving or one.stopping:
            return
        one.stopping = True
        one.party.spawn(one.stop())
        await self._last(4.0, 20.0)
        if self._world.coordinators[slot] is one:
            self._world.kill_coordinator(slot)
            self._world.start_coordinator(slot)

    async def coordinator_dies_at_commit(self) -> None:
        """After one of the next commits, before what it is to send has been sent."""
        self._armed = self._rng.randint(1, 12)

    def _after_commit(self, party: Party) -> None:
        if self._armed <= 0:
            return
        self._armed -= 1
        if self._armed:
            return
        for slot, one in enumerate(self._world.coordinators):
            if one is not None and one.party is party:
                self._world.trace(f"{party} dies after its commit")
                self._world.kill_coordinator(slot)
                self._world.later(
                    self._rng.uniform(0.3, 12.0), lambda s=slot: self._world._restart_coordinator(s)
                )
                return

    async def coordinator_freezes(self) -> None:
        one = self._rng.choice(self._world.coordinators)
        await self._freeze(one.party if one is not None else None, 0.3, 40.0)

    async def broker_restarts(self) -> None:
        self._world.stop_broker()
        await self._last(0.2, 8.0)
        if self._world.broker is None:
            self._world.start_broker()

    async def broker_forgets(self) -> None:
        """Its store is deleted: streams, consumers, everything."""
        self._world.stop_broker()
        self._world.jetstream.forget()
        await self._last(0.2, 4.0)
        if self._world.broker is None:
            self._world.start_broker()

    async def broker_freezes(self) -> None:
        broker = self._world.broker
        await self._freeze(broker.party if broker is not None else None, 0.3, 12.0)

    async def messages_get_lost(self) -> None:
        broker = self._world.broker
        if broker is not None:
            broker.loss = self._rng.choice((0.01, 0.05, 0.2))
            broker.repeat = self._rng.choice((0.0, 0.05))
            await self._last(2.0, 15.0)
            broker.loss = broker.repeat = 0.0

    async def network_slows(self) -> None:
        self._world.network.latency_s = (0.01, self._rng.choice((0.1, 0.4, 1.0)))
        await self._last(2.0, 12.0)
        self._world.network.latency_s = (0.0002, 0.004)

    async def partition(self) -> None:
        """Two who talk to each other do not, in one direction or both."""
        one, other = self._pair()
        ways = self._rng.choice((((one, other),), ((other, one),), ((one, other), (other, one))))
        for way in ways:
            self._world.trace(f"cut {way[0]} from {way[1]}")
            self._world.network.cut(*way)
        if DATABASE in (one, other):
            for party in self._world.alive():
                if party.host in (one, other):
                    self._world.database.break_sessions(party)
        await self._last(0.5, 45.0)
        for way in ways:
            self._world.network.heal(*way)

    async def swizzle(self) -> None:
        """Some are cut off one after another, and come back in another order."""
        hosts = [host.name for host in self._world.hosts]
        chosen = self._rng.sample(hosts, self._rng.randint(2, len(hosts)))
        for name in chosen:
            self._world.network.cut(name, BROKER)
            self._world.network.cut(BROKER, name)
            await self._last(0.1, 3.0)
        self._rng.shuffle(chosen)
        for name in chosen:
            await self._last(0.1, 6.0)
            self._world.network.heal(name, BROKER)
            self._world.network.heal(BROKER, name)

    async def database_down(self) -> None:
        self._world.database.go_down()
        await self._last(0.3, 35.0)
        self._world.database.come_up()

    async def database_stumbles(self) -> None:
        database = self._world.database
        database.lose_before = self._rng.choice((0.0, 0.02, 0.1))
        database.lose_after = self._rng.choice((0.02, 0.1))
        await self._last(1.0, 15.0)
        database.lose_before = database.lose_after = 0.0

    # --- Helpers of these ------------------------------------------------------------------------------------------

    async def _last(self, shortest_s: float, longest_s: float) -> None:
        """Short ones are more frequent than long ones."""
        ratio = longest_s / shortest_s
        await asyncio.sleep(shortest_s * ratio ** self._rng.random())

    async def _freeze(self, party: Party | None, shortest_s: float, longest_s: float) -> None:
        if party is None or party.dead or party.frozen:
            return
        self._world.trace(f"{party} freezes")
        party.freeze()
        await self._last(shortest_s, longest_s)
        self._world.trace(f"{party} thaws")
        party.thaw()

    def _some_island(self) -> Party | None:
        island = self._rng.choice(self._world.islands)
        return island.party if island is not None else None

    def _pair(self) -> tuple[str, str]:
        rng, world = self._rng, self._world
        coordinator = f"coordinator{rng.randrange(len(world.coordinators))}"
        match rng.choice(("island", "island", "broker", "database", "customer")):
            case "island":
                return rng.choice(world.hosts).name, BROKER
            case "broker":
                return coordinator, BROKER
            case "database":
                return coordinator, DATABASE
            case _:
                number = rng.randrange(max(1, len(world.customers)))
                return f"customer{number}", coordinator


Fault = Callable[[Nemesis], Awaitable[None]]
FAULTS: Final[dict[str, Fault]] = {
    name: getattr(Nemesis, name)
    for name in (
        "island_dies",
        "island_drains",
        "island_freezes",
        "cargo_dies",
        "disk_fills",
        "coordinator_dies",
        "coordinator_stops",
        "coordinator_dies_at_commit",
        "coordinator_freezes",
        "broker_restarts",
        "broker_forgets",
        "broker_freezes",
        "messages_get_lost",
        "network_slows",
        "partition",
        "swizzle",
        "database_down",
        "database_stumbles",
    )
}


def weather_of(rng: Random) -> Weather:
    """Every seed has a climate of its own: some faults often, others never."""
    weights = {name: rng.choice((0.0, 0.3, 1.0, 3.0)) for name in FAULTS}
    if not any(weights.values()):
        weights["island_dies"] = 1.0
    return Weather(
        every_s=rng.choice((1.0, 2.5, 6.0)),
        weights=weights,
        liars=rng.choice((0.0, 0.3, 0.6)),
        sick=rng.choice((0.0, 0.5)),
        skewed=rng.choice((0.0, 0.3)),
    )
