"""The command line: one seed, many seeds on all cores, the fleet, or the planted bugs."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from simulation.fleet import run_fleet
from simulation.planted import HINTS, PLANTED, planted
from simulation.scenario import Outcome, run

SEEDS_DEFAULT: Final = 1_000
PLANTED_SEEDS_MAX: Final = 60
TASKS_A_WORKER: Final = 50
SHOWN_MAX: Final = 30
SEEDS_FILE: Final = Path(__file__).with_name("seeds.txt")


def main(arguments: list[str] | None = None) -> int:
    """0: every promise held (with --planted: every bug was found). 1: not so."""
    given = _parser().parse_args(arguments)
    if given.planted:
        return _find_planted(given)
    if given.profile == "fleet":
        return _fleet(given)
    if given.seed is not None:
        return _one(given.seed, given.profile, trace=given.trace)
    seeds = [(seed, given.profile) for seed in _chosen(given)]
    return _many(seeds, given.jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one and show what was broken")
    parser.add_argument("--trace", action="store_true", help="with --seed: what happened, in order")
    parser.add_argument("--seeds", type=int, help=f"how many; {SEEDS_DEFAULT} by default")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--known", action="store_true", help="the seeds of seeds.txt too")
    parser.add_argument("--profile", default="faults", choices=["faults", "calm", "fleet"])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--planted", action="store_true", help="plant bugs and find them")
    parser.add_argument("--only", help="with --planted: this one")
    parser.add_argument(
        "--hinted",
        action="store_true",
        help="with --planted: begin with the seed that found it last",
    )
    parser.add_argument("--islands", type=int, default=1_000, help="of the fleet")
    parser.add_argument("--days", type=float, default=7, help="of the fleet")
    return parser


def _fleet(given: argparse.Namespace) -> int:
    outcome = run_fleet(given.seed or 1, given.islands, days=given.days, tell=_tell)
    for broken in outcome.broken:
        print(f"broken: {broken}")
    print(
        f"{given.islands} Islands for {outcome.virtual_s / 86_400:.2f} days in {outcome.real_s:.0f} s "
        f"({outcome.virtual_s / outcome.real_s:.0f} times as fast), {outcome.events} events"
    )
    print(", ".join(f"{name} {count}" for name, count in sorted(outcome.figures.items())))
    return int(bool(outcome.broken))


def _chosen(given: argparse.Namespace) -> list[int]:
    count = SEEDS_DEFAULT if given.seeds is None else given.seeds
    seeds = list(range(given.first, given.first + count))
    if given.known:
        seeds = [*known_seeds(), *seeds]
    return list(dict.fromkeys(seeds))


def known_seeds() -> list[int]:
    """Seeds that once broke a promise."""
    lines = SEEDS_FILE.read_text().splitlines() if SEEDS_FILE.exists() else []
    return [int(line.split()[0]) for line in lines if line.strip() and not line.startswith("#")]


def _one(seed: int, profile: str, *, trace: bool) -> int:
    outcome = run(seed, profile, words=trace)
    for line in outcome.trace if trace else ():
        print(line)
    for broken in outcome.broken:
        print(f"broken: {broken}")
    print(_summary(outcome))
    return int(bool(outcome.broken))


def _summary(outcome: Outcome) -> str:
    shown = ", ".join(f"{name} {count}" for name, count in sorted(outcome.figures.items()))
    return (
        f"seed {outcome.seed}: {outcome.virtual_s:.0f} s in {outcome.real_s:.1f} s, "
        f"{outcome.events} events, trace {outcome.digest}\n  {shown}"
    )


def _run_one(one: tuple[int, str], bug: str | None = None) -> Outcome:
    seed, profile = one
    with planted(bug):
        outcome = run(seed, profile)
    outcome.trace = []
    return outcome


def _outcomes(seeds: list[tuple[int, str]], jobs: int, bug: str | None = None) -> Iterator[Outcome]:
    work = partial(_run_one, bug=bug)
    if jobs == 1:
        yield from map(work, seeds)
        return
    # Each worker is begun anew now and then: what a seed leaves behind is not to weigh on the next thousand.
    with multiprocessing.Pool(jobs, maxtasksperchild=TASKS_A_WORKER) as pool:
        yield from pool.imap_unordered(work, seeds)


def _many(seeds: list[tuple[int, str]], jobs: int) -> int:
    began, failed, done = time.perf_counter(), 0, 0
    figures: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    virtual_s, events = 0.0, 0
    for outcome in _outcomes(seeds, jobs):
        done += 1
        virtual_s += outcome.virtual_s
        events += outcome.events
        figures.update(outcome.figures)
        faults.update(outcome.faults)
        if outcome.broken:
            failed += 1
            if failed <= SHOWN_MAX:
                _clear()
                print(f"{outcome.replay}   # {outcome.broken[0][:300]}", flush=True)
        _progress(done, len(seeds), failed, began)
    _clear()
    took = time.perf_counter() - began
    print(f"{done} seeds, {failed} with a broken promise; {virtual_s / 3600:.1f} virtual hours in "
          f"{took:.0f} s ({virtual_s / max(took, 1e-9):.0f} times as fast), {events} events")  # fmt: skip
    print("jobs and readers: " + ", ".join(f"{n} {c}" for n, c in sorted(figures.items())))
    print("faults: " + ", ".join(f"{n} {c}" for n, c in sorted(faults.items())))
    return int(failed > 0)


def _find_planted(given: argparse.Namespace) -> int:
    """Only promises count that the same seed keeps without the bug."""
    seeds = list(range(1, (given.seeds or PLANTED_SEEDS_MAX) + 1))
    kept: dict[int, set[str]] = {}
    missed = 0
    names = [given.only] if given.only else list(PLANTED)
    for name in names:
        hint = HINTS.get(name)
        order = [hint, *(s for s in seeds if s != hint)] if given.hinted and hint else seeds
        for some in _batches(order, given.jobs):
            unknown = [(seed, "faults") for seed in some if seed not in kept]
            for outcome in _outcomes(unknown, given.jobs):
                kept[outcome.seed] = _promises(outcome)
            found = _found([(seed, "faults") for seed in some], given.jobs, name, kept)
            if found:
                print(f"{name}: {found}", flush=True)
                break
        else:
            missed += 1
            print(f"{name}: NOT found within {len(seeds)} seeds", flush=True)
    print(f"{len(names)} planted, {missed} missed")
    return int(missed > 0)


def _found(
    seeds: list[tuple[int, str]], jobs: int, name: str, kept: dict[int, set[str]]
) -> str | None:
    """What the bug broke, at the first of these seeds where it broke anything."""
    for outcome in sorted(_outcomes(seeds, jobs, name), key=lambda o: o.seed):
        by_it = [said for said in outcome.broken if _promise(said) not in kept[outcome.seed]]
        if by_it:
            return f"found at seed {outcome.seed}: {by_it[0][:160]}"
    return None


def _batches(seeds: list[int], size: int) -> Iterator[list[int]]:
    for first in range(0, len(seeds), size):
        yield seeds[first : first + size]


def _promises(outcome: Outcome) -> set[str]:
    return {_promise(said) for said in outcome.broken}


def _promise(said: str) -> str:
    return said.partition(":")[0]


def _progress(done: int, of: int, failed: int, began: float) -> None:
    if sys.stderr.isatty():
        took = time.perf_counter() - began
        print(f"\r{done}/{of} seeds, {failed} broken, {took:.0f} s ", end="", file=sys.stderr)


def _tell(said: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{said[:150]}", end="", file=sys.stderr)


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
