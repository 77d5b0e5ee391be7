"""`make chaos`: kills, freezes and cuts off the parts of real networks under load, and says which promises held.

python -m tests.chaos [--parts islands,model] [--streams 2000] [--seed 7] [--faults "kill Island"]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import platform
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from . import scenarios
from .checkers import CHECKS, OUTAGE_CHECKS, Check
from .faults import ISLAND_FAULTS
from .network import Hosts, Network, Plan, started
from .report import Outcome, show, table

AWAY_S = 30.0


@dataclass(frozen=True)
class Part:
    """A scenario as `make chaos` runs it: on which network, and what it is about."""

    plan: Plan
    about: str
    play: Callable[[Network, argparse.Namespace], Awaitable[Outcome]]


def say(what: str) -> None:
    print(what, flush=True)


ORDINARY = Plan(hosts=(Hosts(4, slots=40),), policy={"attempts_max": "8"})
CLUSTER = Plan(hosts=(Hosts(4, slots=40),), brokers=3, policy={"attempts_max": "8"})


def _trouble(
    name: str, trouble: scenarios.Trouble, checks: Sequence[Check] = CHECKS
) -> Callable[..., Awaitable[Outcome]]:
    return lambda n, a: scenarios.under_load(
        name, n, say, trouble, streams=a.load_streams, seed=a.seed, checks=checks
    )


PARTS: dict[str, Part] = {
    "islands": Part(
        scenarios.MANY_ISLANDS,
        "Islands are killed, frozen, drained and cut off under many streams",
        lambda n, a: scenarios.islands_die(
            n,
            say,
            streams=a.streams,
            seed=a.seed,
            at_once=a.at_once,
            names=a.faults,
            every_s=(a.every / 2, a.every * 3 / 2),
        ),
    ),
    "model": Part(
        scenarios.MODEL_ISLANDS,
        "Islands with the real model are killed",
        lambda n, a: scenarios.models_die(n, say, streams=a.model_streams, seed=a.seed),
    ),
    "coordinator": Part(
        ORDINARY,
        "the Coordinator that serves a hundred streams is killed",
        lambda n, a: scenarios.coordinator_dies(n, say, seed=a.seed),
    ),
    "both": Part(
        ORDINARY,
        "an Island is killed, and with its first failover the Coordinator",
        lambda n, a: scenarios.coordinator_dies_in_failover(n, say, seed=a.seed),
    ),
    "vanished": Part(
        ORDINARY,
        "the machine of the leading Coordinator is gone, and nobody is told",
        lambda n, a: scenarios.coordinator_vanishes(n, say, seed=a.seed),
    ),
    "wiped": Part(
        ORDINARY, "JetStream's directory is deleted", _trouble("wiped", scenarios.wiped())
    ),
    "broker-restart": Part(
        ORDINARY,
        "NATS is killed and restarted",
        _trouble("broker-restart", scenarios.broker_restarted(2)),
    ),
    "broker-away": Part(
        ORDINARY,
        f"NATS cannot be reached for {AWAY_S:g} s",
        _trouble("broker-away", scenarios.broker_unreachable(AWAY_S), OUTAGE_CHECKS),
    ),
    "database-restart": Part(
        ORDINARY,
        "PostgreSQL is killed and restarted",
        _trouble("database-restart", scenarios.database_restarted(2)),
    ),
    "database-away": Part(
        ORDINARY,
        f"PostgreSQL cannot be reached for {AWAY_S:g} s",
        _trouble("database-away", scenarios.database_unreachable(AWAY_S), OUTAGE_CHECKS),
    ),
    "leader": Part(
        CLUSTER,
        "the leader of three brokers is killed",
        _trouble("leader", scenarios.leader_killed(5)),
    ),
    "returns": Part(
        scenarios.SHORT_LEASES,
        "an Island comes back after its leases have run out",
        lambda n, a: scenarios.island_returns(n, say, seed=a.seed),
    ),
    "storm": Part(
        scenarios.STORM,
        "Islands, Coordinators, broker and database, as it comes",
        lambda n, a: scenarios.storm(n, say, seed=a.seed),
    ),
}


def plan_of(name: str, arguments: argparse.Namespace) -> Plan:
    plan = PARTS[name].plan
    if name == "islands" and arguments.attempts_max is not None:
        return replace(plan, policy={"attempts_max": str(arguments.attempts_max)})
    return plan


async def play(names: Sequence[str], arguments: argparse.Namespace) -> list[Outcome]:
    """The parts in order; those that follow each other on the same kind of network share it."""
    outcomes = []
    for plan, group in itertools.groupby(names, lambda name: plan_of(name, arguments)):
        async with started(plan) as network:
            for name in group:
                say(f"-- {name}: {PARTS[name].about}")
                outcome = await PARTS[name].play(network, arguments)
                outcomes.append(outcome)
                for line in show(outcome):
                    say(line)
                await network.mend()
            if not all(outcome.kept for outcome in outcomes):
                network.keep = True
                say(f"   logs: {network.home}")
    return outcomes


def summary(outcomes: Sequence[Outcome], took_s: float) -> None:
    say(
        f"\n== All of it, {took_s:.0f} s, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    for line in table(outcomes):
        say(line)
    for outcome in outcomes:
        whole = sum(1 for reading in outcome.readings if reading.done)
        promise = "kept" if outcome.kept else f"BROKEN: {', '.join(outcome.broken)}"
        say(f"   {outcome.name:<18}{whole:>6,} of {len(outcome.readings):>6,} streams  {promise}")


def arguments_of(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--parts", default=",".join(PARTS), help=f"by comma, of: {', '.join(PARTS)}"
    )
    parser.add_argument("--streams", type=int, default=2000, help="of the fast Cargo, in `islands`")
    parser.add_argument("--model-streams", type=int, default=50, help="of the model, in `model`")
    parser.add_argument("--load-streams", type=int, default=100, help="in each of the others")
    parser.add_argument("--at-once", type=int, default=60, help="streams at once, in `islands`")
    parser.add_argument(
        "--every", type=float, default=2.0, help="seconds between faults, in `islands`"
    )
    parser.add_argument(
        "--attempts-max", type=int, help="Islands that may try one job, in `islands` (default: 8)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of texts, lengths and faults")
    parser.add_argument(
        "--faults",
        default=",".join(ISLAND_FAULTS),
        help=f"by comma, what happens in `islands`, of: {', '.join(ISLAND_FAULTS)}",
    )
    arguments = parser.parse_args(given)
    arguments.parts = [name.strip() for name in arguments.parts.split(",")]
    arguments.faults = [name.strip() for name in arguments.faults.split(",")]
    for kind, known in (("parts", PARTS), ("faults", ISLAND_FAULTS)):
        for name in getattr(arguments, kind):
            if name not in known:
                parser.error(f"--{kind}: {name!r} is not one of {', '.join(known)}")
    return arguments


async def main() -> int:
    arguments = arguments_of()
    running = asyncio.current_task()
    assert running is not None
    # Asked to stop, we stop what we started.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    began = time.monotonic()
    outcomes = await play(arguments.parts, arguments)
    summary(outcomes, time.monotonic() - began)
    return 0 if all(outcome.kept for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
