"""The whole of PostgreSQL's part in memory: transactions one after another, everything or nothing, the same guards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from archipelag_contracts.ids import IslandId, RelayId, UserId

from archipelag_coordinator.clock import Clock, SystemClock
from archipelag_coordinator.domain import rate
from archipelag_coordinator.domain.health import Seen
from archipelag_coordinator.domain.island import MOVES, Glance, Island, IslandStatus, PairingCode
from archipelag_coordinator.domain.link import Link
from archipelag_coordinator.errors import Conflict, IllegalMove, NotFound, PairingRefused
from archipelag_coordinator.services.ports import Admission, OnDisk
from archipelag_coordinator.testing.memory_batches import MemoryBatches
from archipelag_coordinator.testing.memory_cargos import MemoryCargos
from archipelag_coordinator.testing.memory_conversations import MemoryConversations
from archipelag_coordinator.testing.memory_files import MemoryFiles
from archipelag_coordinator.testing.memory_lines import MemoryLines
from archipelag_coordinator.testing.memory_pay import (
    MemoryKarmaNotes,
    MemoryUsages,
    MeteredAttempts,
    PayingLedger,
)
from archipelag_coordinator.testing.memory_people import (
    MemoryAuditLog,
    MemoryIdentities,
    MemoryKeys,
    MemorySignIns,
    MemoryUsers,
)
from archipelag_coordinator.testing.memory_state import State
from archipelag_coordinator.testing.memory_sums import MemorySums
from archipelag_coordinator.testing.memory_work import MemoryItems, MemoryJobs


class MemoryIslands:
    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def add(self, island: Island) -> None:
        if island.owner_id not in self._state.users:
            raise Conflict(f"{island.id} names an owner that is not stored")
        if await self.by_public_key(island.public_key) is not None:
            raise Conflict("an Island with this key stands already")
        self._state.islands.add(island.id, island)
        if not island.may_connect:
            self._state.cut_off_at.put(island.id, self._clock.now())

    async def get(self, island: IslandId) -> Island | None:
        return self._state.islands.get(island)

    async def lock(self, island: IslandId) -> Island | None:
        return self._state.islands.get(island)

    async def by_public_key(self, public_key: bytes) -> Island | None:
        return next((i for i in self._state.islands if i.public_key == public_key), None)

    async def all(self) -> list[Island]:
        gone = (IslandStatus.RETIRED, IslandStatus.BANNED)
        return sorted((i for i in self._state.islands if i.status not in gone), key=lambda i: i.id)

    async def glances(self) -> list[Glance]:
        return [
            Glance(
                i.id,
                i.status.value,
                i.approved,
                i.seen_at.timestamp() if i.seen_at else 0.0,
                i.wishes.version,
            )
            for i in await self.all()
        ]

    async def several(self, islands: Sequence[IslandId]) -> list[Island]:
        wanted = frozenset(islands)
        return [island for island in await self.all() if island.id in wanted]

    async def of_owner(self, owner: UserId) -> list[Island]:
        return [island for island in await self.all() if island.owner_id == owner]

    async def save(self, island: Island) -> None:
        stored = self._state.islands.get(island.id)
        if stored is None:
            raise NotFound("Island", island.id)
        if stored.status is not island.status and island.status not in MOVES[stored.status]:
            raise IllegalMove("island", stored.status, island.status)
        if stored.may_connect and not island.may_connect:
            self._state.cut_off_at.put(island.id, self._clock.now())
        self._state.islands.put(island.id, replace(island, wishes=stored.wishes))

    async def save_wishes(self, island: Island) -> None:
        stored = self._state.islands.get(island.id)
        if stored is None:
            raise NotFound("Island", island.id)
        self._state.islands.put(island.id, replace(stored, wishes=island.wishes))

    async def save_beats(self, islands: Sequence[Island]) -> None:
        for island in islands:
            stored = self._state.islands.get(island.id)
            if stored is None or not stored.may_connect or not island.may_connect:
                continue
            if stored.seen_at and island.seen_at and stored.seen_at > island.seen_at:
                continue
            beaten = replace(
                island, name=stored.name, approved=stored.approved, wishes=stored.wishes
            )
            self._state.islands.put(island.id, beaten)

    async def cut_off(self) -> Mapping[bytes, datetime]:
        found = {}
        for island in self._state.islands:
            since = self._state.cut_off_at.get(island.id)
            if not island.may_connect and since is not None:
                found[island.public_key] = since
        return found

    async def add_code(self, code: PairingCode) -> None:
        if code.owner_id not in self._state.users:
            raise Conflict("a pairing code names an owner that is not stored")
        self._state.codes.add(code.code, code)

    async def take_code(self, code: str, island: IslandId, now: datetime) -> PairingCode:
        found = self._state.codes.get(code)
        if found is None:
            raise PairingRefused("is unknown")
        if found.used_by is not None:
            raise PairingRefused("was used already")
        if found.expires_at <= now:
            raise PairingRefused("has expired")
        taken = replace(found, used_by=island)
        self._state.codes.put(code, taken)
        return taken


class MemoryCoordinators:
    def __init__(self, state: State) -> None:
        self._state = state

    async def beat(self, relay: RelayId, now: datetime, region: str = "") -> None:
        self._state.coordinators.put(relay, now)
        if self._state.regions.get(relay) is None:
            self._state.regions.put(relay, region)

    async def leave(self, relay: RelayId) -> None:
        self._state.coordinators.remove(relay)
        self._state.regions.remove(relay)

    async def alive(self, since: datetime) -> list[RelayId]:
        return sorted(relay for relay, at in self._state.coordinators.items() if at >= since)

    async def regions(self, since: datetime) -> dict[RelayId, str]:
        told = {relay: self._state.regions.get(relay) for relay in await self.alive(since)}
        return {relay: region for relay, region in told.items() if region}

    async def seen(self) -> list[Seen]:
        found = [Seen(relay, at) for relay, at in self._state.coordinators.items()]
        return sorted(found, key=lambda one: (one.at, one.relay), reverse=True)[:100]

    async def has_leader(self) -> bool:
        """Nobody stands for election in memory: whoever is there leads."""
        return len(self._state.coordinators) > 0


class MemoryLinks:
    def __init__(self, state: State) -> None:
        self._state = state

    async def take_back(self, link: Link, now: datetime) -> bool:
        if link in self._state.links_taken_back:
            return False
        self._state.links_taken_back.add(link, now)
        return True

    async def taken_back(self) -> list[Link]:
        return sorted(link for link, _ in self._state.links_taken_back.items())


class MemoryTx:
    """Every noun's rows, over one state."""

    def __init__(self, state: State, clock: Clock) -> None:
        self.users = MemoryUsers(state)
        self.keys = MemoryKeys(state)
        self.cargos = MemoryCargos(state)
        self.islands = MemoryIslands(state, clock)
        self.jobs = MemoryJobs(state)
        self.items = MemoryItems(state)
        self.attempts = MeteredAttempts(state)
        self.ledger = PayingLedger(state)
        self.usage = MemoryUsages(state)
        self.karma = MemoryKarmaNotes(state)
        self.coordinators = MemoryCoordinators(state)
        self.files = MemoryFiles(state)
        self.conversations = MemoryConversations(state)
        self.sign_ins = MemorySignIns(state)
        self.identities = MemoryIdentities(state)
        self.audit = MemoryAuditLog(state)
        self.batches = MemoryBatches(state)
        self.sums = MemorySums(state)
        self.lines = MemoryLines(state)
        self.links = MemoryLinks(state)

    def ahead_of_disk(self) -> OnDisk:
        """There is none."""

        async def at_once() -> None:
            await asyncio.sleep(0)

        return at_once

    def rely(self) -> None:
        """Memory forgets everything or nothing."""


class MemoryStore:
    """Implements `Store` and `Door`. `clock` says when an Island was cut off, where PostgreSQL uses its own."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._state = State()
        self._tx = MemoryTx(self._state, clock or SystemClock())
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[MemoryTx]:
        async with self._turn:
            try:
                yield self._tx
            except BaseException:
                self._state.roll_back()
                raise
            self._state.commit()

    async def admit(
        self, key_hash: bytes, now: datetime, requests_per_minute: int, passed: int = 0
    ) -> Admission | None:
        async with self._turn:
            key = next((k for k in self._state.keys if k.hash == key_hash), None)
            if key is None:
                return None
            if key.last_used_at is None or now - key.last_used_at >= rate.LAST_USED_EVERY:
                key = replace(key, last_used_at=now)
                self._state.keys.put(key.id, key)
                self._state.commit()
            user = self._state.users.get(key.user_id)
            assert user is not None
            limit = key.rate_per_minute or requests_per_minute
            bucket = f"key:{key.id}"
            if passed:
                before = max(self._state.rates.get(bucket) or 0, rate.microseconds(now))
                self._state.rates[bucket] = before + passed * rate.drain_us(limit)
            taken = self._take(bucket, now, limit)
        return Admission(key, user, limit, taken.remaining, taken.reset_s, taken.retry_after_s)

    async def count(self, bucket: str, now: datetime, per_minute: int) -> float | None:
        async with self._turn:
            return self._take(bucket, now, per_minute).retry_after_s

    def _take(self, bucket: str, now: datetime, per_minute: int) -> rate.Taken:
        taken = rate.take(self._state.rates.get(bucket), rate.microseconds(now), per_minute)
        self._state.rates[bucket] = taken.empty_at
        return taken
