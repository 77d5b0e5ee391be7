"""What it costs to know what is before a job, by lines kept as they change and by a plain look at every line.

    python benchmarks/lines.py [--accounts 1000] [--jobs 10000] [--asks 200]

Microseconds of one core for each, the median of the asks: `comes` for a request, with as many kept places as accounts;
`waits` for a job that stands in line, after a change; `load` for all lines, which happens once a second.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

from archipelag_contracts.ids import CargoDigest, UserId
from archipelag_coordinator.domain.lines import Kept, Line, LineKey, Lines
from archipelag_coordinator.testing.plain_lines import plain_ahead_of

START = datetime(2026, 1, 1, tzinfo=UTC)
CARGOS = 4


def crowd(accounts: int, jobs: int, chance: Random) -> list[Line]:
    """Some accounts have long lines and most have short ones."""
    weights = [chance.paretovariate(1.2) for _ in range(accounts)]
    share = jobs / sum(weights)
    return [
        Line(
            LineKey(UserId(f"usr_{n}"), CargoDigest(f"sha256:{n % CARGOS}")),
            round(weight * share),
            chance.randrange(5),
            START + timedelta(seconds=chance.uniform(0, 60)),
        )
        for n, weight in enumerate(weights)
    ]


def median_us(asks: int, ask: Callable[[int], object]) -> float:
    took = []
    for n in range(asks):
        began = time.perf_counter()
        ask(n)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--asks", type=int, default=200)
    options = parser.parse_args()
    standing = crowd(options.accounts, options.jobs, Random(1))
    keys = [line.key for line in standing]
    places = dict.fromkeys(keys, 1)
    lines = Lines()
    lines.load(standing)
    for key in keys:
        lines.keep(key, Kept.DUE, 1)

    def one(n: int) -> LineKey:
        return keys[n * 7919 % len(keys)]

    def comes(n: int) -> object:
        lines.joined(one(n), START)
        return lines.waits() and lines.ahead_of(one(n), kept=Kept.DUE)

    def comes_plain(n: int) -> object:
        lines.joined(one(n), START)
        return any(line.queued for line in lines) and plain_ahead_of(lines, one(n), kept=places)

    def waits(n: int) -> object:
        lines.joined(one(n), START)
        return lines.ahead_of(one(n), before=n % 9, since=START + timedelta(seconds=30))

    def waits_plain(n: int) -> object:
        lines.joined(one(n), START)
        return plain_ahead_of(lines, one(n), before=n % 9, since=START + timedelta(seconds=30))

    told = f"{sum(line.queued for line in standing)} jobs of {len(standing)} accounts"
    print(f"{told:>40}      plain       kept")
    for name, plain, kept in (("comes", comes_plain, comes), ("waits", waits_plain, waits)):
        print(
            f"{name:>40} {median_us(options.asks, plain):10.1f} {median_us(options.asks, kept):10.1f}"
        )
    print(f"{'load':>40} {'':>10} {median_us(20, lambda _: lines.load(standing)):10.1f}")


if __name__ == "__main__":
    main()
