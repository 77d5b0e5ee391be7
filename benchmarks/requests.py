"""How many short jobs a second, each with a durable reservation and settlement? Beside LiteLLM's proxy and PostgreSQL.

    python benchmarks/requests.py [--at-once 32] [--tokens 8] [--seconds 8]

Whole answers, not streamed; a synthetic Island says each at once, proves and reports it. Every answer is checked, and
after the run the ledger: all jobs ended, no reservation is left, every transfer and all accounts sum to zero.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import loadgen
import psycopg
import uvloop
from figures import Beside, Figure
from litellm_proxy import litellm
from loadgen import Rate, percentile
from network import Target, archipelag, pin_tools
from raw_commits import raw_commits
from telling import state

SETTLED_S = 30.0
PATH = "submissions"
HOW = (
    "Short answers, not streamed, in a closed loop, each with a durable hold and settlement; peer: LiteLLM's proxy "
    "without any database; limit: commits of pgbench on the same PostgreSQL, as many at once on one account."
)
Seen = dict[tuple[str, int], Rate]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--tokens", type=int, default=8, help="of each answer")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", nargs="+", default=["archipelag", "litellm"], metavar="NAME")
    options = parser.parse_args()
    pin_tools()
    made: dict[str, AbstractContextManager[Target | None]] = {
        "archipelag": archipelag(rate=0, rate_limit=1_000_000),
        "litellm": litellm(rate=0),
    }
    print(f"answers of {options.tokens} tokens, not streamed; CPU per request; times in ms\n")
    print(
        f"{'':12}{'at once':>8}{'req/s':>8}{'p50':>8}{'p99':>8}{'CPU ms':>8}{'postgres':>9}"
        f"{'nats':>7}{'others':>8}{'MiB':>6}{'errors':>8}",
        flush=True,
    )
    failed = False
    seen: Seen = {}
    commits: dict[int, Beside] = {}
    for name in options.only:
        with made[name] as target:
            if target is None:
                print(f"{name:12}not measured: it is not installed, `make litellm` does that")
                continue
            for at_once in options.at_once:
                found = uvloop.run(measure(target, at_once, options))
                seen[target.name, at_once] = found
                print(line(target.name, at_once, found), flush=True)
                for error in sorted(set(found.errors))[:3]:
                    print(f"  ! {error[:200]}")
                failed |= bool(found.errors)
            if target.database:
                failed |= not check_books(target.database)
                for at_once in options.at_once:
                    commits[at_once] = raw_commits(
                        target.database, at_once=at_once, seconds=options.seconds / 2
                    )
    state(figures_of(seen, commits))
    sys.exit(failed)


def figures_of(seen: Seen, commits: dict[int, Beside]) -> Iterator[Figure]:
    for at_once, limit in commits.items():
        ours, theirs = seen["Archipelag", at_once], seen.get(("LiteLLM", at_once))
        peer = theirs and Beside("LiteLLM", theirs.per_s)
        what = f"jobs, {at_once} at once"
        yield Figure(PATH, what, ours.per_s, "/s", HOW, peer, limit, more_is_better=True)
        peer = theirs and Beside("LiteLLM", median_ms(theirs))
        # All of them are always under way, so that each takes as long as all of them do.
        limit = Beside(limit.name, 1e3 * at_once / limit.value)
        what = f"the whole answer p50, {at_once} at once"
        yield Figure(PATH, what, median_ms(ours), "ms", HOW, peer, limit)
        if theirs is not None:
            what = f"CPU of the measured process, {at_once} at once"
            yield Figure(PATH, what, cpu_ms(ours), "ms", HOW, Beside("LiteLLM", cpu_ms(theirs)))


def median_ms(found: Rate) -> float:
    return 1e3 * percentile(found.took_s, 0.5)


def cpu_ms(found: Rate) -> float:
    """A request."""
    return found.cpu_ms[next(iter(found.cpu_ms))]


async def measure(target: Target, at_once: int, options: argparse.Namespace) -> Rate:
    def sample() -> tuple[dict[str, float], float]:
        costs = target.costs()
        cpu = {name: cost.cpu_s for name, cost in costs.items()}
        times = os.times()
        return cpu | {"load": times.user + times.system}, next(iter(costs.values())).memory_mb

    found = await loadgen.requests(
        target.port,
        target.model,
        target.key,
        at_once=at_once,
        tokens=options.tokens,
        seconds=options.seconds,
        sample=sample,
    )
    await asyncio.sleep(0.5)
    return found


def line(name: str, at_once: int, found: Rate) -> str:
    own = next(iter(found.cpu_ms))
    known = {own, "nats", "postgres"}
    others = sum(cpu for process, cpu in found.cpu_ms.items() if process not in known)
    return (
        f"{name:12}{at_once:>8}{found.per_s:>8.0f}{percentile(found.took_s, 0.5) * 1e3:>8.1f}"
        f"{percentile(found.took_s, 0.99) * 1e3:>8.1f}{found.cpu_ms[own]:>8.2f}"
        f"{found.cpu_ms.get('postgres', 0):>9.2f}{found.cpu_ms.get('nats', 0):>7.2f}{others:>8.2f}"
        f"{found.memory_mb:>6.0f}{len(found.errors):>8}"
    )


OPEN = "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')"
BOOKS = """
    SELECT (SELECT count(*) FROM jobs WHERE status = 'succeeded'),
        (SELECT count(*) FROM reservations WHERE status = 'pending'),
        (SELECT count(*) FROM (SELECT FROM entries GROUP BY transfer_id HAVING sum(amount) <> 0) AS t),
        (SELECT sum(balance) FROM accounts)
"""


def check_books(database: str) -> bool:
    """Prints what the ledger says, once every job has ended."""
    with psycopg.connect(database, autocommit=True) as connection:
        deadline = time.monotonic() + SETTLED_S
        while time.monotonic() < deadline:
            left = connection.execute(OPEN).fetchone()
            assert left is not None
            if left[0] == 0:
                break
            time.sleep(0.1)
        books = connection.execute(BOOKS).fetchone()
    assert books is not None
    succeeded, pending, crooked, total = books
    print(
        f"  ledger: {succeeded} jobs settled, {pending} reservations left, "
        f"{crooked} transfers that do not balance, {total} in all accounts together"
    )
    return bool(succeeded) and left[0] == pending == crooked == total == 0


if __name__ == "__main__":
    main()
