"""An owner's orders as forms: without a script, for their own Islands only, and with what is wrong said beside it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import Ucredits
from archipelag_contracts.week import EVERY_HOUR
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.wishes import Wishes
from archipelag_coordinator.services.audit import read_audit

from .house import House

FORMS = ("drain", "hours", "prices")


async def stored(house: House, name: str = "reef") -> Island:
    async with house.scene.store.begin() as tx:
        island = await tx.islands.get(house.islands[name].id)
    assert island is not None
    return island


async def shown(house: House, who: str = "ada", name: str = "reef") -> str:
    async with house.browser(who) as http:
        return (await http.get(f"/islands/{house.islands[name].id}")).text


def checked(page: str) -> set[int]:
    return {int(one) for one in re.findall(r'name="hour-(\d+)"[^>]*checked', page)}


async def test_a_drain_is_one_press_and_so_is_the_way_back(house: House) -> None:
    path = f"/islands/{house.islands['reef'].id}/drain"

    gone = await house.post("ada", path, draining="yes")
    drained, page = await stored(house), await shown(house)
    await house.post("ada", path, draining="no")

    assert gone.headers["location"] == f"/islands/{drained.id}?done=drained"
    assert drained.wishes.draining and "Resume</button>" in page and "draining</span>" in page
    assert not (await stored(house)).wishes.draining
    assert "Drain reef" in await shown(house)


async def test_hours_are_kept_as_they_were_checked(house: House) -> None:
    path = f"/islands/{house.islands['reef'].id}/hours"
    before = checked(await shown(house))

    await house.post("ada", path, **{"hour-0": "on", "hour-167": "on", "hour-168": "on"})
    page = await shown(house)
    await house.post("ada", path, **{"hour-5": "on", "always": "yes"})

    assert before == set(range(168))
    assert checked(page) == {0, 167}
    assert 'aria-label="Sunday, 23:00 to 24:00" checked' in page
    assert (await stored(house)).wishes.hours == EVERY_HOUR


async def test_a_week_without_an_hour_is_refused_with_what_to_do(house: House) -> None:
    answer = await house.post("ada", f"/islands/{house.islands['reef'].id}/hours")

    assert answer.status_code == 422
    assert "to take no work at all, drain it" in answer.text
    assert (await stored(house)).wishes.version == 0


async def test_a_least_price_is_kept_and_says_what_it_loses(house: House) -> None:
    name = "least.llm-chat.output_item_ucredits"

    await house.post("ada", f"/islands/{house.islands['reef'].id}/prices", **{name: "5"})
    page = await shown(house)

    assert (await stored(house)).wishes.least == {
        "llm-chat": Price(output_item_ucredits=Ucredits(5_000_000))
    }
    assert "You ask for more than it pays" in page
    assert "In the last 14 days they brought 11.34 credits" in page
    assert f'name="{name}" type="text" value="5"' in page


@pytest.mark.parametrize("given", ["-1", "1e99", "0.0000001", "free", "9" * 30])
async def test_what_is_no_price_is_said_beside_its_field(house: House, given: str) -> None:
    name = "least.llm-chat.output_item_ucredits"

    answer = await house.post("ada", f"/islands/{house.islands['reef'].id}/prices", **{name: given})

    assert answer.status_code == 422
    assert 'class="wrong' in answer.text
    assert (await stored(house)).wishes.version == 0


async def test_fields_of_nobody_are_left_out(house: House) -> None:
    given = {"least.llm-chat.color": "1", "least.": "1", "most.x.job_ucredits": "1"}

    await house.post("ada", f"/islands/{house.islands['reef'].id}/prices", **given)

    assert (await stored(house)).wishes.version == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("who", "status"), [("stranger", 404), ("operator", 403)])
async def test_other_peoples_islands_are_not_ordered(
    house: House, form: str, who: str, status: int
) -> None:
    path = f"/islands/{house.islands['reef'].id}/{form}"

    answer = await house.post(who, path, **{"draining": "yes", "hour-1": "on"})

    assert answer.status_code == status
    assert "/drain" not in await shown(house, who)
    assert (await stored(house)).wishes.version == 0


async def test_an_administrator_may_and_it_is_noted(house: House) -> None:
    path = f"/islands/{house.islands['reef'].id}/drain"

    answer = await house.post("admin", path, draining="yes")

    assert answer.status_code == 303
    newest, *_ = await read_audit(house.scene.world, limit=1)
    assert (newest.actor, newest.act, newest.detail) == (house.admin.id, "island.order", "drain")


@pytest.mark.parametrize("form", FORMS)
async def test_a_form_without_its_token_is_refused(house: House, form: str) -> None:
    async with house.browser("ada") as http:
        answer = await http.post(
            f"/islands/{house.islands['reef'].id}/{form}", data={"draining": "yes"}
        )

    assert answer.status_code == 403
    assert (await stored(house)).wishes.version == 0


async def test_a_machine_that_takes_no_orders_is_named(house: House) -> None:
    island = await stored(house)
    assert "takes no orders from here" in await shown(house)

    taking = replace(
        island,
        capabilities=dict(island.capabilities) | {"takes_orders": True},
        wishes=Wishes(1, least={"gone": Price(Ucredits(7))}),
    )
    house.scene.world.fleet.load([taking])
    page = await shown(house)

    assert "takes no orders from here" not in page
    assert 'name="least.gone.job_ucredits"' in page
