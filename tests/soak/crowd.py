"""The crowd of a soak: so many streams open at every moment, read by people of many kinds, each judged as it ends."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from random import Random
from typing import Final

import httpx

from tests.chaos.checkers import (
    Books,
    answers_open_once,
    every_reader_came_to_the_end,
    positions_come_once_and_in_order,
    texts_are_the_undisturbed_ones,
)
from tests.chaos.faults import Log
from tests.chaos.network import Network
from tests.chaos.readers import Connection, Manners, Readers, Reading, Receipt, fast_ask
from tests.chaos.report import LONG_S, quiet_of


class Kind(StrEnum):
    """How somebody reads."""

    STEADY = "steady"
    """Reads to the end, and comes back when its line breaks."""
    SLOW = "slow"
    """Takes nothing for seconds, while what was said waits for it."""
    FLAKY = "flaky"
    """Its own line breaks every few seconds."""
    TWICE = "twice"
    """Asks twice at once, by the same Idempotency-Key."""
    FOLLOWS = "follows"
    """Makes a job, then follows it."""
    WHOLE = "whole"
    """Wants its answer in one piece."""
    LEAVES = "leaves"
    """Is gone in mid-answer and does not come back."""
    CANCELS = "cancels"
    """Cancels in mid-answer, and reads on to the end of the stream."""


WEIGHTS: Final = {
    Kind.STEADY: 70,
    Kind.SLOW: 6,
    Kind.FLAKY: 6,
    Kind.TWICE: 4,
    Kind.FOLLOWS: 4,
    Kind.WHOLE: 2,
    Kind.LEAVES: 4,
    Kind.CANCELS: 4,
}
IMPATIENT: Final = frozenset({Kind.LEAVES, Kind.CANCELS})
"""Whose answers do not come to their end."""
TIMED: Final = frozenset({Kind.STEADY, Kind.TWICE})
"""Whose pauses are the network's and not their own."""
DOORS: Final = {Kind.FOLLOWS: "job", Kind.WHOLE: "whole"}
ACCOUNTS: Final = 4
PATIENCE_S: Final = 300.0
SLOW_S: Final = 3.0
SLOW_BUFFER: Final = 4096
FLAKY_S: Final = (2.0, 15.0)
LOOK_S: Final = 0.2
CANCEL_TRIES: Final = 10
SPREAD_S: Final = 10.0
"""Over which the first of a crowd come in."""
NO_BOOKS: Final = Books("", {}, {}, {}, {}, {}, (), 0)
OWN_CHECKS: Final = (
    positions_come_once_and_in_order,
    texts_are_the_undisturbed_ones,
    answers_open_once,
)
"""What a reader can say without the books."""


@dataclass
class Told(Reading):
    """What one of the crowd saw."""

    kind: Kind = Kind.STEADY


class SlowConnection(Connection):
    """Little room for what is not read yet, and a rest after each look."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        line = transport.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.pause_reading()
        asyncio.get_running_loop().call_later(SLOW_S, self.transport.resume_reading)


class FlakyConnection(Connection):
    """Breaks after some seconds."""

    def __init__(self, reading: Reading, count: Callable[[int], None], whole_s: float) -> None:
        super().__init__(reading, count)
        self._whole_s = whole_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        asyncio.get_running_loop().call_later(self._whole_s, self.transport.abort)


class CrowdReaders(Readers):
    """One customer's."""

    def _connection(self, reading: Reading) -> Connection:
        assert isinstance(reading, Told)
        if reading.kind is Kind.SLOW:
            return SlowConnection(reading, self._count)
        if reading.kind is Kind.FLAKY:
            return FlakyConnection(reading, self._count, self._chance.uniform(*FLAKY_S))
        return super()._connection(reading)


@dataclass
class Account:
    """A customer, and all that its readers saw."""

    customer: str
    key: str
    readers: CrowdReaders
    patient: bool


@dataclass
class Seen:
    """What the crowd saw, summed up as it ends."""

    ended: Counter[str] = field(default_factory=Counter)
    """Answers, by kind."""
    first_s: list[float] = field(default_factory=list)
    """From the question to the first item."""
    pauses_s: list[float] = field(default_factory=list)
    """The longest of each answer, between two items."""
    around_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """The longest wait of each stream that was open during a fault that concerns all, by the fault."""
    complaints: list[str] = field(default_factory=list)


class Crowd:
    """`keep` holds so many streams open until it is told to stop, then lets each come to its end."""

    def __init__(
        self, network: Network, log: Log, chance: Random, *, rate: float, items: tuple[int, int]
    ) -> None:
        """`rate`: items a second of each stream; `items`: the least and the most of an answer."""
        self._network = network
        self._log = log
        self._chance = chance
        self._delay_ms = round(1000 / rate)
        self._items = items
        self._asked = 0
        self._http = httpx.AsyncClient(timeout=10)
        self.accounts: list[Account] = []
        self.seen = Seen()

    async def enter(self) -> None:
        """Its customers: some of them patient, one of them not."""
        ports = [one.port for one in self._network.coordinators]
        for number in range(ACCOUNTS + 1):
            customer, key = await self._network.customer(f"soak-{number}")
            readers = CrowdReaders(ports, key, self._chance, Manners(patience_s=PATIENCE_S))
            self.accounts.append(Account(customer, key, readers, patient=number < ACCOUNTS))

    async def leave(self) -> None:
        await self._http.aclose()

    @property
    def reading(self) -> int:
        """Streams that are open now."""
        return sum(account.readers.reading for account in self.accounts)

    @property
    def positions(self) -> int:
        return sum(account.readers.items for account in self.accounts)

    def readings(self) -> Iterator[Reading]:
        for account in self.accounts:
            yield from account.readers.readings

    async def keep(self, streams: int, stop: asyncio.Event) -> None:
        kinds, weights = list(WEIGHTS), list(WEIGHTS.values())

        async def one() -> None:
            await asyncio.sleep(self._chance.uniform(0, SPREAD_S))
            while not stop.is_set():
                await self._read(self._chance.choices(kinds, weights)[0])

        async with asyncio.TaskGroup() as group:
            for _ in range(streams):
                group.create_task(one())

    async def _read(self, kind: Kind) -> None:
        self._asked += 1
        patient = kind not in IMPATIENT
        account = self._chance.choice([a for a in self.accounts if a.patient is patient])
        items = self._chance.randint(*self._items)
        ask = fast_ask(
            f"soak-{self._asked}",
            self._chance.getrandbits(48),
            items,
            self._delay_ms,
            DOORS.get(kind, "chat"),
        )
        told = [Told(ask, kind=kind) for _ in range(2 if kind is Kind.TWICE else 1)]
        if patient:
            await asyncio.gather(*(account.readers.read(ask, into=one) for one in told))
        else:
            await self._part(account, told[0], self._chance.randint(1, items - 1))
        self._sum_up(told)

    async def _part(self, account: Account, told: Told, at: int) -> None:
        """In mid-answer: for good, or by a word to any Coordinator."""
        reading = asyncio.create_task(account.readers.read(told.ask, into=told))
        while not reading.done() and told.position < at:
            await asyncio.wait([reading], timeout=LOOK_S)
        if told.kind is Kind.LEAVES:
            reading.cancel()
            await asyncio.wait([reading])
            return
        if not reading.done():
            await self._cancel(account, told.jobs[-1])
        await reading

    async def _cancel(self, account: Account, job: str) -> None:
        headers = {"Authorization": f"Bearer {account.key}"}
        for _ in range(CANCEL_TRIES):
            port = self._chance.choice(account.readers.ports)
            try:
                url = f"http://127.0.0.1:{port}/api/v1/jobs/{job}"
                said = (await self._http.delete(url, headers=headers)).status_code
            except httpx.HTTPError:
                said = 0
            if said in (200, 409):  # 409: it has ended meanwhile.
                return
            await asyncio.sleep(0.5 + self._chance.random())
        self._complain(f"{job} could not be cancelled: {said} to the last try")

    def _sum_up(self, readings: Sequence[Told]) -> None:
        """Judges them by their receipts, which are let go then: thousands of answers would not fit into memory."""
        seen = self.seen
        for told in readings:
            seen.ended[told.kind] += 1
            patient = (every_reader_came_to_the_end,) if told.kind not in IMPATIENT else ()
            for check in (*patient, *OWN_CHECKS):
                for complaint in check(NO_BOOKS, [told]):
                    self._complain(f"{told.kind}, {told.jobs}: {complaint}")
            if told.kind in TIMED and told.receipts:
                seen.first_s.append(told.receipts[0].at - told.began)
                self._time_pauses(told)
                self._time_around(told)
            told.receipts = [Receipt(told.position, told.text, time.monotonic())] * bool(
                told.receipts
            )
            told.ask = replace(told.ask, expected=(), body={})
        if len({told.jobs[-1] for told in readings if told.jobs}) > 1:
            self._complain(f"{readings[0].ask.key} was asked twice and made two jobs")

    def _complain(self, of: str) -> None:
        self.seen.complaints.append(of)
        self._log.say(of)

    def _time_pauses(self, told: Told) -> None:
        longest = 0.0
        for last, following in pairwise(told.receipts):
            pause_s = following.at - last.at
            longest = max(longest, pause_s)
            if pause_s > LONG_S:
                began = datetime.now(UTC) - timedelta(seconds=time.monotonic() - last.at)
                self._log.say(
                    f"a pause of {pause_s:.1f} s from {began:%H:%M:%S} on, at position {last.position} "
                    f"of {told.jobs[-1]}"
                )
        self.seen.pauses_s.append(longest)

    def _time_around(self, told: Told) -> None:
        for strike in self._log.strikes:
            if not strike.target_id and (strike.ended or told.ended) >= told.began:
                waited = quiet_of(strike, told)
                if waited is not None:
                    self.seen.around_s[strike.fault].append(waited)
