"""Every page as each kind of person, and as nobody: who gets in, who does not, and what is nobody else's business."""

from __future__ import annotations

import re

import pytest
from archipelag_coordinator.testing.builders import an_id

from .house import House, a_house
from .rooms import doors

SHARED_ISLANDS = ("/islands/{id}", "/live/islands/{id}")


async def test_nobody_is_led_to_sign_in_and_back(house: House) -> None:
    for door in doors(house):
        if door.posts or door.open:
            continue
        async with house.browser() as http:
            answer = await http.get(door.address)

        if door.path.startswith("/live/"):
            assert answer.status_code == 401, door
            assert not answer.content
        else:
            assert answer.status_code == 303, door
            assert answer.headers["location"] == f"/sign-in?next={door.address}"


async def test_open_pages_need_nobody(house: House) -> None:
    for door in doors(house):
        if door.open and not door.posts:
            async with house.browser() as http:
                answer = await http.get(door.address)
            assert answer.status_code == (410 if "{secret}" in door.path else 200), door


@pytest.mark.parametrize("who", ["ada", "operator", "admin"])
async def test_each_person_sees_their_own_rooms(house: House, who: str) -> None:
    for door in doors(house):
        if door.posts or door.path in ("/sign-in", "/sign-in/{secret}"):
            continue
        async with house.browser(who) as http:
            answer = await http.get(door.address)

        expected = 200
        if door.for_keepers and who == "ada":
            expected = 403
        elif "/jobs/{id}" in door.path and (who != "ada" or door.path.endswith("/picture")):
            expected = 404
        if door.path == "/chat/{id}" and who != "ada":
            expected = 404
        assert answer.status_code == expected, (who, door, answer.text[:300])


@pytest.mark.parametrize("who", ["ada", "operator"])
async def test_only_administrators_act_on_others(house: House, who: str) -> None:
    for door in doors(house):
        if not door.posts or not door.for_keepers:
            continue
        answer = await house.post(
            who, door.address, trust="1", reason="r", role="admin", credits="1", cause="c"
        )

        only_looks = (
            door.path in ("/admin/ledger-check", "/admin/audit/check") and who == "operator"
        )
        assert answer.status_code == (200 if only_looks else 403), door


async def test_the_jobs_of_others_do_not_exist(house: House) -> None:
    for door in doors(house, job="other"):
        if "/jobs/{id}" not in door.path:
            continue
        if door.posts:
            answer = await house.post("ada", door.address)
        else:
            async with house.browser("ada") as http:
                answer = await http.get(door.address)

        assert answer.status_code == 404, door
        assert "Nothing here" in answer.text
    async with house.browser("ada") as http:
        listed = await http.get("/jobs")
    assert house.jobs["done"].id in listed.text
    assert house.jobs["other"].id not in listed.text


async def test_what_cannot_be_an_id_is_not_found(house: House) -> None:
    for path in (
        "/jobs/x",
        "/jobs/" + "9" * 5000,
        "/islands/..%2f",
        "/admin/cargos/1e9",
        "/admin/cargos/-1",
    ):
        async with house.browser("admin") as http:
            assert (await http.get(path)).status_code == 404, path


async def test_an_island_shows_its_machine_and_money_to_its_owner_only(house: House) -> None:
    path = f"/islands/{house.islands['reef'].id}"
    seen = {}
    for who in ("ada", "stranger", "operator"):
        async with house.browser(who) as http:
            seen[who] = (await http.get(path)).text

    for word in ("RTX 4070", "Earned in 14 days", "Newest work"):
        assert word in seen["ada"]
        assert word in seen["operator"]
        assert word not in seen["stranger"]
    assert "archipelag-island drain" not in seen["operator"]


async def test_a_suspended_island_of_another_does_not_exist(house: House) -> None:
    async with house.browser("ada") as http:
        assert (await http.get(f"/islands/{house.islands['inchkeith'].id}")).status_code == 404
        assert "inchkeith" not in (await http.get("/network")).text


async def test_an_owner_sees_their_suspended_island_and_why_it_idles(house: House) -> None:
    reef = house.islands["reef"]
    await house.post("admin", f"/admin/islands/{reef.id}/suspend")
    # As the loop does: who is cut off is in no fleet.
    house.scene.world.fleet.forget(reef.id)

    async with house.browser("ada") as http:
        own = await http.get(f"/islands/{reef.id}")
        listed = await http.get("/islands")
    async with house.browser("stranger") as http:
        others = await http.get(f"/islands/{reef.id}")

    assert own.status_code == 200 and "It was suspended by an operator" in own.text
    assert "reef" in listed.text
    assert others.status_code == 404


async def test_others_keys_and_sessions_cannot_be_ended(house: House) -> None:
    async with house.scene.store.begin() as tx:
        key = next(k for k in await tx.keys.of_user(house.ada.id) if k.revoked_at is None)
        session = (await tx.keys.sessions_of(house.ada.id, house.scene.clock.now(), 9))[0]

    refused = [
        await house.post("stranger", f"/settings/keys/{key.id}/revoke"),
        await house.post("stranger", f"/settings/sessions/{session.id}/end"),
        await house.post("stranger", f"/settings/keys/{an_id('key')}/revoke"),
        # A session is no key, and a key no session.
        await house.post("ada", f"/settings/keys/{session.id}/revoke"),
        await house.post("ada", f"/settings/sessions/{key.id}/end"),
    ]

    assert [one.status_code for one in refused] == [404] * 5
    async with house.scene.store.begin() as tx:
        kept = await tx.keys.get(house.ada.id, key.id)
    assert kept is not None and kept.revoked_at is None


async def test_navigation_leads_nowhere_dead(house: House) -> None:
    for who in ("ada", "admin"):
        async with house.browser(who) as http:
            start = (await http.get("/")).text + (await http.get("/settings")).text
            for path in sorted(set(re.findall(r'href="(/[^"#]*)"', start))):
                if not path.startswith(("/api/", "/static/")):
                    assert (await http.get(path.replace("&amp;", "&"))).status_code == 200, path


async def test_roles_decide_what_the_navigation_offers(house: House) -> None:
    async with house.browser("ada") as http:
        assert "/admin" not in (await http.get("/")).text
    async with house.browser("operator") as http:
        shown = (await http.get("/admin/islands")).text
    assert 'href="/admin/audit"' in shown
    assert "Suspend" not in shown


async def test_a_mailbox_is_there_only_where_mail_stays_here() -> None:
    real = await a_house(mailbox=False)
    for who in (None, "ada", "admin"):
        async with real.browser(who) as http:
            assert (await http.get("/mailbox")).status_code == 404
            assert "/mailbox" not in (await http.get("/sign-in")).text


async def test_who_is_signed_in_stays_among_their_rooms_where_nothing_is(house: House) -> None:
    for who, path, rooms in (
        ("ada", "/nowhere", True),
        ("ada", "/jobs/job_nope", True),
        ("ada", "/admin", True),
        (None, "/nowhere", False),
    ):
        async with house.browser(who) as http:
            text = (await http.get(path)).text

        assert ('aria-label="Rooms"' in text) is rooms, (who, path)


async def test_a_network_of_one_counts_as_one(empty_house: House) -> None:
    await empty_house.scene.island(name="alone", region="")

    async with empty_house.browser() as http:
        text = (await http.get("/")).text

    assert "<dt>Island here now</dt><dd>1</dd>" in text
    assert "regions" not in text and "<dt>jobs completed</dt><dd>0</dd>" in text
