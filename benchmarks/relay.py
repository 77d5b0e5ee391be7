"""What does our network add to a token, and to the first one? Beside a bare relay and LiteLLM's proxy, in one run.

    python benchmarks/relay.py [--streams 1 32 256] [--rate 200] [--only archipelag floor litellm]

A real Coordinator on real PostgreSQL and NATS has one core; a synthetic Island answers at once with one Chunk a token.
LiteLLM is measured when LITELLM names its executable (pip install 'litellm[proxy]', in an environment of its own).
"""

from __future__ import annotations

import argparse
import asyncio
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

HEAD = (
    f"{'':12}{'streams':>8}{'tok/s':>9}{'µs/tok':>8}{'nats':>7}{'postgres':>9}{'others':>8}"
    f"{'TTFT p50':>10}{'p99':>8}{'all at once p50':>17}{'p99':>8}{'MiB':>6}{'errors':>8}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--rate", type=float, default=200.0, help="tokens a second of a stream")
    parser.add_argument("--tokens", type=int, default=1_800, help="of each stream")
    parser.add_argument("--seconds", type=float, default=2.5, help="of steady tokens, measured")
    parser.add_argument(
        "--only", nargs="+", default=["archipelag", "floor", "litellm"], metavar="NAME"
    )
    parser.add_argument("--json", help="append the figures to this file")
    options = parser.parse_args()
    pin_tools()
    made: dict[str, AbstractContextManager[Target | None]] = {
        "archipelag": archipelag(rate=options.rate),
        "floor": floor(rate=options.rate),
        "litellm": litellm(rate=options.rate),
    }
    print(
        f"{options.rate:g} tokens/s a stream; CPU per token while nothing begins or ends; TTFT in ms of\n"
        "one more request among the streams, and of all streams begun at once; memory of the process\n"
        "on the measured core\n"
    )
    print(HEAD, flush=True)
    failed = False
    for name in options.only:
        with made[name] as target:
            if target is None:
                print(f"{name:12}not measured: LITELLM does not name its executable")
                continue
            for streams in options.streams:
                found = uvloop.run(measure(target, streams, options))
                print(line(target.name, found), flush=True)
                for error in sorted(set(found.errors))[:3]:
                    print(f"  ! {error[:200]}")
                failed |= bool(found.errors) and target.name == "Archipelag"
                if options.json:
                    with Path(options.json).open("a") as file:
                        file.write(json.dumps({"target": target.name} | vars(found)) + "\n")
    sys.exit(failed)


async def measure(target: Target, streams: int, options: argparse.Namespace) -> Steady:
    def sample() -> tuple[dict[str, float], float]:
        costs = target.costs()
        cpu = {name: cost.cpu_s for name, cost in costs.items()}
        times = os.times()
        return cpu | {"load": times.user + times.system}, next(iter(costs.values())).memory_mb

    slow = target.name == "LiteLLM"
    plan = Plan(
        tokens=options.tokens,
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


def line(name: str, found: Steady) -> str:
    own = next(iter(found.cpu_us))
    known = {own, "nats", "postgres"}
    others = sum(cpu for process, cpu in found.cpu_us.items() if process not in known)

    def ms(values: list[float], share: float) -> str:
        return f"{percentile(values, share) * 1e3:.1f}"

    return (
        f"{name:12}{found.streams:>8}{found.tokens_per_s:>9.0f}{found.cpu_us[own]:>8.1f}"
        f"{found.cpu_us.get('nats', 0):>7.1f}{found.cpu_us.get('postgres', 0):>9.1f}{others:>8.1f}"
        f"{ms(found.probes_s, 0.5):>10}{ms(found.probes_s, 0.99):>8}"
        f"{ms(found.burst_s, 0.5):>17}{ms(found.burst_s, 0.99):>8}"
        f"{found.memory_mb:>6.0f}{len(found.errors):>8}"
    )


if __name__ == "__main__":
    main()
