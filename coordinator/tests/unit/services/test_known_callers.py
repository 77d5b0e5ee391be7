"""Callers that are known: a change counts at once, nothing is relied upon in silence, and the rate holds."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.services import known_callers
from archipelag_coordinator.services.keys import revoke_key
from archipelag_coordinator.services.known_callers import KnownCallers
from archipelag_coordinator.services.people import suspend_user
from archipelag_coordinator.services.ports import Admission, Door
from archipelag_coordinator.services.sessions import sign_out_everywhere
from archipelag_coordinator.testing.builders import a_user
from archipelag_coordinator.testing.worlds import Scene, a_scene

RATE = 100


@dataclass
class Slow:
    """A door whose answers can be held back."""

    door: Door
    open: asyncio.Event = field(default_factory=asyncio.Event)
    broken: bool = False
    passed: list[int] = field(default_factory=list)

    async def admit(
        self, key_hash: bytes, now: datetime, requests_per_minute: int, passed: int = 0
    ) -> Admission | None:
        self.passed.append(passed)
        if self.broken:
            raise ConnectionError("the database is away")
        found = await self.door.admit(key_hash, now, requests_per_minute, passed)
        await self.open.wait()
        return found

    async def count(self, bucket: str, now: datetime, per_minute: int) -> float | None:
        return await self.door.count(bucket, now, per_minute)


@dataclass
class Bench:
    scene: Scene
    below: Slow
    known: KnownCallers
    hears: bool = True

    def another(self) -> KnownCallers:
        """Another Coordinator's."""
        return KnownCallers(self.below, self.scene.clock, kept_s=5.0, hears=lambda: self.hears)

    async def admit(self, known: KnownCallers | None = None) -> Admission:
        asked = known or self.known
        found = await asked.admit(self.scene.key.hash, self.scene.clock.now(), RATE)
        assert found is not None
        return found


@pytest.fixture
async def bench() -> Bench:
    scene = await a_scene()
    below = Slow(scene.store)
    below.open.set()
    made = Bench(scene, below, KnownCallers(below, scene.clock, kept_s=5.0, hears=lambda: True))
    made.known = made.another()
    return made


async def test_a_key_that_was_revoked_elsewhere_is_refused_once_word_has_come(bench: Bench) -> None:
    there = bench.another()
    assert (await bench.admit(there)).key.revoked_at is None

    await revoke_key(bench.scene.world, bench.scene.user.id, bench.scene.key.id)
    there.forget()

    assert (await bench.admit(there)).key.revoked_at is not None


async def test_a_person_who_was_suspended_is_refused_once_word_has_come(bench: Bench) -> None:
    admin = a_user(role=Role.ADMIN)
    async with bench.scene.store.begin() as tx:
        await tx.users.add(admin)
    assert not (await bench.admit()).user.suspended

    await suspend_user(bench.scene.world, admin.id, bench.scene.user.id)
    bench.known.forget()

    assert (await bench.admit()).user.suspended


async def test_where_no_word_can_come_every_request_asks(bench: Bench) -> None:
    await bench.admit()
    bench.hears = False
    await revoke_key(bench.scene.world, bench.scene.user.id, bench.scene.key.id)

    assert (await bench.admit()).key.revoked_at is not None
    bench.hears = True
    assert (await bench.admit()).key.revoked_at is not None, "nor is old knowledge used afterwards"


async def test_a_word_that_was_lost_is_made_up_for_in_seconds(bench: Bench) -> None:
    await bench.admit()
    await revoke_key(bench.scene.world, bench.scene.user.id, bench.scene.key.id)
    still = await bench.admit()
    bench.scene.clock.advance(5.0)

    assert still.key.revoked_at is None
    assert (await bench.admit()).key.revoked_at is not None


async def test_an_answer_from_before_the_word_is_not_remembered(bench: Bench) -> None:
    bench.below.open.clear()
    asking = asyncio.create_task(bench.admit())
    await asyncio.sleep(0.01)
    await revoke_key(bench.scene.world, bench.scene.user.id, bench.scene.key.id)
    bench.known.forget()
    bench.below.open.set()
    await asking

    assert (await bench.admit()).key.revoked_at is not None


async def test_a_key_that_nobody_knows_is_asked_about_each_time(bench: Bench) -> None:
    for _ in range(3):
        assert await bench.known.admit(b"\0" * 32, bench.scene.clock.now(), RATE) is None

    assert (bench.known.asked, len(bench.known._callers)) == (3, 0)


async def test_many_who_come_at_once_ask_one_question(bench: Bench) -> None:
    bench.below.open.clear()
    asking = [asyncio.create_task(bench.admit()) for _ in range(8)]
    await asyncio.sleep(0.01)
    bench.below.open.set()
    found = await asyncio.gather(*asking)

    assert (bench.known.asked, bench.known.known) == (1, 7)
    assert sorted(one.remaining for one in found) == list(range(92, 100))


async def test_what_passed_is_counted_where_all_count(bench: Bench) -> None:
    for _ in range(11):
        await bench.admit()
    other = bench.another()

    assert bench.below.passed == [0], "a tenth of the rate passes between two questions"
    await bench.admit()
    assert bench.below.passed == [0, 10]
    assert (await bench.admit(other)).remaining == RATE - 13


async def test_what_passed_is_not_forgotten_with_the_rest(bench: Bench) -> None:
    for _ in range(6):
        await bench.admit()
    bench.known.forget()
    bench.below.broken = True
    with pytest.raises(ConnectionError):
        await bench.admit()
    bench.below.broken = False

    assert (await bench.admit()).remaining == RATE - 7
    assert bench.below.passed == [0, 5, 5]


async def test_no_more_come_through_than_the_rate_allows_and_a_tenth_a_coordinator(
    bench: Bench,
) -> None:
    doors = [bench.known, bench.another(), bench.another()]

    through = 0
    for number in range(3 * RATE):
        through += (await bench.admit(doors[number % 3])).retry_after_s is None

    assert RATE <= through <= RATE + 3 * RATE // known_callers.SHARE


async def test_a_small_rate_is_counted_exactly(bench: Bench) -> None:
    for door in (bench.known, bench.another()) * 3:
        await door.admit(bench.scene.key.hash, bench.scene.clock.now(), 9)

    assert bench.below.passed == [0] * 6


async def test_what_is_remembered_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_callers, "KNOWN_MAX", 2)
    for per_minute in (100, 200, 300, 400):
        await bench.known.admit(bench.scene.key.hash, bench.scene.clock.now(), per_minute)

    assert len(bench.known._callers) == 2


async def test_nothing_is_remembered_where_the_setting_says_so(bench: Bench) -> None:
    door = KnownCallers(bench.below, bench.scene.clock, kept_s=0.0, hears=lambda: True)
    await bench.admit(door)
    await bench.admit(door)

    assert (door.asked, door.known) == (2, 0)


async def test_every_session_and_key_change_is_told(bench: Bench) -> None:
    before = bench.scene.bus.keys_changes
    await revoke_key(bench.scene.world, bench.scene.user.id, bench.scene.key.id)
    await sign_out_everywhere(bench.scene.world, bench.scene.user)

    assert bench.scene.bus.keys_changes == before + 2
