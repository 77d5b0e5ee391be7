"""Roles and suspensions, and the log that tells of every administrator's act."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from archipelag_contracts.ids import UserId
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.review import CHECKS, Check
from archipelag_coordinator.domain.user import Role, User
from archipelag_coordinator.errors import IllegalMove, LastAdministrator, NotFound
from archipelag_coordinator.services import people, review
from archipelag_coordinator.services.audit import check_audit, read_audit
from archipelag_coordinator.services.grant import grant_credit
from archipelag_coordinator.services.suspend import approve_island, restore_island, suspend_island
from archipelag_coordinator.testing.builders import a_submission, a_user, an_id
from archipelag_coordinator.testing.worlds import Scene, a_scene


async def an_admin(scene: Scene, **changes: Any) -> User:
    admin = a_user(role=Role.ADMIN, **changes)
    async with scene.store.begin() as tx:
        await tx.users.add(admin)
    return admin


async def acts(scene: Scene) -> list[tuple[str, str, str, str]]:
    """What the log tells, oldest first, without numbers and hashes."""
    entries = reversed(await read_audit(scene.world, limit=100))
    return [(one.actor, one.act, one.subject, one.detail) for one in entries]


async def test_roles_are_given_and_noted() -> None:
    scene = await a_scene()
    admin = await an_admin(scene)

    user = await people.set_role(scene.world, admin.id, scene.user.id, Role.OPERATOR)
    again = await people.set_role(scene.world, admin.id, scene.user.id, Role.OPERATOR)

    assert user.role is Role.OPERATOR and again == user
    assert await people.read_user(scene.world, scene.user.id) == user
    assert await acts(scene) == [(admin.id, "user.role", scene.user.id, "user → operator")]


async def test_the_suspended_are_restored_as_they_were() -> None:
    scene = await a_scene()
    admin = await an_admin(scene)

    suspended = await people.suspend_user(scene.world, admin.id, scene.user.id)
    admission = await scene.store.admit(scene.key.hash, scene.clock.now(), 10)
    restored = await people.restore_user(scene.world, admin.id, scene.user.id)

    assert suspended.suspended and admission is not None and admission.user.suspended
    assert restored == scene.user
    assert [act for _, act, _, _ in await acts(scene)] == ["user.suspend", "user.restore"]


@pytest.mark.parametrize("verb", [people.suspend_user, people.restore_user])
async def test_nobody_is_not_found(verb: Any) -> None:
    scene = await a_scene()

    with pytest.raises(NotFound):
        await verb(scene.world, scene.owner.id, UserId(an_id("usr")))

    assert await acts(scene) == []


async def test_the_last_administrator_stays_one() -> None:
    scene = await a_scene()
    admin, away = await an_admin(scene), await an_admin(scene, suspended=True)

    with pytest.raises(LastAdministrator):
        await people.set_role(scene.world, admin.id, admin.id, Role.USER)
    with pytest.raises(LastAdministrator):
        await people.suspend_user(scene.world, admin.id, admin.id)
    assert await people.read_user(scene.world, admin.id) == admin
    assert await acts(scene) == []
    # Of two, one may go; nobody who is suspended counts.
    await people.restore_user(scene.world, admin.id, away.id)
    await people.set_role(scene.world, away.id, admin.id, Role.USER)


async def test_two_who_demote_each_other_at_once_leave_one() -> None:
    scene = await a_scene()
    one, two = await an_admin(scene), await an_admin(scene)

    outcomes = await asyncio.gather(
        people.set_role(scene.world, one.id, two.id, Role.USER),
        people.set_role(scene.world, two.id, one.id, Role.USER),
        return_exceptions=True,
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LastAdministrator", "User"]


async def test_people_are_listed_and_searched() -> None:
    scene = await a_scene()

    everybody, total = await people.list_users(scene.world, limit=10, offset=0)
    found, one = await people.list_users(
        scene.world, limit=10, offset=0, search=f" {scene.user.email[:20]} "
    )

    assert total == len(everybody) == 2
    assert scene.user in found and one == len(found)


async def test_every_act_on_an_island_is_noted_once() -> None:
    scene = await a_scene()
    island = await scene.island(name="reef", approved=False)
    admin = scene.owner.id

    await approve_island(scene.world, admin, island.id)
    await approve_island(scene.world, admin, island.id)
    await suspend_island(scene.world, admin, island.id)
    with pytest.raises(IllegalMove):
        await suspend_island(scene.world, admin, island.id)
    await restore_island(scene.world, admin, island.id)

    assert await acts(scene) == [
        (admin, f"island.{act}", island.id, "reef") for act in ("approve", "suspend", "restore")
    ]


async def test_a_grant_is_noted_where_it_gave_something() -> None:
    scene = await a_scene()

    for _ in range(2):
        await grant_credit(
            scene.world, scene.owner.id, scene.user.id, Ucredits(1_500_000), "thanks"
        )

    assert await acts(scene) == [
        (scene.owner.id, "user.grant", scene.user.id, "1.5 credits for thanks")
    ]


async def test_every_act_on_a_cargo_is_noted_and_a_publishers_own_is_not() -> None:
    scene = await a_scene()
    admin = await an_admin(scene)
    async with scene.store.begin() as tx:
        first = await tx.cargos.add(a_submission(scene.user, slug="one", model=None))
        second = await tx.cargos.add(a_submission(scene.user, slug="two", model=None))
        third = await tx.cargos.add(a_submission(scene.user, slug="three", model=None))
    passed = [Check(name, passed=True) for name in CHECKS]

    await review.take_checks(scene.world, admin.id, first.id, passed)
    await review.approve(scene.world, admin, first.id, 1)
    await review.withdraw(scene.world, admin, first.id)
    await review.revoke(scene.world, admin, first.id, "steals")
    await review.reject(scene.world, admin, second.id, "no licence")
    await review.withdraw(scene.world, scene.user, third.id)

    told = await acts(scene)
    assert [act for _, act, _, _ in told] == [
        "cargo.checks",
        "cargo.approve",
        "cargo.withdraw",
        "cargo.revoke",
        "cargo.reject",
    ]
    assert {actor for actor, _, _, _ in told} == {admin.id}
    assert told[1][2:] == (f"cargo {first.id} one 1.0.0", "trust 1")
    assert told[3][3] == "steals"


async def test_a_log_that_nobody_touched_is_whole() -> None:
    scene = await a_scene()
    admin = await an_admin(scene)
    empty = await check_audit(scene.world)
    for suspended in (True, False) * 3:
        verb = people.suspend_user if suspended else people.restore_user
        await verb(scene.world, admin.id, scene.user.id)

    checked = await check_audit(scene.world)

    assert (empty.entries, empty.broken_at) == (0, None)
    assert (checked.entries, checked.broken_at) == (6, None)
    newest = (await read_audit(scene.world, limit=1))[0]
    assert (checked.head.number, checked.head.hash) == (6, newest.hash)
    assert [e.number for e in await read_audit(scene.world, limit=2, before=3)] == [2, 1]


async def test_nothing_is_noted_where_the_note_cannot_be_made() -> None:
    scene = await a_scene()
    admin = await an_admin(scene)
    async with scene.store.begin() as tx:
        entry = await tx.audit.note(scene.clock.now(), admin.id, "x", "y")
        tx.audit._state.audit.put(2, replace(entry, number=1))

    outcome = await asyncio.gather(
        people.suspend_user(scene.world, admin.id, scene.user.id), return_exceptions=True
    )

    assert isinstance(outcome[0], Exception)
    assert not (await people.read_user(scene.world, scene.user.id)).suspended
