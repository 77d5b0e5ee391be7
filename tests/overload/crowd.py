"""A crowd of customers of a real network, each request through the SDK, with every status that it was answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
from archipelag import ArchipelagError, AsyncClient

from tests.chaos.network import Network
from tests.chaos.readers import FAST_SLUG

SPREAD_S = 1.5
EARLY_S = 0.05
"""By so much two clocks that are read one after the other may differ."""
RETRIES_MAX = 10


@dataclass
class Told:
    """One request: what came of each of its tries, in order."""

    account: str
    statuses: list[int] = field(default_factory=list)
    early: int = 0
    """Tries that came before they were told to."""
    served: bool = False
    error: str = ""

    @property
    def sent_away(self) -> bool:
        return 429 in self.statuses

    @property
    def first_return(self) -> int | None:
        """What it was answered when it came back for the first time."""
        after = self.statuses[self.statuses.index(429) + 1 :] if self.sent_away else []
        return after[0] if after else None


@dataclass
class Account:
    name: str
    id: str
    key: str
    requests: int


class Listening(httpx.AsyncBaseTransport):
    """Lets requests of one call through, each try to another Coordinator, as behind a balancer, and notes what they
    were answered and told."""

    def __init__(self, inner: httpx.AsyncBaseTransport, told: Told, ports: list[int]) -> None:
        self._inner = inner
        self._told = told
        self._ports = ports
        self._not_before = 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._told.early += time.monotonic() < self._not_before - EARLY_S
        self._ports.append(self._ports.pop(0))
        request.url = request.url.copy_with(port=self._ports[-1])
        response = await self._inner.handle_async_request(request)
        self._told.statuses.append(response.status_code)
        if response.status_code == 429:
            self._not_before = time.monotonic() + float(response.headers["retry-after"])
        return response


class Crowd:
    """Guards what everybody was told. `served_when[name]`: of each account, answers by the time the last of `name`'s
    came."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.told: list[Told] = []
        self.served: Counter[str] = Counter()
        self.served_when: dict[str, Counter[str]] = {}

    async def account(self, name: str, requests: int) -> Account:
        customer, key = await self._network.customer(name)
        return Account(name, customer, key, requests)

    async def rush(self, accounts: list[Account], *, items: int, delay_ms: int) -> None:
        """All of them ask at once; returns when everybody was served or has given up."""
        limits = httpx.Limits(max_connections=None)
        async with (
            httpx.AsyncHTTPTransport(limits=limits) as inner,
            asyncio.TaskGroup() as group,
        ):
            for account in accounts:
                for number in range(account.requests):
                    group.create_task(self._ask(inner, account, number, items, delay_ms))

    async def _ask(
        self,
        inner: httpx.AsyncBaseTransport,
        account: Account,
        number: int,
        items: int,
        delay_ms: int,
    ) -> None:
        told = Told(account.name)
        self.told.append(told)
        ports = [one.port for one in self._network.coordinators]
        turn = number % len(ports)
        knobs = {"items": items, "delay_ms": delay_ms, "seeded": True}
        # Whoever asks for ten times as much is not the first with all of it.
        await asyncio.sleep(SPREAD_S * number / account.requests)
        client = AsyncClient(
            self._network.coordinators[0].base,
            account.key,
            retries_max=RETRIES_MAX,
            transport_layer=Listening(inner, told, ports[turn:] + ports[:turn]),
        )
        # Not closed: its transport is everybody's.
        try:
            answer = await client.chat(
                f"request {number} of {account.name}",
                FAST_SLUG,
                system=json.dumps(knobs),
                max_tokens=items,
            )
        except ArchipelagError as error:
            told.error = f"{type(error).__name__}: {error}"
            return
        told.served = bool(answer.text)
        self.served[account.name] += 1
        if self.served[account.name] == account.requests:
            self.served_when[account.name] = self.served.copy()
