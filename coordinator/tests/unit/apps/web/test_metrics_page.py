"""The pages of plots: the last hour by dashboard, for those who look after the network."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from archipelag_coordinator.apps.web.metrics import TITLES
from archipelag_coordinator.domain.essentials import ESSENTIALS, Sample, Shows

from .house import House

SUBMITTED = Sample("archipelag_jobs_submitted_total")
QUEUED = Sample("archipelag_network_jobs", ("state", "queued"))


async def shown(house: House, of: str) -> str:
    async with house.browser("operator") as http:
        whole = await http.get("/admin/metrics", params={"of": of})
        live = await http.get("/live/admin/metrics", params={"of": of})
    assert whole.status_code == live.status_code == 200
    assert live.text.strip() in whole.text
    return whole.text


def table(page: str, title: str) -> list[tuple[str, ...]]:
    """What stands behind the plot of this title: minutes and values."""
    (card,) = re.findall(rf"<h2>{title}</h2>.*?</section>", page, re.S)
    return re.findall(r'<tr><td>([^<]*)</td><td class="num">([^<]*)</td></tr>', card)


async def test_the_last_hour_is_drawn_by_the_minute(house: House) -> None:
    world = house.scene.world
    now = world.clock.now()
    for minute in range(3):
        at = now + timedelta(minutes=minute)
        world.history.note(at, {SUBMITTED: 7.0 * minute, QUEUED: 4.0 if minute != 1 else 0.0})
    world.tally.first_item.add(0.02)

    page = await shown(house, "jobs")

    assert page.count('class="plot"') == 2, "submitted and queued; the others were not read"
    assert page.count(": 7 jobs</title>") == 2
    assert [value for _, value in table(page, "Submitted")] == ["0", "7", "7"]
    assert [value for _, value in table(page, "Queued")] == ["4", "0", "4"]
    means = sum(one.shows is Shows.MEAN for one in ESSENTIALS["jobs"])
    assert page.count("Not measured in this time.") == means
    assert page.count("Not read in this time.") == len(ESSENTIALS["jobs"]) - 2 - means
    assert "25 ms" in page


async def test_nothing_wrong_is_told_apart_from_nothing_read(house: House) -> None:
    drift = Sample("archipelag_ledger_drifted_accounts")
    house.scene.world.history.note(house.scene.world.clock.now(), {drift: 0.0})

    page = await shown(house, "ledger")

    assert page.count("0 accounts, the whole time.") == 1
    assert page.count("Not read in this time.") == len(ESSENTIALS["ledger"]) - 1


async def test_a_minute_in_which_it_could_not_be_read_is_not_told_as_well(house: House) -> None:
    drift = Sample("archipelag_ledger_drifted_accounts")
    world = house.scene.world
    world.history.note(world.clock.now(), {drift: 0.0})
    world.history.note(world.clock.now() + timedelta(minutes=1), {})

    page = await shown(house, "ledger")

    assert page.count("0 accounts wherever it was read.") == 1


@pytest.mark.parametrize("of", ESSENTIALS)
async def test_every_dashboard_has_a_page_that_leads_to_the_others(house: House, of: str) -> None:
    page = await shown(house, of)

    headings = [unescape(one) for one in re.findall(r"<h2>([^<]*)</h2>", page)]
    assert [one.title for one in ESSENTIALS[of]] == headings[: len(ESSENTIALS[of])]
    links = re.findall(r'href="/admin/metrics\?of=(\w+)"( aria-current="page")?', page)
    assert links == [(name, ' aria-current="page"' if name == of else "") for name in TITLES]


async def test_nonsense_is_the_first_page(house: House) -> None:
    page = await shown(house, '"><script>')

    assert "<title>Network: Metrics" in page
    assert "<script>" not in page.partition("</head>")[2].partition("</main>")[0]


async def test_a_customer_sees_none_of_it(house: House) -> None:
    async with house.browser("ada") as http:
        answers = [await http.get(f"{path}/admin/metrics") for path in ("", "/live")]

    assert [one.status_code for one in answers] == [403, 403]
