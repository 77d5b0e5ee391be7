"""What does our network add to a token, and to the first one? Beside a bare relay and LiteLLM's proxy, in one run.

    python benchmarks/relay.py [--streams 1 32 256 2000] [--rate 200] [--only floor nats-py archipelag litellm]

A real Coordinator on real PostgreSQL and NATS has one core; a synthetic Island answers at once with one Chunk a token.
More than 256 streams say 20 tokens a second each, as fast as people read.
LiteLLM is measured where `make litellm` installed it or LITELLM names its executable.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import json
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import loadgen
import uvloop
from floor import floor
from litellm_proxy import litellm
from loadgen import Plan, Steady, percentile
from network import Target, archipelag, pin_tools
from relay_figures import figures_of
from telling import state

MANY = 256
STREAM_S = 60.0
"""What a stream may take at most, and within which all must have begun long before."""
BEGIN_S = 45.0
RAMP_S = 20.0
"""Over which more than MANY streams begin: so many people do not come within one second."""

HEAD = (
    f"{'':12}{'streams':>8}{'tok/s':>9}{'µs/tok':>8}{'nats':>7}{'postgres':>9}{'others':>8}"
    f"{'TTFT p50':>10}{'p99':>8}{'all at once p50':>17}{'p99':>8}{'gap p50':>9}{'p99':>8}"
    f"{'MiB':>6}{'errors':>8}{'× floor':>9}{'nats-py':>9}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 32, 256, 2000])
    parser.add_argument("--rate", type=float, default=200.0, help="tokens a second of a stream")
    parser.add_argument(
        "--rate-of-many", type=float, default=20.0, help=f"the same with more than {MANY} streams"
    )
    parser.add_argument(
        "--ramp", type=float, default=RAMP_S, help=f"seconds over which more than {MANY} begin"
    )
    parser.add_argument("--tokens", type=int, default=1_800, help="of each stream, at most")
    parser.add_argument("--seconds", type=float, default=2.5, help="of steady tokens, measured")
    parser.add_argument(
        "--only",
        nargs="+",
        default=["floor", "nats-py", "archipelag", "litellm"],
        metavar="NAME",
    )
    parser.add_argument(
        "--share-cores", action="store_true", help="nothing is pinned: all on one small machine"
    )
    parser.add_argument("--json", help="append the figures to this file")
    options = parser.parse_args()
    pin_tools(share=options.share_cores)
    print(
        f"{options.rate:g} tokens/s a stream, {options.rate_of_many:g} with more than {MANY}; CPU per token while\n"
        "nothing begins or ends; TTFT in ms of one more request among the streams, and of all streams begun at\n"
        "once; gap: ms between two arrivals of one stream, beyond the time between two tokens; memory of the\n"
        "process on the measured core\n"
    )
    print(HEAD, flush=True)
    failed = False
    floors: dict[str, dict[int, float]] = {"floor": {}, "nats-py": {}}
    seen: dict[tuple[str, int], tuple[Steady, float]] = {}
    atexit.register(lambda: state(figures_of(seen)))  # Also where one of them gave up.
    for name in options.only:
        for rate, counts in rates_of(options).items():
            with target_of(name, rate, max(counts)) as target:
                if target is None:
                    print(f"{name:12}not measured: it is not installed, `make litellm` does that")
                    break
                for streams in counts:
                    found = uvloop.run(measure(target, streams, rate, options))
                    seen[target.name, streams] = found, rate
                    own = found.cpu_us[next(iter(found.cpu_us))]
                    if name in floors:
                        floors[name][streams] = own
                    least = [of.get(streams) for of in floors.values()]
                    print(line(target.name, found, rate, least), flush=True)
                    for error in sorted(set(found.errors))[:3]:
                        print(f"  ! {error[:200]}")
                    failed |= bool(found.errors) and target.name == "Archipelag"
                    if options.json:
                        shown = vars(found) | {"target": target.name, "rate": rate}
                        with Path(options.json).open("a") as file:
                            file.write(json.dumps(shown) + "\n")
    sys.exit(failed)


def rates_of(options: argparse.Namespace) -> dict[float, list[int]]:
    """Tokens a second of a stream, and the numbers of streams that are measured at that rate."""
    found: dict[float, list[int]] = {}
    for streams in options.streams:
        rate = options.rate if streams <= MANY else options.rate_of_many
        found.setdefault(rate, []).append(streams)
    return found


def target_of(name: str, rate: float, streams: int) -> AbstractContextManager[Target | None]:
    match name:
        case "archipelag":
            return archipelag(rate=rate, streams=streams + 1)  # One more: the probe.
        case "floor":
            return floor(rate=rate)
        case "nats-py":
            return floor(rate=rate, nats_py=True)
        case "litellm":
            return litellm(rate=rate)
    raise SystemExit(f"nothing is called {name}")


async def measure(target: Target, streams: int, rate: float, options: argparse.Namespace) -> Steady:
    def sample() -> tuple[dict[str, float], float]:
        costs = target.costs()
        cpu = {name: cost.cpu_s for name, cost in costs.items()}
        times = os.times()
        return cpu | {"load": times.user + times.system}, next(iter(costs.values())).memory_mb

    slow = target.name == "LiteLLM"
    plan = Plan(
        tokens=int(min(options.tokens, rate * STREAM_S)),
        ramp_s=options.ramp if streams > MANY else 0.0,
        begin_s=15.0 if slow else BEGIN_S,
        steady_s=options.seconds,
        finish=not slow,
        patience_s=10.0 if slow else 60.0,
    )
    if streams == 1:  # The stream itself would be in the probes' way.
        alone, errors = await loadgen.probes(target.port, target.model, target.key, plan.probes_s)
    found = await loadgen.steady(target.port, target.model, target.key, streams, plan, sample)
    if streams == 1:
        found.probes_s[:] = alone
        found.errors.extend(errors)
    await asyncio.sleep(0.5)
    return found


def line(name: str, found: Steady, rate: float, least_us: list[float | None]) -> str:
    """`least_us`: what a token costs the two bare relays, where that was measured."""
    own = next(iter(found.cpu_us))
    known = {own, "nats", "postgres"}
    others = sum(cpu for process, cpu in found.cpu_us.items() if process not in known)

    gaps = [gap - 1 / rate for gap in found.gaps_s]

    def ms(values: list[float], share: float) -> str:
        return f"{percentile(values, share) * 1e3:.1f}"

    return (
        f"{name:12}{found.streams:>8}{found.tokens_per_s:>9.0f}{found.cpu_us[own]:>8.1f}"
        f"{found.cpu_us.get('nats', 0):>7.1f}{found.cpu_us.get('postgres', 0):>9.1f}{others:>8.1f}"
        f"{ms(found.probes_s, 0.5):>10}{ms(found.probes_s, 0.99):>8}"
        f"{ms(found.burst_s, 0.5):>17}{ms(found.burst_s, 0.99):>8}"
        f"{ms(gaps, 0.5):>9}{ms(gaps, 0.99):>8}{found.memory_mb:>6.0f}{len(found.errors):>8}"
        + "".join(f"{found.cpu_us[own] / us:>9.2f}" if us else f"{'':>9}" for us in least_us)
    )


if __name__ == "__main__":
    main()
