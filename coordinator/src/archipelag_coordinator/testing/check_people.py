"""What every store must do with people: roles, sessions, links that sign in, identities, the audit log."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from archipelag_coordinator.domain.audit import START as NOTHING
from archipelag_coordinator.domain.audit import Head, broken_at
from archipelag_coordinator.domain.identity import Identity
from archipelag_coordinator.domain.user import KeyKind, Role
from archipelag_coordinator.errors import Conflict, LinkNotValid, NotFound
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.testing.builders import (
    a_customer,
    a_session,
    a_sign_in,
    a_user,
)
from archipelag_coordinator.testing.fakes import START

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class CheckRoles:
    async def test_role_and_suspension_are_saved_and_nothing_else(self, store: Store) -> None:
        user = a_user()
        async with store.begin() as tx:
            await tx.users.add(user)
            changed = replace(user, role=Role.OPERATOR, suspended=True, email="other@example.org")
            await tx.users.save(changed)

        async with store.begin() as tx:
            found = await tx.users.get(user.id)

        assert found == replace(user, role=Role.OPERATOR, suspended=True)

    async def test_unknown_user_cannot_be_saved(self, store: Store) -> None:
        with pytest.raises(NotFound):
            async with store.begin() as tx:
                await tx.users.save(a_user())

    async def test_suspended_admins_do_not_count(self, store: Store) -> None:
        async with store.begin() as tx:
            await tx.users.wait_turn()
            for role, suspended in [("admin", False), ("admin", True), ("operator", False)]:
                await tx.users.add(a_user(role=Role(role), suspended=suspended))

            assert await tx.users.admins() == 1
            assert await tx.users.count() == 3

    async def test_users_are_found_newest_first_by_part_of_address_or_by_id(
        self, store: Store
    ) -> None:
        old = a_user(email="ada@example.org")
        new = a_user(email="bob@Example.org", created_at=START + MINUTE)
        odd = a_user(email="100%_x@elsewhere.net", created_at=START + 2 * MINUTE)
        async with store.begin() as tx:
            for user in (old, new, odd):
                await tx.users.add(user)

        async with store.begin() as tx:
            assert await tx.users.find(limit=2, offset=1) == ([new, old], 3)
            assert await tx.users.find(limit=9, offset=0, search="EXAMPLE") == ([new, old], 2)
            assert await tx.users.find(limit=9, offset=0, search=old.id) == ([old], 1)
            # What means something to a database's patterns means only itself here.
            assert await tx.users.find(limit=9, offset=0, search="%_") == ([odd], 1)


class CheckSessions:
    async def test_sessions_and_keys_are_told_apart(self, store: Store) -> None:
        user, key, _ = await a_customer(store)
        session = a_session(user, user_agent="A browser")
        async with store.begin() as tx:
            await tx.keys.add(session)

        async with store.begin() as tx:
            assert await tx.keys.of_user(user.id) == [key]
            assert await tx.keys.sessions_of(user.id, START, 10) == [session]
            assert await tx.keys.revoke(user.id, session.id, START) is None
            assert await tx.keys.revoke(user.id, key.id, START, KeyKind.SESSION) is None
            assert await tx.keys.get(user.id, session.id) == session

    async def test_only_sessions_that_hold_are_listed_newest_first(self, store: Store) -> None:
        user, _, _ = await a_customer(store)
        old = a_session(user)
        new = a_session(user, created_at=START + MINUTE, expires_at=START + DAY)
        gone = a_session(user, revoked_at=START)
        async with store.begin() as tx:
            for one in (old, new, gone):
                await tx.keys.add(one)

        async with store.begin() as tx:
            assert await tx.keys.sessions_of(user.id, START, 10) == [new, old]
            assert await tx.keys.sessions_of(user.id, START, 1) == [new]
            assert await tx.keys.sessions_of(user.id, START + DAY, 10) == [old]

    async def test_signing_out_everywhere_leaves_keys_and_others_alone(self, store: Store) -> None:
        user, key, _ = await a_customer(store)
        other, _, _ = await a_customer(store)
        mine, theirs = [a_session(user), a_session(user)], a_session(other)
        async with store.begin() as tx:
            for one in (*mine, theirs):
                await tx.keys.add(one)

        async with store.begin() as tx:
            assert await tx.keys.revoke_sessions(user.id, START + MINUTE) == 2
            assert await tx.keys.revoke_sessions(user.id, START + MINUTE) == 0

        async with store.begin() as tx:
            assert await tx.keys.sessions_of(user.id, START, 10) == []
            assert await tx.keys.of_user(user.id) == [key]
            assert await tx.keys.sessions_of(other.id, START, 10) == [theirs]
            gone = await tx.keys.get(user.id, mine[0].id)
        assert gone is not None and gone.revoked_at == START + MINUTE


class CheckSignIns:
    async def test_link_is_taken_once(self, store: Store) -> None:
        link = a_sign_in(next_path="/jobs?limit=5")
        async with store.begin() as tx:
            await tx.sign_ins.add(link)
            assert await tx.sign_ins.get(link.hash) == link

        async with store.begin() as tx:
            taken = await tx.sign_ins.take(link.hash, START)
        with pytest.raises(LinkNotValid) as used:
            async with store.begin() as tx:
                await tx.sign_ins.take(link.hash, START)
        with pytest.raises(LinkNotValid) as unknown:
            async with store.begin() as tx:
                await tx.sign_ins.take(a_sign_in().hash, START)

        assert taken == replace(link, used_at=START)
        assert (used.value.reason, unknown.value.reason) == ("was used already", "is unknown")

    async def test_link_expires(self, store: Store) -> None:
        link = a_sign_in(expires_at=START + MINUTE)
        async with store.begin() as tx:
            await tx.sign_ins.add(link)

        with pytest.raises(LinkNotValid) as refused:
            async with store.begin() as tx:
                await tx.sign_ins.take(link.hash, START + MINUTE)

        assert refused.value.reason == "has expired"

    async def test_link_is_taken_once_by_many_at_once(self, store: Store) -> None:
        link = a_sign_in()
        async with store.begin() as tx:
            await tx.sign_ins.add(link)

        async def take() -> bool:
            try:
                async with store.begin() as tx:
                    await tx.sign_ins.take(link.hash, START)
            except LinkNotValid:
                return False
            return True

        assert Counter(await asyncio.gather(*(take() for _ in range(10))))[True] == 1

    async def test_old_links_are_forgotten(self, store: Store) -> None:
        old, new = a_sign_in(expires_at=START), a_sign_in(expires_at=START + MINUTE)
        async with store.begin() as tx:
            await tx.sign_ins.add(old)
            await tx.sign_ins.add(new)

            assert await tx.sign_ins.prune(START + timedelta(seconds=1)) == 1
            assert await tx.sign_ins.get(old.hash) is None
            assert await tx.sign_ins.get(new.hash) == new


class CheckIdentities:
    async def test_subject_of_an_issuer_is_one_user(self, store: Store) -> None:
        user, _, _ = await a_customer(store)
        known = Identity("https://id.example", "7", user.id, START)
        async with store.begin() as tx:
            await tx.identities.add(known)

        async with store.begin() as tx:
            assert await tx.identities.get("https://id.example", "7") == known
            assert await tx.identities.get("https://other.example", "7") is None
            assert await tx.identities.get("https://id.example", "8") is None
        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.identities.add(known)

    async def test_identity_of_nobody_is_refused(self, store: Store) -> None:
        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.identities.add(Identity("https://id.example", "7", a_user().id, START))


class CheckAuditLog:
    async def test_entries_follow_one_another(self, store: Store) -> None:
        actor = a_user().id
        async with store.begin() as tx:
            assert await tx.audit.head() == Head()
            first = await tx.audit.note(START, actor, "island.approve", "isl_1")
            second = await tx.audit.note(START + MINUTE, actor, "user.role", "usr_1", "admin é \0")

        async with store.begin() as tx:
            assert await tx.audit.newest(10) == [second, first]
            assert await tx.audit.newest(10, before=2) == [first]
            assert await tx.audit.newest(1) == [second]
            assert await tx.audit.after(0, 10) == [first, second]
            assert await tx.audit.after(1, 10) == [second]
            assert await tx.audit.head() == Head(2, second.hash)
            assert await tx.audit.last("user.role") == START + MINUTE
            assert await tx.audit.last("user") is None
        assert (first.number, first.previous) == (1, NOTHING)
        assert (second.number, second.previous) == (2, first.hash)
        assert second.detail == "admin é "
        assert broken_at(Head(), [first, second]) is None

    async def test_what_was_not_done_is_not_noted(self, store: Store) -> None:
        async def fail_midway() -> None:
            async with store.begin() as tx:
                await tx.audit.note(START, a_user().id, "island.approve", "isl_1")
                raise KeyError

        with pytest.raises(KeyError):
            await fail_midway()

        async with store.begin() as tx:
            assert await tx.audit.newest(10) == []
            assert await tx.audit.head() == Head()

    async def test_many_who_write_at_once_make_one_chain(self, store: Store) -> None:
        actor = a_user().id

        async def note(number: int) -> None:
            async with store.begin() as tx:
                await tx.audit.note(START, actor, "grant", f"usr_{number}")

        await asyncio.gather(*(note(number) for number in range(20)))

        async with store.begin() as tx:
            entries = await tx.audit.after(0, 100)
        assert len(entries) == 20
        assert broken_at(Head(), entries) is None


class CheckPeople(CheckRoles, CheckSessions, CheckSignIns, CheckIdentities, CheckAuditLog):
    """All of it."""
