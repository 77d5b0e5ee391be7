"""The scenarios: readers, one kind of trouble, and the promises that must hold afterwards. Each can be run alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from signal import SIGCONT, SIGSTOP
from typing import Final

from . import faults
from .checkers import CHECKS, OUTAGE_CHECKS, Check
from .faults import Log
from .network import MODEL, START_S, Hosts, Network, Plan, becomes
from .parts import Island
from .readers import Ask, Manners, model_ask
from .report import Outcome
from .running import Run, a_run, fast_asks, outcome_of, read_all, struck

MOVES_S: Final = 5.0
LONG_PATIENCE_S: Final = 240.0
DOORS: Final = (*("chat",) * 8, "job", "whole")
"""One request in ten follows a job, one wants its answer in one piece."""


# --- (a) Islands ---------------------------------------------------------------------------------------------------

MANY_ISLANDS: Final = Plan(hosts=(Hosts(6, slots=24),), policy={"attempts_max": "8"})
"""A stream may meet more than three dead Islands when one of six dies every few seconds."""
MODEL_ISLANDS: Final = Plan(hosts=(Hosts(3, cargo=MODEL, slots=4),), policy={"attempts_max": "8"})
PROMPTS: Final = (
    "Write a long story about a lighthouse keeper.",
    "Explain how bread is baked, step by step.",
    "Describe a walk through a forest in autumn.",
    "Tell me about the sea, its fish and its storms.",
    "Give advice to somebody who moves to another country.",
)


async def islands_die(
    network: Network,
    say: Callable[[str], None],
    *,
    streams: int,
    seed: int = 1,
    at_once: int = 40,
    items: tuple[int, int] = (40, 160),
    delay_ms: int = 25,
    names: Sequence[str] = tuple(faults.ISLAND_FAULTS),
    struck_max: int = 2,
    every_s: tuple[float, float] = (1.0, 3.0),
) -> Outcome:
    """Islands are killed, frozen, drained and cut off under many streams of the fast Cargo."""
    async with a_run("islands", network, seed, say) as run:
        asks = fast_asks("islands", run.chance, streams, items, delay_ms, DOORS)
        async with struck(
            lambda stop: faults.strike_islands(
                network,
                run.log,
                run.chance,
                faults=names,
                at_once=struck_max,
                every_s=every_s,
                stop=stop,
            )
        ):
            await read_all(run, asks, at_once)
        return await outcome_of(run)


async def models_die(
    network: Network,
    say: Callable[[str], None],
    *,
    streams: int,
    seed: int = 1,
    at_once: int = 6,
    tokens: int = 60,
    names: Sequence[str] = ("kill Island",),
) -> Outcome:
    """The same with the real model: first each answer undisturbed, then again while Islands are killed."""
    chance = Random(seed)
    asks = [
        model_ask(f"model-{n}", chance.getrandbits(31), PROMPTS[n % len(PROMPTS)], tokens)
        for n in range(streams)
    ]
    async with a_run("undisturbed", network, seed, say) as quiet:
        await read_all(quiet, asks, at_once)
        undisturbed = {reading.ask.key: reading for reading in quiet.readers.readings}
        assert all(reading.done for reading in undisturbed.values()), (
            await outcome_of(quiet)
        ).broken
    known = [Ask(ask.key, ask.body, text=undisturbed[ask.key].text) for ask in asks]
    async with a_run("model", network, seed, say, Manners(patience_s=LONG_PATIENCE_S)) as run:
        async with struck(
            lambda stop: faults.strike_islands(
                network, run.log, run.chance, faults=names, at_once=1, every_s=(2, 4), stop=stop
            )
        ):
            await read_all(run, known, at_once)
        return await outcome_of(run)


# --- (b) Coordinators ----------------------------------------------------------------------------------------------


async def coordinator_dies(
    network: Network,
    say: Callable[[str], None],
    *,
    streams: int = 100,
    seed: int = 1,
    items: tuple[int, int] = (120, 160),
    delay_ms: int = 100,
    killed_after: int = 30,
) -> Outcome:
    """All are read at one Coordinator, which is killed in mid-answer; all end, at the other, with the right bytes."""
    async with a_run("coordinator", network, seed, say) as run:
        asks = fast_asks("coordinator", run.chance, streams, items, delay_ms)
        doomed = network.coordinators[0]

        async def kill(stop: asyncio.Event) -> None:
            await _all_at(run, streams, killed_after, stop)
            await faults.kill_coordinator(network, run.log, doomed, 10.0)

        async with struck(kill):
            await read_all(run, asks, streams, first=0)
        outcome = await outcome_of(run)
        jobs = outcome.books.jobs.values()
        alone = sum(1 for job in jobs if len([a for a in job.attempts if a.positions]) == 1)
        cut = sum(1 for reading in outcome.readings if reading.breaks)
        outcome.notes.append(
            f"{cut} readers lost their Coordinator; {alone} of {len(jobs)} jobs were made by one Island"
        )
        if cut < streams:
            outcome.broken["the_coordinator_dies_under_all"] = [
                f"only {cut} readers lost their line"
            ]
        return outcome


async def coordinator_dies_in_failover(
    network: Network,
    say: Callable[[str], None],
    *,
    streams: int = 60,
    seed: int = 1,
    items: tuple[int, int] = (120, 160),
    delay_ms: int = 100,
    killed_after: int = 30,
) -> Outcome:
    """An Island is killed, and as soon as its first stream has moved, the Coordinator too that moved it: by then it is
    stored what the next attempt went on from."""
    async with a_run("both", network, seed, say) as run:
        asks = fast_asks("both", run.chance, streams, items, delay_ms)
        islands = {island.id: island for island in network.islands}

        async def kill(stop: asyncio.Event) -> None:
            await _all_at(run, streams, killed_after, stop)
            held = await network.streams_on()
            island = islands[max(held, key=lambda one: held[one])]
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    faults.strike_with("kill Island", network, run.log, island, run.chance)
                )
                await becomes(lambda: network.has_moved(run.customer), MOVES_S, look_s=0.0)
                await faults.kill_coordinator(network, run.log, network.coordinators[0], 5.0)

        async with struck(kill):
            await read_all(run, asks, streams, first=0)
        outcome = await outcome_of(run)
        if not outcome.moves:
            outcome.broken["an_island_dies_first"] = ["no stream moved"]
        return outcome


async def _all_at(run: Run, streams: int, position: int, stop: asyncio.Event) -> None:
    """Waits until every reader has got so far."""
    readings = run.readers.readings

    async def holds() -> bool:
        begun = len(readings) == streams and min(r.position for r in readings) >= position
        return begun or stop.is_set()

    await becomes(holds, START_S)


async def coordinator_vanishes(
    network: Network,
    say: Callable[[str], None],
    *,
    streams: int = 40,
    seed: int = 1,
    items: tuple[int, int] = (150, 200),
    away_s: float = 40.0,
) -> Outcome:
    """The machine under the leading Coordinator loses its network and stands still: no connection of it is closed, so
    that nobody is told. Its readers leave it, and its jobs end elsewhere, before it is back."""
    impatient = Manners(
        silence_s=17.0
    )  # A little longer than it is from one keep-alive to the next.
    async with a_run("vanished", network, seed, say, impatient) as run:
        asks = fast_asks("vanished", run.chance, streams, items, 60)
        (gone,) = [one for one in network.coordinators if one.leads()]
        index = network.coordinators.index(gone)

        async def vanish(stop: asyncio.Event) -> None:
            await _all_at(run, streams, 20, stop)
            await faults.lose_coordinator(network, run.log, gone, away_s)

        async with struck(vanish):
            await read_all(run, asks, streams, first=index)
        outcome = await outcome_of(run)
        late = [r for r in outcome.readings if r.ended > outcome.strikes[0].began + away_s]
        if late:
            outcome.broken["nobody_waits_for_the_vanished"] = [
                f"{len(late)} readers had their answers only after it was back"
            ]
        return outcome


# --- (c) (d) (e) Broker and database -------------------------------------------------------------------------------

Trouble = Callable[[Network, Log], Awaitable[None]]


async def under_load(
    name: str,
    network: Network,
    say: Callable[[str], None],
    trouble: Trouble,
    *,
    streams: int = 200,
    seed: int = 1,
    at_once: int = 30,
    items: tuple[int, int] = (60, 240),
    delay_ms: int = 50,
    after_s: float = 5.0,
    checks: Sequence[Check] = CHECKS,
) -> Outcome:
    """Streams come and go; in the midst of them something that everybody needs has trouble."""
    manners = Manners(patience_s=LONG_PATIENCE_S)
    async with a_run(name, network, seed, say, manners) as run:
        asks = fast_asks(name, run.chance, streams, items, delay_ms, DOORS)

        async def strike(stop: asyncio.Event) -> None:
            del stop
            await asyncio.sleep(after_s)
            await trouble(network, run.log)

        async with struck(strike):
            await read_all(run, asks, at_once)
        return await outcome_of(run, checks)


def wiped() -> Trouble:
    return lambda network, log: faults.wipe_jetstream(network, log, 0, 2.0)


def broker_restarted(away_s: float) -> Trouble:
    return lambda network, log: faults.restart_broker(network, log, 0, away_s)


def broker_unreachable(away_s: float) -> Trouble:
    return lambda network, log: faults.lose_broker(network, log, away_s)


def database_restarted(away_s: float) -> Trouble:
    return lambda network, log: faults.restart_postgres(network, log, away_s)


def database_unreachable(away_s: float) -> Trouble:
    return lambda network, log: faults.lose_postgres(network, log, away_s)


def leader_killed(away_s: float) -> Trouble:
    return lambda network, log: faults.kill_leader(network, log, away_s)


# --- Everything ----------------------------------------------------------------------------------------------------

STORM: Final = Plan(hosts=(Hosts(5, slots=40),), coordinators=3, policy={"attempts_max": "8"})


async def storm(
    network: Network,
    say: Callable[[str], None],
    *,
    streams: int = 250,
    seed: int = 1,
    at_once: int = 40,
    every_s: tuple[float, float] = (3.0, 8.0),
) -> Outcome:
    """Islands are struck one after another; beside that, Coordinators, the broker and the database, one at a time."""
    async with a_run("storm", network, seed, say, Manners(patience_s=LONG_PATIENCE_S)) as run:
        asks = fast_asks("storm", run.chance, streams, (60, 240), 50, DOORS)
        chance = Random(f"storm {seed}")

        async def strike(stop: asyncio.Event) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    faults.strike_islands(network, run.log, run.chance, at_once=1, stop=stop)
                )
                while not stop.is_set():
                    await asyncio.sleep(chance.uniform(*every_s))
                    if not stop.is_set():
                        await _strike_at_the_root(network, run.log, chance)

        async with struck(strike):
            await read_all(run, asks, at_once)
        return await outcome_of(run, OUTAGE_CHECKS)


async def _strike_at_the_root(network: Network, log: Log, chance: Random) -> None:
    away_s = chance.uniform(0.5, 5.0)
    match chance.choice(
        ("coordinator", "coordinator", "nats", "wipe", "line", "postgres", "query")
    ):
        case "coordinator":
            one = chance.choice(network.coordinators)
            await faults.kill_coordinator(network, log, one, away_s)
        case "nats":
            await faults.restart_broker(network, log, 0, away_s)
        case "wipe":
            await faults.wipe_jetstream(network, log, 0, away_s)
        case "line":
            await faults.lose_broker(network, log, away_s)
        case "postgres":
            await faults.restart_postgres(network, log, away_s)
        case _:
            await faults.lose_postgres(network, log, away_s)


# --- (g) An Island that comes back from the dead -------------------------------------------------------------------

SHORT_LEASES: Final = Plan(
    hosts=(Hosts(3, slots=24),),
    policy={"lease_s": "5", "heartbeat_s": "1", "island_silent_s": "5", "island_lost_s": "12"},
)


async def island_returns(
    network: Network,
    say: Callable[[str], None],
    *,
    streams: int = 20,
    seed: int = 1,
    items: tuple[int, int] = (250, 300),
    frozen_s: float = 14.0,
) -> Outcome:
    """Stopped past its silence and leases, then continued: what it says under its old epochs is refused, not paid."""
    async with a_run("returns", network, seed, say) as run:
        asks = fast_asks("returns", run.chance, streams, items, 50)
        islands = {island.id: island for island in network.islands}
        frozen: list[Island] = []

        async def freeze(stop: asyncio.Event) -> None:
            await _all_at(run, streams, 20, stop)
            held = await network.streams_on()
            island = islands[max(held, key=lambda one: held[one])]
            frozen.append(island)
            async with run.log.strike("freeze Island", island.name, island.id) as strike:
                strike.note = f"SIGSTOP for {frozen_s:g} s"
                island.signal_all(SIGSTOP)
                await asyncio.sleep(frozen_s)
                island.signal_all(SIGCONT)
                await asyncio.sleep(5)

        async with struck(freeze):
            await read_all(run, asks, streams)
        outcome = await outcome_of(run)
        (island,) = frozen
        stale = [
            line
            for c in network.coordinators
            for line in c.said(f"report_stale island={island.id}")
        ]
        lost = [m for m in outcome.moves if m.island == island.id]
        outcome.notes.append(
            f"{len(lost)} streams were taken from {island.name}; {len(stale)} of its late reports were refused"
        )
        if not lost:
            outcome.broken["an_island_returns"] = ["it held no stream when it was stopped"]
        elif not stale:
            outcome.broken["late_reports_are_refused"] = [f"none of {island.name} was"]
        return outcome
