"""What every store must do with users, keys, Cargos, Islands, Coordinators and callers; part of `CheckStore`."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import pytest
from archipelag_contracts.ids import ApiKeyId, IslandId, RelayId
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.island import Glance, IslandStatus, PairingCode
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.domain.wishes import Wishes
from archipelag_coordinator.errors import (
    AlreadyMade,
    BudgetExceeded,
    Conflict,
    IllegalMove,
    NotFound,
    PairingRefused,
)
from archipelag_coordinator.services.ports import Door, Store
from archipelag_coordinator.testing.builders import (
    a_customer,
    a_key,
    a_stored_island,
    a_user,
    an_id,
    an_island,
    an_offer,
)
from archipelag_coordinator.testing.fakes import START

MINUTE = timedelta(minutes=1)


class Opened(Store, Door, Protocol):
    """Both at once, as the tests get it."""


class CheckTransactions:
    async def test_error_takes_everything_back(self, store: Store) -> None:
        user = a_user()

        async def fail_midway() -> None:
            async with store.begin() as tx:
                await tx.users.add(user)
                raise KeyError

        with pytest.raises(KeyError):
            await fail_midway()

        async with store.begin() as tx:
            assert await tx.users.get(user.id) is None

    async def test_what_is_written_is_seen_within_and_after(self, store: Store) -> None:
        user = a_user()

        async with store.begin() as tx:
            await tx.users.add(user)
            within = await tx.users.get(user.id)
        async with store.begin() as tx:
            after = await tx.users.get(user.id)

        assert within == after == user


class CheckUsers:
    async def test_user_is_found_by_address_in_any_case(self, store: Store) -> None:
        user = a_user(email="Somebody@Example.org")
        async with store.begin() as tx:
            await tx.users.add(user)

        async with store.begin() as tx:
            assert await tx.users.by_email("somebody@example.ORG") == user
            assert await tx.users.by_email("nobody@example.org") is None

    async def test_address_belongs_to_one_user(self, store: Store) -> None:
        async with store.begin() as tx:
            await tx.users.add(a_user(email="one@example.org"))

        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.users.add(a_user(email="ONE@example.org"))


class CheckKeys:
    async def test_key_is_its_users_alone(self, store: Store) -> None:
        user, key, _ = await a_customer(store)
        other, _, _ = await a_customer(store)

        async with store.begin() as tx:
            assert await tx.keys.get(user.id, key.id) == key
            assert await tx.keys.get(other.id, key.id) is None
            assert await tx.keys.revoke(other.id, key.id, START) is None
            assert await tx.keys.of_user(user.id) == [key]

    async def test_keys_are_listed_newest_first(self, store: Store) -> None:
        user, first, _ = await a_customer(store)
        second = a_key(user, created_at=START + MINUTE)
        async with store.begin() as tx:
            await tx.keys.add(second)

        async with store.begin() as tx:
            assert await tx.keys.of_user(user.id) == [second, first]

    async def test_same_secret_twice_is_refused(self, store: Store) -> None:
        user, _, secret = await a_customer(store)

        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.keys.add(a_key(user, secret=secret))

    async def test_same_idempotency_key_at_once_makes_one_key(self, store: Store) -> None:
        user, _, _ = await a_customer(store)
        other, _, _ = await a_customer(store)

        async def add(whose: User) -> ApiKeyId:
            key = a_key(whose, idempotency_key="once")
            try:
                async with store.begin() as tx:
                    await tx.keys.add(key)
            except AlreadyMade as error:
                return ApiKeyId(error.key_id)
            return key.id

        made = await asyncio.gather(*(add(user) for _ in range(5)))
        async with store.begin() as tx:
            revoked = await tx.keys.revoke(user.id, made[0], START)

        assert revoked is not None and revoked.idempotency_key == "once"
        assert {*made, await add(user)} == {revoked.id} != {await add(other)}

    async def test_key_of_nobody_is_refused(self, store: Store) -> None:
        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.keys.add(a_key(a_user()))

    async def test_revoking_twice_keeps_the_first_time(self, store: Store) -> None:
        user, key, _ = await a_customer(store)

        async with store.begin() as tx:
            await tx.keys.revoke(user.id, key.id, START)
            again = await tx.keys.revoke(user.id, key.id, START + MINUTE)

        assert again == replace(key, revoked_at=START)

    async def test_budget_bounds_what_is_reserved(self, store: Store) -> None:
        user, _, _ = await a_customer(store)
        key = a_key(user, budget=Ucredits(100))
        async with store.begin() as tx:
            await tx.keys.add(key)
            await tx.keys.reserve(key.id, Ucredits(70))

        with pytest.raises(BudgetExceeded) as refused:
            async with store.begin() as tx:
                await tx.keys.reserve(key.id, Ucredits(31))
        async with store.begin() as tx:
            await tx.keys.release(key.id, Ucredits(50))
            await tx.keys.reserve(key.id, Ucredits(80))
            found = await tx.keys.get(user.id, key.id)

        assert (refused.value.required, refused.value.available) == (31, 30)
        assert found is not None and found.used == 100

    async def test_key_without_budget_counts_and_never_below_zero(self, store: Store) -> None:
        user, key, _ = await a_customer(store)

        async with store.begin() as tx:
            await tx.keys.reserve(key.id, Ucredits(10**12))
            await tx.keys.release(key.id, Ucredits(10**13))
            found = await tx.keys.get(user.id, key.id)

        assert found is not None and found.used == 0

    async def test_unknown_key_has_no_budget(self, store: Store) -> None:
        with pytest.raises(NotFound):
            async with store.begin() as tx:
                await tx.keys.reserve(a_key(a_user()).id, Ucredits(1))

    async def test_budget_holds_against_many_at_once(self, store: Store) -> None:
        user, _, _ = await a_customer(store)
        key = a_key(user, budget=Ucredits(1000))
        async with store.begin() as tx:
            await tx.keys.add(key)

        async def reserve() -> bool:
            try:
                async with store.begin() as tx:
                    await tx.keys.reserve(key.id, Ucredits(300))
            except BudgetExceeded:
                return False
            return True

        outcomes = Counter(await asyncio.gather(*(reserve() for _ in range(20))))

        assert outcomes[True] == 3


class CheckIslands:
    async def test_island_is_found_as_it_was_stored(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        island = await a_stored_island(store, owner)

        async with store.begin() as tx:
            assert await tx.islands.get(island.id) == island
            assert await tx.islands.lock(island.id) == island
            assert await tx.islands.by_public_key(island.public_key) == island
            assert await tx.islands.all() == [island]
            assert await tx.islands.of_owner(owner.id) == [island]
            assert await tx.islands.of_owner(an_island().owner_id) == []
            assert await tx.islands.get(an_island(owner).id) is None

    async def test_a_glance_tells_what_often_changes(self, store: Store) -> None:
        async with store.begin() as tx:
            assert await tx.islands.glances() == []
        owner, _, _ = await a_customer(store)
        at = START + timedelta(microseconds=123_457)
        heard = await a_stored_island(store, owner, seen_at=at)
        never = await a_stored_island(store, owner, seen_at=None, approved=False)
        banned = await a_stored_island(store, owner)

        async with store.begin() as tx:
            await tx.islands.save(banned.ban())
            found = await tx.islands.glances()
            asked = await tx.islands.several([never.id, banned.id, an_island(owner).id])
            none = await tx.islands.several([])

        expected = [
            Glance(heard.id, "ready", True, at.timestamp()),
            Glance(never.id, "ready", False, 0.0),
        ]
        assert found == sorted(expected, key=lambda one: one.id)
        assert (asked, none) == ([never], [])

    async def test_key_belongs_to_one_island(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        island = await a_stored_island(store, owner)

        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.islands.add(an_island(owner, public_key=island.public_key))

    async def test_moves_that_the_table_has_are_saved(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        island = await a_stored_island(store, owner)
        silent = replace(island.fall_silent(), name="renamed")

        async with store.begin() as tx:
            await tx.islands.save(silent)

        async with store.begin() as tx:
            assert await tx.islands.get(island.id) == silent

    async def test_operators_word_is_not_overwritten_by_who_read_before(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        island = await a_stored_island(store, owner)
        async with store.begin() as tx:
            await tx.islands.save(island.suspend())

        with pytest.raises(IllegalMove):
            async with store.begin() as tx:
                await tx.islands.save(island.fall_silent())
        async with store.begin() as tx:
            await tx.islands.save_beats([replace(island, seen_at=START + MINUTE)])
            found = await tx.islands.get(island.id)

        assert found is not None and found.status is IslandStatus.SUSPENDED

    async def test_unknown_island_cannot_be_saved(self, store: Store) -> None:
        with pytest.raises(NotFound):
            async with store.begin() as tx:
                await tx.islands.save(an_island())

    async def test_cut_off_is_who_may_not_connect_until_restored(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        here = await a_stored_island(store, owner)
        suspended = await a_stored_island(store, owner)
        banned = await a_stored_island(store, owner)
        async with store.begin() as tx:
            await tx.islands.save(suspended.suspend())
            await tx.islands.save(banned.ban())

        async with store.begin() as tx:
            first = await tx.islands.cut_off()
            present = await tx.islands.all()
            theirs = await tx.islands.of_owner(owner.id)
            await tx.islands.save(suspended.suspend().restore())
        async with store.begin() as tx:
            second = await tx.islands.cut_off()

        assert set(first) == {suspended.public_key, banned.public_key}
        assert {island.id for island in present} == {here.id, suspended.id}
        assert theirs == present
        assert second == {banned.public_key: first[banned.public_key]}

    async def test_beats_are_saved_together_and_never_go_back(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        one = await a_stored_island(store, owner)
        two = await a_stored_island(store, owner)
        offers = (an_offer(slots=2, prefixes=(1, 2**64 - 1)),)
        newer = [
            replace(i, seen_at=START + MINUTE, sequence=5, load=0.9, offers=offers)
            for i in (one, two)
        ]

        async with store.begin() as tx:
            await tx.islands.save_beats(newer)
            await tx.islands.save_beats([one])
            await tx.islands.save_beats([])

        async with store.begin() as tx:
            assert await tx.islands.all() == sorted(newer, key=lambda i: i.id)

    async def test_beat_leaves_approval_and_name_alone(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        island = await a_stored_island(store, owner, approved=False, name="given")

        async with store.begin() as tx:
            await tx.islands.save_beats([replace(island, approved=True, name="taken", load=0.7)])
            found = await tx.islands.get(island.id)

        assert found == replace(island, load=0.7)

    async def test_wishes_are_kept_and_neither_a_beat_nor_a_move_touches_them(
        self, store: Store
    ) -> None:
        owner, _, _ = await a_customer(store)
        island = await a_stored_island(store, owner)
        wishes = Wishes(1_800_000_000_000, True, 1 << 167 | 1, {"llm-chat": Price(Ucredits(7))})

        async with store.begin() as tx:
            await tx.islands.save_wishes(replace(island, wishes=wishes, name="not this"))
            await tx.islands.save_beats([replace(island, seen_at=START + MINUTE)])
            await tx.islands.save(island.suspend())
            found = await tx.islands.get(island.id)
            with pytest.raises(NotFound):
                await tx.islands.save_wishes(an_island(owner))

        assert found is not None
        assert (found.wishes, found.name) == (wishes, island.name)

    async def test_pairing_code_lets_one_island_in(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        code = PairingCode("ABC234", owner.id, START + MINUTE)
        first, second = IslandId(an_id("isl")), IslandId(an_id("isl"))
        async with store.begin() as tx:
            await tx.islands.add_code(code)

        async with store.begin() as tx:
            taken = await tx.islands.take_code("ABC234", first, START)
        with pytest.raises(PairingRefused) as used:
            async with store.begin() as tx:
                await tx.islands.take_code("ABC234", second, START)
        with pytest.raises(PairingRefused) as unknown:
            async with store.begin() as tx:
                await tx.islands.take_code("ZZZ999", second, START)

        assert taken == replace(code, used_by=first)
        assert (used.value.reason, unknown.value.reason) == ("was used already", "is unknown")

    async def test_pairing_code_expires(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            await tx.islands.add_code(PairingCode("ABC235", owner.id, START))

        with pytest.raises(PairingRefused) as refused:
            async with store.begin() as tx:
                await tx.islands.take_code("ABC235", IslandId(an_id("isl")), START)

        assert refused.value.reason == "has expired"

    async def test_pairing_code_is_taken_once_by_many_at_once(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            await tx.islands.add_code(PairingCode("ABC236", owner.id, START + MINUTE))

        async def take() -> bool:
            try:
                async with store.begin() as tx:
                    await tx.islands.take_code("ABC236", IslandId(an_id("isl")), START)
            except PairingRefused:
                return False
            return True

        assert Counter(await asyncio.gather(*(take() for _ in range(10))))[True] == 1


class CheckCoordinators:
    async def test_alive_is_who_was_heard_from_since(self, store: Store) -> None:
        old, new = RelayId(an_id("rly")), RelayId(an_id("rly"))
        async with store.begin() as tx:
            await tx.coordinators.beat(old, START)
            await tx.coordinators.beat(new, START)
            await tx.coordinators.beat(new, START + MINUTE)

        async with store.begin() as tx:
            assert await tx.coordinators.alive(START) == [old, new]
            assert await tx.coordinators.alive(START + MINUTE) == [new]

    async def test_whoever_leaves_is_not_alive(self, store: Store) -> None:
        stays, leaves = RelayId(an_id("rly")), RelayId(an_id("rly"))
        async with store.begin() as tx:
            for relay in (stays, leaves):
                await tx.coordinators.beat(relay, START)
            await tx.coordinators.leave(leaves)
            await tx.coordinators.leave(leaves)

            assert await tx.coordinators.alive(START) == [stays]


class CheckDoor:
    async def test_unknown_key_is_nobody(self, store: Opened) -> None:
        assert await store.admit(b"\0" * 32, START, 10) is None

    async def test_caller_is_known_with_key_and_user(self, store: Opened) -> None:
        user, key, _ = await a_customer(store)

        admission = await store.admit(key.hash, START, 10)

        assert admission is not None
        assert admission.user == user
        assert admission.key == replace(key, last_used_at=START)
        assert (admission.limit, admission.remaining, admission.retry_after_s) == (10, 9, None)

    async def test_a_minutes_worth_comes_at_once_and_then_drains(self, store: Opened) -> None:
        _, key, _ = await a_customer(store)

        first = [await store.admit(key.hash, START, 3) for _ in range(4)]
        later = await store.admit(key.hash, START + timedelta(seconds=20), 3)
        too_soon = await store.admit(key.hash, START + timedelta(seconds=20), 3)

        assert [(a.remaining, a.retry_after_s) for a in first if a] == [
            (2, None),
            (1, None),
            (0, None),
            (0, 20.0),
        ]
        assert later is not None and later.retry_after_s is None
        assert too_soon is not None and too_soon.retry_after_s == 20.0

    async def test_keys_own_rate_comes_before_the_networks(self, store: Opened) -> None:
        user, _, _ = await a_customer(store)
        key = a_key(user, rate_per_minute=1)
        async with store.begin() as tx:
            await tx.keys.add(key)

        one = await store.admit(key.hash, START, 100)
        two = await store.admit(key.hash, START, 100)

        assert one is not None and (one.limit, one.retry_after_s) == (1, None)
        assert two is not None and (two.retry_after_s, two.reset_s) == (60.0, 60.0)

    async def test_last_use_is_kept_to_the_minute(self, store: Opened) -> None:
        user, key, _ = await a_customer(store)
        uses = []
        for seconds in (0, 59, 60):
            await store.admit(key.hash, START + timedelta(seconds=seconds), 1000)
            async with store.begin() as tx:
                found = await tx.keys.get(user.id, key.id)
            assert found is not None
            uses.append(found.last_used_at)

        assert uses == [START, START, START + MINUTE]

    async def test_no_more_than_the_rate_come_through_at_once(self, store: Opened) -> None:
        _, key, _ = await a_customer(store)

        admissions = await asyncio.gather(*(store.admit(key.hash, START, 7) for _ in range(30)))

        assert sum(a is not None and a.retry_after_s is None for a in admissions) == 7

    async def test_what_passed_uncounted_is_counted_with_the_next_request(
        self, store: Opened
    ) -> None:
        _, key, _ = await a_customer(store)

        first = await store.admit(key.hash, START, 10, 4)
        second = await store.admit(key.hash, START, 10, 3)
        third = await store.admit(key.hash, START, 10, 5)
        after_a_while = await store.admit(key.hash, START + timedelta(seconds=35), 10)

        said = [a and (a.remaining, a.retry_after_s) for a in (first, second, third)]
        assert said == [(5, None), (1, None), (0, 30.0)], "also what was too much is made up for"
        assert after_a_while is not None and after_a_while.retry_after_s is None

    async def test_things_without_a_key_are_counted_by_bucket(self, store: Opened) -> None:
        here = [await store.count("pair:here", START, 2) for _ in range(3)]
        there = await store.count("pair:there", START, 2)

        assert here == [None, None, 30.0]
        assert there is None
