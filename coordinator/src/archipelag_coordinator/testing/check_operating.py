"""What every store must do when keys are changed and Coordinators are looked at; part of `CheckStore`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import ApiKeyId, RelayId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.health import Seen
from archipelag_coordinator.domain.link import Link
from archipelag_coordinator.errors import Conflict, NotFound
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.testing.builders import a_customer, a_key, an_id
from archipelag_coordinator.testing.fakes import START

MINUTE = timedelta(minutes=1)


class CheckOperating:
    async def test_a_changed_key_keeps_everything_else(self, store: Store) -> None:
        user, key, _ = await a_customer(store)
        changed = replace(
            key,
            name="renamed",
            budget=Ucredits(70),
            rate_per_minute=7,
            expires_at=START + MINUTE,
        )
        async with store.begin() as tx:
            await tx.keys.reserve(key.id, Ucredits(20))
            await tx.keys.save(replace(changed, prefix="other", used=Ucredits(0)))

        async with store.begin() as tx:
            assert await tx.keys.lock(user.id, key.id) == replace(changed, used=Ucredits(20))
            await tx.keys.save(key)
            assert await tx.keys.get(user.id, key.id) == replace(key, used=Ucredits(20))

    async def test_a_key_is_locked_for_its_user_alone(self, store: Store) -> None:
        user, key, _ = await a_customer(store)
        other, _, _ = await a_customer(store)

        async with store.begin() as tx:
            assert await tx.keys.lock(user.id, key.id) == key
            assert await tx.keys.lock(other.id, key.id) is None
            assert await tx.keys.lock(user.id, ApiKeyId(an_id("key"))) is None

    async def test_no_budget_goes_below_what_was_used(self, store: Store) -> None:
        user, key, _ = await a_customer(store)
        async with store.begin() as tx:
            await tx.keys.reserve(key.id, Ucredits(20))

        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.keys.save(replace(key, budget=Ucredits(19)))

        async with store.begin() as tx:
            assert await tx.keys.get(user.id, key.id) == replace(key, used=Ucredits(20))

    async def test_an_unknown_key_is_not_changed(self, store: Store) -> None:
        user, _, _ = await a_customer(store)

        with pytest.raises(NotFound):
            async with store.begin() as tx:
                await tx.keys.save(a_key(user))

    async def test_two_changes_at_once_are_both_kept(self, store: Store) -> None:
        user, key, _ = await a_customer(store)

        async def change(**what: object) -> None:
            async with store.begin() as tx:
                locked = await tx.keys.lock(user.id, key.id)
                assert locked is not None
                await tx.keys.save(replace(locked, **what))  # type: ignore[arg-type]

        await asyncio.gather(change(name="new"), change(rate_per_minute=3))

        async with store.begin() as tx:
            found = await tx.keys.get(user.id, key.id)
        assert found == replace(key, name="new", rate_per_minute=3)

    async def test_coordinators_are_seen_the_last_first(self, store: Store) -> None:
        old, new = RelayId(an_id("rly")), RelayId(an_id("rly"))
        async with store.begin() as tx:
            assert await tx.coordinators.seen() == []
            assert not await tx.coordinators.has_leader()
            await tx.coordinators.beat(new, START + MINUTE)
            await tx.coordinators.beat(old, START)

        async with store.begin() as tx:
            assert await tx.coordinators.seen() == [Seen(new, START + MINUTE), Seen(old, START)]

    async def test_regions_are_of_those_alive_and_one_without_a_region_has_none(
        self, store: Store
    ) -> None:
        east, west, nowhere, old = (RelayId(an_id("rly")) for _ in range(4))
        async with store.begin() as tx:
            await tx.coordinators.beat(old, START, "us")
            for relay, region in ((east, "eu"), (west, "us"), (nowhere, "")):
                await tx.coordinators.beat(relay, START, region)
                await tx.coordinators.beat(relay, START + MINUTE, region)

            assert await tx.coordinators.regions(START + MINUTE) == {east: "eu", west: "us"}

    async def test_a_link_is_taken_back_once_and_for_good(self, store: Store) -> None:
        first, second, north = Link("west"), Link("west", 2), Link("north")
        async with store.begin() as tx:
            assert await tx.links.taken_back() == []
            assert await tx.links.take_back(second, START)
            assert await tx.links.take_back(north, START)
        async with store.begin() as tx:
            assert not await tx.links.take_back(second, START + MINUTE)

        async with store.begin() as tx:
            assert await tx.links.taken_back() == [north, second]
            assert first not in await tx.links.taken_back()

    async def test_a_fresh_store_has_no_chores(self, store: Store) -> None:
        async with store.begin() as tx:
            assert await tx.sums.chores() == []
