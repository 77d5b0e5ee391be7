"""PostgreSQL's part: the shipping memory store behind connections that are late, break, and leave callers in doubt."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from random import Random
from typing import Any, Final

import psycopg
from archipelag_coordinator.services.ports import Admission
from archipelag_coordinator.testing.memory_store import MemoryStore

from simulation.network import Network
from simulation.party import Party
from simulation.watching import RowWatch

NAME: Final = "postgres"
STATEMENT_S: Final = (0.0002, 0.002)
POOL_WAIT_S: Final = 10.0
LEADER_CHECK_S: Final = 2.0
LEADER_ANSWER_S: Final = 2.0
SETTLED_S: Final = 10.0
SESSION_GONE_S: Final = 7.0
"""So long the server takes to notice that a leader's connection is dead, and lets its lock go."""


class Database:
    """The one server. Transactions are one after another, as strict as can be."""

    def __init__(
        self, store: MemoryStore, network: Network, rng: Random, tell: Callable[[str], None]
    ) -> None:
        self.store = store
        self.network = network
        self.rng = rng
        self.watch = RowWatch(store._state, tell)
        self.up = True
        self.leader: Party | None = None
        self.commits = 0
        self.lose_before = 0.0
        """Chance that a connection breaks before the commit arrives: nothing is stored."""
        self.lose_after = 0.0
        """Chance that it breaks after: everything is stored, and the caller does not know."""
        self.after_commit: list[Callable[[Party], None]] = []
        """Called after each commit, in the committing party: where it may be killed between commit and send."""
        self._holder: Session | None = None
        self._queue: deque[tuple[Session, asyncio.Future[None]]] = deque()

    def reaches(self, party: Party) -> bool:
        network = self.network
        return self.up and network.reaches(party.host, NAME) and network.reaches(NAME, party.host)

    async def take_turn(self, session: Session) -> None:
        if self._holder is None:
            self._holder = session
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((session, turn))
        try:
            await turn
        except BaseException:
            if self._holder is session:
                self.end_turn(session)
            else:
                self._queue = deque(one for one in self._queue if one[1] is not turn)
            raise

    def end_turn(self, session: Session) -> None:
        if self._holder is not session:
            return
        self._holder = None
        while self._queue:
            following, turn = self._queue.popleft()
            if not following.party.dead and not turn.done():
                self._holder = following
                turn.set_result(None)
                return

    def break_sessions(self, party: Party | None = None) -> None:
        """Whoever is in the middle of a transaction has lost it; with None everybody."""
        holder = self._holder
        if holder is not None and (party is None or holder.party is party):
            holder.broken = True
            self.roll_back()
            self.end_turn(holder)

    def roll_back(self) -> None:
        self.store._state.roll_back()
        self.watch.rolled_back()

    def go_down(self) -> None:
        self.up = False
        self.leader = None
        self.break_sessions()

    def come_up(self) -> None:
        self.up = True

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Between two transactions: what is seen has been committed."""
        session = Session(self, Party("checker", 0))
        await self.take_turn(session)
        try:
            yield
        finally:
            self.end_turn(session)

    def attach(self, party: Party) -> None:
        party.on_death.append(lambda: self._gone(party))
        party.on_freeze.append(lambda: self.break_sessions(party))

    def _gone(self, party: Party) -> None:
        self.break_sessions(party)
        if self.leader is party:
            self.leader = None


class Session:
    """One transaction of one party."""

    def __init__(self, database: Database, party: Party) -> None:
        self.database = database
        self.party = party
        self.broken = False

    async def statement(self) -> None:
        await asyncio.sleep(self.database.rng.uniform(*STATEMENT_S))
        self.check()

    def check(self) -> None:
        if not self.broken and not self.database.reaches(self.party):
            self.database.break_sessions(self.party)
            self.broken = True
        if self.broken:
            raise psycopg.OperationalError("the connection to the database was lost")


class _Noun:
    """One noun's rows: each question is a round trip."""

    def __init__(self, inner: Any, session: Session) -> None:
        self._inner = inner
        self._session = session

    def __getattr__(self, name: str) -> Any:
        question = getattr(self._inner, name)
        session = self._session

        async def ask(*args: Any, **options: Any) -> Any:
            await session.statement()
            return await question(*args, **options)

        self.__dict__[name] = ask
        return ask


class _Tx:
    def __init__(self, inner: Any, session: Session) -> None:
        self._inner = inner
        self._session = session
        self.ahead = False
        self.lost = False

    def ahead_of_disk(self) -> Callable[[], Awaitable[None]]:
        self.ahead = True

        async def on_disk() -> None:
            await asyncio.sleep(self._session.database.rng.uniform(*STATEMENT_S))
            if self.lost:
                raise psycopg.OperationalError("the connection was lost; is it on disk?")

        return on_disk

    def rely(self) -> None:
        self._inner.rely()

    def __getattr__(self, name: str) -> Any:
        noun = _Noun(getattr(self._inner, name), self._session)
        self.__dict__[name] = noun
        return noun


class PartyStore:
    """Implements `Store` and `Door` for one Coordinator."""

    def __init__(self, database: Database, party: Party) -> None:
        self._database = database
        self._party = party
        database.attach(party)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Any]:
        database, session = self._database, await self._connect()
        store = database.store
        try:
            tx = _Tx(store._tx, session)
            yield tx
            await session.statement()
            if database.lose_before and database.rng.random() < database.lose_before:
                raise psycopg.OperationalError("the connection was lost before the commit")
        except BaseException:
            if not session.broken:
                database.roll_back()
            database.end_turn(session)
            raise
        wrote = len(store._state.undo)
        store._state.commit()
        database.commits += 1
        if wrote:
            database.network.trace(f"{self._party} commits {wrote} changes")
        database.watch.committed()
        database.end_turn(session)
        if wrote:
            for told in database.after_commit:
                told(self._party)
            if self._party.dead:
                await asyncio.get_running_loop().create_future()
            if database.lose_after and database.rng.random() < database.lose_after:
                if tx.ahead:
                    tx.lost = True
                    return
                raise psycopg.OperationalError("the connection was lost; was it committed?")
        await asyncio.sleep(database.rng.uniform(*STATEMENT_S))

    async def admit(
        self, key_hash: bytes, now: datetime, requests_per_minute: int, passed: int = 0
    ) -> Admission | None:
        session = await self._connect()
        try:
            return await self._database.store.admit(key_hash, now, requests_per_minute, passed)
        finally:
            self._database.end_turn(session)

    async def count(self, bucket: str, now: datetime, per_minute: int) -> float | None:
        session = await self._connect()
        try:
            return await self._database.store.count(bucket, now, per_minute)
        finally:
            self._database.end_turn(session)

    async def _connect(self) -> Session:
        database = self._database
        session = Session(database, self._party)
        if not database.reaches(self._party):
            if not database.up:
                # A server that is down refuses at once; the pool tries for its time all the same.
                await asyncio.sleep(1.0)
            await self._until_reached()
        await database.take_turn(session)
        try:
            await session.statement()
        except BaseException:
            database.end_turn(session)
            raise
        return session

    async def _until_reached(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + POOL_WAIT_S
        while not self._database.reaches(self._party):
            if loop.time() > until:
                raise psycopg.OperationalError("couldn't get a connection in time")
            await asyncio.sleep(0.5)


class PartyLeader:
    """As `adapters.postgres.leader.Leader`: the lock lives as long as the session that took it."""

    def __init__(self, database: Database, party: Party) -> None:
        self._database = database
        self._party = party
        self._leads = False
        self._since = 0.0

    @property
    def is_leader(self) -> bool:
        return self._leads

    @property
    def is_settled(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._leads and now - self._since >= SETTLED_S

    async def run(self) -> None:
        database, party = self._database, self._party
        while True:
            if database.reaches(party):
                if database.leader is None:
                    database.leader = party
                self._set(database.leader is party)
            else:
                if database.leader is party:
                    self._let_go_later()
                await asyncio.sleep(LEADER_ANSWER_S)
                if not database.reaches(party):
                    self._set(False)
                    continue
            await asyncio.sleep(LEADER_CHECK_S)

    def _let_go_later(self) -> None:
        database, party = self._database, self._party

        def gone() -> None:
            if database.leader is party:
                database.leader = None
                # A session that is gone does not come back: this process stands anew.
                self._set(False)

        asyncio.get_running_loop().call_later(SESSION_GONE_S, gone)

    def _set(self, leads: bool) -> None:
        if leads is not self._leads:
            self._leads = leads
            self._since = asyncio.get_running_loop().time()
