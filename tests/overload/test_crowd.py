"""A real network is asked for far more than it can do at once: everybody is told, comes back, and is served."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from archipelag_embedded.fixtures import PATIENCE_S

from tests.chaos.checkers import (
    failed_jobs_cost_nothing,
    nothing_is_left_unfinished,
    open_books,
    the_books_close,
    unfinished,
    users_pay_islands_fees_and_insurance,
)
from tests.chaos.network import Hosts, Network, Plan, started

from .crowd import Account, Crowd

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

SAY = print
"""Pytest keeps it for tests that fail."""
MORE = 10
"""So many times as much one account asks for."""
ITEMS, DELAY_MS = 8, 100
SLOTS = 4
MONEY = (
    nothing_is_left_unfinished,
    users_pay_islands_fees_and_insurance,
    failed_jobs_cost_nothing,
    the_books_close,
)


async def _rush(coordinators: int, fair: int, requests: int) -> tuple[Crowd, list[str]]:
    plan = Plan(
        hosts=(Hosts(1, slots=SLOTS),),
        coordinators=coordinators,
        proxied=False,
        policy={"wait_target_interactive_s": "6", "queue_wait_interactive_s": "30"},
    )
    async with started(plan) as network:
        crowd = Crowd(network)
        accounts = [await crowd.account(f"fair-{n}", requests) for n in range(fair)]
        accounts.append(await crowd.account("greedy", requests * MORE))
        await _learn(crowd)
        await crowd.rush(accounts, items=ITEMS, delay_ms=DELAY_MS)
        return crowd, await _of_money(network, accounts)


async def _learn(crowd: Crowd) -> None:
    """Of what nothing was seen no wait is foretold."""
    await crowd.rush([await crowd.account("first", SLOTS)], items=ITEMS, delay_ms=DELAY_MS)
    crowd.told.clear()


async def _of_money(network: Network, accounts: list[Account]) -> list[str]:
    prices = {slug: manifest.price for slug, manifest in network.manifests.items()}
    found: list[str] = []
    for account in accounts:

        async def ended(of: str = account.id) -> bool:
            return await asyncio.to_thread(unfinished, network.database_url(), of) == 0

        await network.until(ended, "everything has ended", PATIENCE_S)
        books = await asyncio.to_thread(open_books, network.database_url(), account.id, prices)
        found += [f"{account.name}: {said}" for check in MONEY for said in check(books, ())]
        done = sum(job.status == "succeeded" for job in books.jobs.values())
        if done != account.requests:
            found.append(f"{account.name} has {done} answers for {account.requests} requests")
    return found


def _promises_kept(crowd: Crowd, money: list[str]) -> None:
    statuses = Counter(status for told in crowd.told for status in told.statuses)
    away = [told for told in crowd.told if told.sent_away]
    let_in = sum(told.first_return == 200 for told in away)
    SAY(f"{dict(statuses)}; of {len(away)} sent away, {let_in} got in when they came back first")

    assert not money
    assert all(told.served for told in crowd.told), [t.error for t in crowd.told if not t.served]
    assert len(away) >= 5, "it is an overload"
    assert set(statuses) <= {200, 429, 503} and not any(told.early for told in crowd.told)
    assert let_in >= 0.5 * len(away)


def test_who_is_sent_away_comes_back_and_is_served_and_who_asks_most_starves_nobody() -> None:
    fair, requests = 4, 4

    crowd, money = asyncio.run(_rush(1, fair, requests))

    _promises_kept(crowd, money)
    at_last_fair = [crowd.served_when[f"fair-{n}"]["greedy"] for n in range(fair)]
    SAY(f"of {requests * MORE} of the greedy one served by each fair one's last: {at_last_fair}")
    assert max(at_last_fair) <= 0.8 * requests * MORE, "four of forty would be its share"


def test_who_comes_back_to_another_coordinator_is_served_all_the_same() -> None:
    crowd, money = asyncio.run(_rush(2, fair=1, requests=8))

    _promises_kept(crowd, money)
