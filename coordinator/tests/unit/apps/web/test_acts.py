"""What forms do: keys, pairing, cancelling, and the acts of administrators, each through its page."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.cargo import CargoStatus
from archipelag_coordinator.domain.island import IslandStatus
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.ledger import user_account
from archipelag_coordinator.domain.user import ApiKey, Role, Scope, User
from archipelag_coordinator.testing.builders import a_cargo, an_offer

from .house import House

SECRET = re.compile(r'id="new-key">(ak_[0-9A-Za-z]{43})<')


async def keys_of(house: House) -> dict[str, ApiKey]:
    async with house.scene.store.begin() as tx:
        return {key.name: key for key in await tx.keys.of_user(house.ada.id)}


async def user(house: House, user: User) -> User:
    async with house.scene.store.begin() as tx:
        found = await tx.users.get(user.id)
    assert found is not None
    return found


async def last_act(house: House) -> str:
    async with house.scene.store.begin() as tx:
        entry = (await tx.audit.newest(1))[0]
    return f"{entry.act} {entry.subject} by {entry.actor}"


async def test_a_key_is_made_with_its_bounds_and_shown_once(house: House) -> None:
    answer = await house.post(
        "ada",
        "/settings/keys",
        name=" my laptop ",
        scope="read",
        budget="12.5",
        rate_per_minute="30",
        expires_at="2026-02-03",
    )

    assert answer.status_code == 200
    assert SECRET.search(answer.text)
    key = (await keys_of(house))["my laptop"]
    assert key.scopes == {Scope.READ}
    assert key.budget == Ucredits(12_500_000)
    assert key.rate_per_minute == 30
    # Good to the very end of that day.
    assert key.expires_at == datetime(2026, 2, 4, tzinfo=UTC)
    async with house.browser("ada") as http:
        again = (await http.get("/settings/keys")).text
    assert "my laptop" in again and not SECRET.search(again)


async def test_every_wrong_field_of_a_key_is_told_at_once_and_kept(house: House) -> None:
    before = await keys_of(house)
    answer = await house.post(
        "ada",
        "/settings/keys",
        name="n" * 101,
        budget="1e400",
        rate_per_minute="-3",
        expires_at="31.12.2026",
    )

    assert answer.status_code == 422
    for told in (
        "at most 100 characters",
        "must be a number of credits",
        "must be a whole number",
        "must be a day such as",
    ):
        assert told in answer.text, told
    assert 'value="31.12.2026"' in answer.text
    assert answer.text.count('aria-invalid="true"') == 4
    assert await keys_of(house) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"budget": "-1"},
        {"expires_at": "2020-01-01"},
        {"rate_per_minute": "0"},
        {"budget": "１"},
        {"expires_at": "9999-12-31"},
    ],
)
async def test_what_no_key_can_have_is_refused(house: House, wrong: dict[str, str]) -> None:
    answer = await house.post("ada", "/settings/keys", **({"name": "x"} | wrong))

    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text


async def test_a_revoked_key_says_so(house: House) -> None:
    key = (await keys_of(house))["laptop"]

    answer = await house.post("ada", f"/settings/keys/{key.id}/revoke")

    assert answer.headers["location"] == "/settings/keys?done=revoked"
    assert (await keys_of(house))["laptop"].revoked_at == house.scene.clock.now()


async def test_the_quickstart_fills_the_samples_with_the_new_key(house: House) -> None:
    answer = await house.post("ada", "/quickstart/key")

    found = SECRET.search(answer.text)
    assert found
    assert answer.text.count(found[1]) == 4  # Itself, and three samples.
    assert "small-model" in answer.text
    assert "Quickstart" in await keys_of(house)


async def test_the_quickstart_names_the_keys_that_one_has_and_may_still_use(house: House) -> None:
    keys = await keys_of(house)
    await house.post("ada", "/quickstart/key")

    async with house.browser("ada") as http:
        before = (await http.get("/quickstart")).text
    for name in (*keys, "Quickstart"):
        await house.post("ada", f"/settings/keys/{(await keys_of(house))[name].id}/revoke")
    async with house.browser("ada") as http:
        after = (await http.get("/quickstart")).text

    assert f"Quickstart (<code>{(await keys_of(house))['Quickstart'].prefix}…</code>)" in before
    assert "Or put one that you have" in before and "Or put one that you have" not in after


async def test_a_pairing_code_is_shown_with_its_command(house: House) -> None:
    for path in ("/islands/pair", "/quickstart/pair"):
        answer = await house.post("ada", path)

        found = re.search(r'id="pair-code">([A-Z2-9]{6})<', answer.text)
        assert found, path
        assert f"archipelag-island join 127.0.0.1:8421 {found[1]}\n" in answer.text
        assert "listens to its own machine alone" in answer.text


async def test_a_job_is_cancelled_from_its_page(house: House) -> None:
    job = await house.scene.submit()
    answer = await house.post("ada", f"/jobs/{job.id}/cancel")

    assert answer.headers["location"] == f"/jobs/{job.id}?done=cancelled"
    assert (await house.scene.job(job.id)).status is JobStatus.CANCELLED


async def test_a_waiting_job_says_why_and_how_long_still(house: House) -> None:
    async with house.browser("ada") as http:
        shown = (await http.get(f"/jobs/{house.jobs['waiting'].id}")).text

    assert "Why it waits" in shown
    assert "skerry is busy: 8 of 8 slots taken" in shown
    assert "within 8 min 25 s" in shown


async def test_a_job_says_how_far_its_reader_is_once_somebody_followed_it(house: House) -> None:
    job = await house.scene.submit()
    answer = house.scene.world.answers.get(job.id)
    assert answer is not None
    async with house.browser("ada") as http:
        unread = (await http.get(f"/jobs/{job.id}")).text
        answer.reader_round_trip_s = 0.08325
        read = (await http.get(f"/jobs/{job.id}")).text

    assert "away from this Coordinator" not in unread
    assert "is 83.2 ms away from this Coordinator" in read


async def test_a_job_tells_its_way_and_why_these_islands(house: House) -> None:
    async with house.browser("ada") as http:
        shown = (await http.get(f"/jobs/{house.jobs['done'].id}")).text

    way = shown[shown.index('id="way"') :]
    assert (
        way.index("holm")
        < way.index("the Island was not heard from for 2 s")
        < way.index("attempt 2")
    )
    assert "first item expected in 94 ms" in way
    assert "is busy: 8 of 8 slots taken" in way
    assert "Delivered 25 pieces, from position 17." in way


async def test_jobs_are_filtered_by_state(house: House) -> None:
    async with house.browser("ada") as http:
        failed = (await http.get("/jobs?status=failed")).text
        nonsense = (await http.get("/jobs?status=nonsense&offset=x")).text

    assert house.jobs["failed"].id in failed and house.jobs["done"].id not in failed
    assert house.jobs["done"].id in nonsense


async def test_older_jobs_are_on_the_next_page(house: House) -> None:
    for number in range(30):
        await house.scene.submit(request_hash=b"%d" % number)
    async with house.browser("ada") as http:
        first = (await http.get("/jobs")).text
        (older,) = re.findall(r'rel="next" href="([^"]+)"', first)
        second = (await http.get(older.replace("&amp;", "&"))).text

    ids = [re.findall(r'href="/jobs/(job_[0-9a-z]+)"', text) for text in (first, second)]
    assert len(ids[0]) == 25 and len(ids[1]) == 10
    assert not set(ids[0]) & set(ids[1])


async def test_a_fragment_says_nothing_twice(house: House) -> None:
    async with house.browser("ada") as http:
        first = await http.get("/live/jobs")
        again = await http.get("/live/jobs", headers={"if-none-match": first.headers["etag"]})
        await house.scene.submit()
        news = await http.get("/live/jobs", headers={"if-none-match": first.headers["etag"]})

    assert first.status_code == 200 and "<html" not in first.text
    assert again.status_code == 304 and not again.content
    assert news.status_code == 200
    assert first.headers["cache-control"] == "private, no-cache"


async def test_islands_are_approved_suspended_and_restored_by_name_of_who_did_it(
    house: House,
) -> None:
    motu = house.islands["motu"].id
    for act, status, approved in (
        ("approve", IslandStatus.READY, True),
        ("suspend", IslandStatus.SUSPENDED, True),
        ("restore", IslandStatus.ENROLLED, True),
    ):
        answer = await house.post("admin", f"/admin/islands/{motu}/{act}")

        assert answer.status_code == 303
        async with house.scene.store.begin() as tx:
            island = await tx.islands.get(motu)
        assert island is not None and (island.status, island.approved) == (status, approved)
        assert await last_act(house) == f"island.{act} {motu} by {house.admin.id}"


async def test_an_act_that_cannot_be_is_a_page_that_says_so(house: House) -> None:
    answer = await house.post("admin", f"/admin/islands/{house.islands['reef'].id}/restore")

    assert answer.status_code == 409
    assert "A ready island cannot become" in answer.text


async def test_a_cargo_is_listed_with_a_trust_that_fits_and_then_revoked(house: House) -> None:
    number = house.cargos["verified"]
    path = f"/admin/cargos/{number}"
    too_little = await house.post("admin", f"{path}/approve", trust="0")
    listed = await house.post("admin", f"{path}/approve", trust="2")
    no_reason = await house.post("admin", f"{path}/revoke", reason=" ")
    revoked = await house.post("admin", f"{path}/revoke", reason="it calls home")
    again = await house.post("admin", f"{path}/approve", trust="2")

    assert (
        too_little.status_code == 422 and "permits the tier restricted at most" in too_little.text
    )
    assert listed.headers["location"] == f"{path}?done=listed"
    assert no_reason.status_code == 422
    assert revoked.headers["location"] == f"{path}?done=cargo-revoked"
    assert again.status_code == 422 and "cannot become" in again.text
    async with house.scene.store.begin() as tx:
        cargo = await tx.cargos.get(number)
    assert cargo is not None and cargo.status is CargoStatus.REVOKED


async def test_a_cargos_page_shows_its_checks_and_what_it_is_made_of(house: House) -> None:
    async with house.browser("operator") as http:
        shown = (await http.get(f"/admin/cargos/{house.cargos['verified']}")).text
        failed = (await http.get(f"/admin/cargos/{house.cargos['submitted']}")).text
        sbom = await http.get(f"/admin/cargos/{house.cargos['verified']}/sbom")

    assert "numpy" in shown and "BSD-3-Clause" in shown
    assert shown.count(">passed<") == 6
    assert "GPL-3.0 is not on the list" in failed and failed.count(">not made<") == 4
    assert sbom.headers["content-disposition"].startswith("attachment")


async def test_credits_are_given_once_for_a_cause(house: House) -> None:
    path = f"/admin/people/{house.stranger.id}/grant"
    first = await house.post(
        "admin", path, credits="2.5", cause="thanks", search="stranger@example.org"
    )
    second = await house.post("admin", path, credits="2.5", cause="thanks")
    other = await house.post("admin", path, credits="3", cause="thanks")
    wrong = await house.post("admin", path, credits="0", cause="nothing")

    assert first.headers["location"] == "/admin/people?search=stranger@example.org&done=granted"
    assert second.headers["location"].endswith("done=granted-before")
    assert other.status_code == 422 and "Another amount" in other.text
    assert wrong.status_code == 422
    async with house.scene.store.begin() as tx:
        account = await tx.ledger.account(user_account(house.stranger.id))
    assert account.balance == 2_500_000


async def test_roles_change_but_for_the_last_administrator(house: House) -> None:
    made = await house.post("admin", f"/admin/people/{house.stranger.id}/role", role="operator")
    wrong = await house.post("admin", f"/admin/people/{house.stranger.id}/role", role="king")
    last = await house.post("admin", f"/admin/people/{house.admin.id}/role", role="user")

    assert made.headers["location"].endswith("done=role")
    assert (await user(house, house.stranger)).role is Role.OPERATOR
    assert wrong.status_code == 422 and "must be one of" in wrong.text
    assert last.status_code == 422 and "last administrator" in last.text
    assert (await user(house, house.admin)).role is Role.ADMIN


async def test_a_person_is_suspended_and_restored(house: House) -> None:
    await house.post("admin", f"/admin/people/{house.ada.id}/suspend")
    async with house.browser("ada") as http:
        refused = await http.get("/jobs")
    await house.post("admin", f"/admin/people/{house.ada.id}/restore")
    async with house.browser("ada") as http:
        back: httpx.Response = await http.get("/jobs")

    assert refused.status_code == 403
    assert back.status_code == 200


@pytest.mark.parametrize("search", ["//evil.example", "a&done=granted", "x\r\nset-cookie: a=b"])
async def test_the_way_back_to_a_search_is_a_search(house: House, search: str) -> None:
    answer = await house.post(
        "admin", f"/admin/people/{house.ada.id}/role", role="user", search=search
    )

    location = answer.headers["location"]
    assert location.startswith("/admin/people?search=") and location.count("&") == 1
    assert "set-cookie: a" not in str(answer.headers)


async def test_the_ledger_is_checked_by_a_button(house: House) -> None:
    whole = await house.post("operator", "/admin/ledger-check")
    account = user_account(house.ada.id)
    kept = house.scene.store._state.accounts
    row = kept.get(account)
    assert row is not None
    kept.put(account, replace(row, balance=Ucredits(row.balance + 1)))
    drifted = await house.post("operator", "/admin/ledger-check")

    assert "Every balance equals" in whole.text
    assert "1 account differs" in drifted.text and account in drifted.text


async def test_the_audit_log_is_read_and_checked(house: House) -> None:
    await house.post("admin", f"/admin/islands/{house.islands['motu'].id}/approve")
    async with house.browser("operator") as http:
        shown = (await http.get("/admin/audit")).text
    checked = await house.post("operator", "/admin/audit/check")

    assert "island.approve" in shown and house.admin.id in shown
    assert "Whole: all 1 entries" in checked.text


async def test_only_what_the_network_knows_is_said_as_done(house: House) -> None:
    async with house.browser("ada") as http:
        known = (await http.get("/jobs?done=cancelled")).text
        unknown = (await http.get("/jobs?done=You+won+a+prize")).text

    assert "Cancelled. You pay" in known
    assert 'role="status">Cancelled' in known
    assert '<p role="status">' not in unknown


async def test_islands_say_why_they_get_no_work(house: House) -> None:
    wanted = {
        "motu": "An operator has not approved it yet.",
        "cay": "It is draining",
        "sandbank": "is the machine on and connected?",
        "inchkeith": "It was suspended by an operator.",
    }
    async with house.browser("admin") as http:
        shown = (await http.get("/admin/islands")).text
    for name, why in wanted.items():
        row = shown[shown.index(f"<strong>{name}</strong>") :]
        assert why in row[: row.index("</td>")], name
    idle = await house.scene.island(owner_id=house.ada.id, offers=())
    async with house.browser("ada") as http:
        told = (await http.get(f"/islands/{idle.id}")).text
    assert "It offers no Cargo: none is fetched or fits" in told


async def test_earnings_are_told_by_day(house: House) -> None:
    async with house.browser("ada") as http:
        shown = (await http.get(f"/islands/{house.islands['reef'].id}")).text

    assert shown.count('class="bar"') == 14
    assert "11.34 credits" in shown
    day = house.scene.clock.now() - timedelta(days=1)
    assert f'<td>{day:%d %b}</td><td class="num">1.15</td>' in shown


async def test_usage_is_told_by_day_cargo_and_key(house: House) -> None:
    async with house.browser("ada") as http:
        shown = (await http.get("/credits")).text
        quarter = (await http.get("/credits?days=90")).text
        nonsense = (await http.get("/credits?days=7&at=x&id=y&account=z")).text

    usage = shown[shown.index('id="usage"') : shown.index('id="transfers"')]
    assert "<strong>0.12448 credits</strong>" in usage
    assert usage.count('class="bar"') == 1, "a day without use has no bar"
    assert f"<strong>{house.scene.cargo.slug}</strong>" in usage
    assert f"<strong>{house.scene.key.name}</strong>" in usage
    assert "format=csv" in usage and "by=key" in usage and "by=workload" in usage
    for page, days in ((shown, 30), (quarter, 90), (nonsense, 30)):
        first = house.scene.clock.now() - timedelta(days=days - 1)
        tick = re.search(r'text-anchor="start">([^<]+)</text>', page)
        assert tick is not None and tick[1] == f"{first:%d %b}"


async def test_every_transfer_is_found_page_by_page_once(house: House) -> None:
    for number in range(40):
        await house.post(
            "admin", f"/admin/people/{house.ada.id}/grant", credits="1", cause=f"no. {number:03d}"
        )
    told: list[str] = []
    path = "/credits"
    async with house.browser("ada") as http:
        while path:
            shown = (await http.get(path)).text
            told += re.findall(r"no\. \d{3}", shown)
            older = re.findall(r'rel="next" href="([^"#]+)', shown)
            path = older[0].replace("&amp;", "&") if older else ""

    assert sorted(told) == [f"no. {number:03d}" for number in range(40)]


async def test_a_waiting_job_is_told_what_would_help(house: House) -> None:
    async with house.browser("ada") as http:
        shown = (await http.get(f"/jobs/{house.jobs['waiting'].id}")).text

    assert "What would help" in shown
    assert "Islands looked at, now" in shown


async def test_jobs_are_filtered_by_workload_and_time(house: House) -> None:
    slug = house.scene.cargo.slug
    async with house.browser("ada") as http:
        theirs = (await http.get(f"/jobs?workload={slug}&since=hour")).text
        others = (await http.get("/jobs?workload=another")).text
        house.scene.clock.advance(7_200)
        old = (await http.get("/jobs?since=hour")).text

    assert house.jobs["done"].id in theirs
    assert "None of yours is like that" in others
    assert "None of yours is like that" in old


async def test_an_island_is_told_its_place_in_line_and_its_pay_by_cargo(house: House) -> None:
    async with house.browser("ada") as http:
        shown = (await http.get(f"/islands/{house.islands['reef'].id}")).text

    assert re.search(r"number \d of \d", shown)
    assert "By Cargo" in shown and "16 of 17 completed" in shown


async def test_operators_see_queues_and_parts(house: House) -> None:
    async with house.browser("operator") as http:
        shown = (await http.get("/admin")).text

    for word in ("database", "broker", "leader", "chores", "Queues", "Background work"):
        assert word in shown
    row = shown[shown.index("Queues") :]
    assert re.search(r"<td>llm-chat</td><td class=\"num\">2</td><td class=\"num\">1</td>", row)


@pytest.mark.parametrize(
    ("kind", "path", "named"),
    [
        ("chat", "/chat", r'<option value="([^"]+)" data-tokens'),
        ("image", "/images", r'<option value="([^"]+)">'),
    ],
)
async def test_the_first_to_choose_from_is_one_that_somebody_can_take(
    house: House, kind: str, path: str, named: str
) -> None:
    world = house.scene.world
    taken = a_cargo(slug="taken", model=None, kind=kind)
    lonely = [a_cargo(slug=f"lonely-{n}", model=None, kind=kind) for n in range(2)]
    world.catalogue.load([lonely[0], taken, lonely[1]])
    for island in world.fleet.islands():
        world.fleet.forget(island.id)
    await house.scene.island(offers=(an_offer(taken),))

    async with house.browser("ada") as http:
        page = (await http.get(path)).text

    shown = [one.model_name if kind == "chat" else one.slug for one in (taken, *lonely)]
    assert re.findall(named, page) == shown
