"""The table of faults: what can be done to a network, by name, each with the time of its beginning and end.

A fault is over when what it struck is whole again, so that whoever strikes next knows what still stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Final

from archipelag_contracts.streams import OUTPUT

from .network import Network
from .parts import Coordinator, Island

BACK_S = 90.0
STATUS_S = 1.5
"""After so long an Island's own status says what has happened to it."""


@dataclass
class Strike:
    """One fault that was made. `at`, `until`: by the wall clock of the database; `began`: by the readers' clock."""

    fault: str
    target: str
    at: datetime
    began: float
    until: datetime | None = None
    ended: float | None = None
    note: str = ""
    target_id: str = ""
    """Of the Island that was struck; none where it concerns all of them."""


@dataclass
class Log:
    """Every strike of a run, and whom it holds at this moment."""

    strikes: list[Strike] = field(default_factory=list)
    say: Callable[[str], None] = lambda _: None

    @property
    def struck(self) -> set[str]:
        """Who is not whole now."""
        return {strike.target for strike in self.strikes if strike.until is None}

    @contextlib.asynccontextmanager
    async def strike(self, fault: str, target: str, target_id: str = "") -> AsyncIterator[Strike]:
        began = datetime.now(UTC), time.monotonic()
        one = Strike(fault, target, *began, target_id=target_id)
        self.strikes.append(one)
        try:
            yield one
        finally:
            one.until, one.ended = datetime.now(UTC), time.monotonic()
            note = f" ({one.note})" if one.note else ""
            self.say(f"{fault} {target}{note}, {one.ended - one.began:.1f} s")


# --- Islands -------------------------------------------------------------------------------------------------------


async def kill_island(network: Network, island: Island, chance: Random) -> str:
    """The agent dies as with a power cut, its Cargo with it; a supervisor starts it again."""
    await island.kill()
    await asyncio.sleep(chance.uniform(0.3, 1.5))
    await _start_again(network, island)
    return "SIGKILL"


async def freeze_island(network: Network, island: Island, chance: Random) -> str:
    """A laptop that is closed and opened again."""
    frozen_s = chance.uniform(1, 6)
    island.signal_all(SIGSTOP)
    await asyncio.sleep(frozen_s)
    island.signal_all(SIGCONT)
    await _ready(network, island)
    return f"SIGSTOP for {frozen_s:.1f} s"


async def kill_cargo(network: Network, island: Island, chance: Random) -> str:
    """The agent lives and tells of it."""
    del chance
    cargo = island.cargo()
    if cargo is None:
        return "it had none"
    cargo.kill()
    await asyncio.sleep(STATUS_S)
    await _ready(network, island)
    return "SIGKILL"


async def drain_island(network: Network, island: Island, chance: Random) -> str:
    """Its owner wants the machine back: SIGTERM, and later it is started again."""
    assert island.process is not None
    island.process.signal(SIGTERM)
    await asyncio.to_thread(island.process.wait, BACK_S)
    await asyncio.sleep(chance.uniform(0.3, 1.5))
    await _start_again(network, island)
    return "SIGTERM"


async def cut_island(network: Network, island: Island, chance: Random) -> str:
    """Its line breaks, and every new one too, for some seconds."""
    away_s = chance.uniform(1, 6)
    lines = network.lines(of=island.name)
    network.proxies.refuse(*lines)
    await asyncio.sleep(away_s)
    network.proxies.heal(*lines)
    await _ready(network, island)
    return f"reset for {away_s:.1f} s"


async def swallow_island(network: Network, island: Island, chance: Random) -> str:
    """A partition: nothing arrives in one direction or in both, and nobody is told."""
    away_s = chance.uniform(1, 6)
    up, down = chance.choice(((True, True), (True, False), (False, True)))
    lines = network.lines(of=island.name)
    network.proxies.swallow(*lines, up=up, down=down)
    await asyncio.sleep(away_s)
    network.proxies.heal(*lines)
    await _ready(network, island)
    way = "both ways" if up and down else "what it says" if up else "what it is told"
    return f"{way}, for {away_s:.1f} s"


async def slow_island(network: Network, island: Island, chance: Random) -> str:
    """200 ms each way."""
    slow_s = chance.uniform(2, 6)
    lines = network.lines(of=island.name)
    network.proxies.slow(*lines, delay_s=0.2)
    await asyncio.sleep(slow_s)
    network.proxies.heal(*lines)
    return f"for {slow_s:.1f} s"


IslandFault = Callable[[Network, Island, Random], Awaitable[str]]
ISLAND_FAULTS: Final[Mapping[str, tuple[IslandFault, float]]] = {
    "kill Island": (kill_island, 6.0),
    "freeze Island": (freeze_island, 2.0),
    "kill Cargo": (kill_cargo, 1.0),
    "drain Island": (drain_island, 1.0),
    "cut Island's line": (cut_island, 1.0),
    "swallow Island's line": (swallow_island, 1.0),
    "slow Island's line": (slow_island, 1.0),
}
"""Name → what is done, and its weight in the draw."""


async def strike_with(
    name: str, network: Network, log: Log, island: Island, chance: Random
) -> None:
    """This Island with the fault of this name."""
    async with log.strike(name, island.name, island.id) as strike:
        strike.note = await ISLAND_FAULTS[name][0](network, island, chance)


async def strike_islands(
    network: Network,
    log: Log,
    chance: Random,
    *,
    faults: Sequence[str] = tuple(ISLAND_FAULTS),
    at_once: int = 2,
    every_s: tuple[float, float] = (1.0, 3.0),
    spared: Collection[str] = (),
    stop: asyncio.Event,
) -> None:
    """Strikes Islands at random times, busy ones rather than idle ones, never more than so many at once, until told to
    stop; then waits for the last. `spared`: names of those that are never struck."""
    weights = [ISLAND_FAULTS[name][1] for name in faults]

    async with asyncio.TaskGroup() as group:
        while not stop.is_set():
            struck = log.struck
            known = [island for island in network.islands if island.name not in spared]
            whole = [island for island in known if island.name not in struck]
            if len(known) - len(whole) < at_once:
                name = chance.choices(list(faults), weights)[0]
                held = await network.streams_on()
                busy = [1 + 4 * held.get(island.id, 0) for island in whole]
                island = chance.choices(whole, busy)[0]
                group.create_task(strike_with(name, network, log, island, chance))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(*every_s)):
                    await stop.wait()


# --- Coordinators --------------------------------------------------------------------------------------------------


async def restart_coordinator(network: Network, log: Log, one: Coordinator, away_s: float) -> None:
    """As an operator does it: asked to stop, waited for, started in its place, waited for."""
    async with log.strike("restart Coordinator", one.name) as strike:
        asked = time.monotonic()
        well = await one.stop()
        strike.note = (
            f"SIGTERM, {'ended' if well else 'KILLED'} after {time.monotonic() - asked:.1f} s"
        )
        await asyncio.sleep(away_s)
        one.start()
        await network.until(lambda: network.ready(one), f"{one.name} is ready", BACK_S)


async def kill_coordinator(network: Network, log: Log, one: Coordinator, away_s: float) -> None:
    async with log.strike("kill Coordinator", one.name) as strike:
        await one.kill()
        strike.note = f"SIGKILL, away for {away_s:.1f} s"
        await asyncio.sleep(away_s)
        one.start()
        await network.until(lambda: network.ready(one), f"{one.name} is ready", BACK_S)


async def lose_coordinator(network: Network, log: Log, one: Coordinator, away_s: float) -> None:
    """Its machine is gone as if its plug were pulled: what was connected to it is not told. Later it is back."""
    async with log.strike("lose Coordinator's machine", one.name) as strike:
        strike.note = f"SIGSTOP and every line swallowed, for {away_s:.1f} s"
        lines = network.lines(of=one.name)
        network.proxies.swallow(*lines)
        one.signal_all(SIGSTOP)
        await asyncio.sleep(away_s)
        network.proxies.reset(*lines)
        one.signal_all(SIGCONT)
        await network.until(lambda: network.ready(one), f"{one.name} is ready", BACK_S)


# --- The broker ----------------------------------------------------------------------------------------------------


async def restart_broker(network: Network, log: Log, index: int, away_s: float) -> None:
    async with log.strike("restart NATS", f"nats{index}") as strike:
        strike.note = f"SIGKILL, away for {away_s:.1f} s"
        await network.restart_broker(index, away_s)
        await _all_back(network)


async def wipe_jetstream(network: Network, log: Log, index: int, away_s: float) -> None:
    """The directory goes away under the running server, which then dies, and starts with nothing."""
    async with log.strike("wipe JetStream", f"nats{index}") as strike:
        strike.note = f"directory deleted, {away_s:g} s later SIGKILL"
        store = network.brokers[index].store
        await asyncio.to_thread(shutil.rmtree, store, ignore_errors=True)
        await asyncio.sleep(away_s)
        await network.restart_broker(index, 0.5, forget=True)
        await _all_back(network)


async def lose_broker(network: Network, log: Log, away_s: float) -> None:
    """Nobody reaches any broker, and nobody is told."""
    async with log.strike("NATS unreachable", "nats") as strike:
        strike.note = f"for {away_s:.1f} s"
        lines = network.lines(to="nats")
        network.proxies.swallow(*lines)
        await asyncio.sleep(away_s)
        # As after a real outage: connections that stood so long are gone.
        network.proxies.reset(*lines)
        await _all_back(network)


def leader(network: Network) -> int:
    """Which broker of the cluster leads the stream of the answers; -1 while there is none, or its others lag."""
    for index, port in enumerate(network.watched):
        if network.brokers[index].running:
            url = f"http://127.0.0.1:{port}/jsz?accounts=true&streams=true"
            with urllib.request.urlopen(url, timeout=2) as answer:
                told = json.load(answer)
            for account in told.get("account_details") or ():
                for stream in account.get("stream_detail") or ():
                    cluster = stream.get("cluster") or {}
                    if stream["name"] == OUTPUT.name and cluster.get("leader") == f"nats{index}":
                        others = [
                            one.get("current", False) for one in cluster.get("replicas") or ()
                        ]
                        whole = len(others) == len(network.brokers) - 1 and all(others)
                        return index if whole else -1
    return -1


async def kill_leader(network: Network, log: Log, away_s: float) -> None:
    """The one of three that leads the stream of the answers, once the two others have all that it has."""

    async def led() -> bool:
        return await asyncio.to_thread(leader, network) >= 0

    await network.until(led, "the cluster leads its streams")
    index = await asyncio.to_thread(leader, network)
    async with log.strike("kill the cluster's leader", f"nats{index}") as strike:
        strike.note = f"SIGKILL, away for {away_s:.1f} s"
        await network.restart_broker(index, away_s)
        await _all_back(network)


# --- The database --------------------------------------------------------------------------------------------------


async def restart_postgres(network: Network, log: Log, away_s: float) -> None:
    async with log.strike("restart PostgreSQL", "postgres") as strike:
        strike.note = f"SIGKILL, away for {away_s:.1f} s"
        await network.restart_postgres(away_s)
        await _all_back(network)


async def lose_postgres(network: Network, log: Log, away_s: float) -> None:
    async with log.strike("PostgreSQL unreachable", "postgres") as strike:
        strike.note = f"for {away_s:.1f} s"
        lines = network.lines(to="postgres")
        network.proxies.swallow(*lines)
        await asyncio.sleep(away_s)
        network.proxies.reset(*lines)
        await _all_back(network)


async def _ready(network: Network, island: Island) -> None:
    async def holds() -> bool:
        return island.ready()

    await network.until(holds, f"{island.name} is ready again", BACK_S)


async def _start_again(network: Network, island: Island) -> None:
    island.start()
    await _ready(network, island)


async def _all_back(network: Network) -> None:
    await network.until(network.all_ready, "the Coordinators are ready again", BACK_S)
    await asyncio.sleep(STATUS_S)
    await network.until(network.all_warm, "the Islands are heard again", BACK_S)
