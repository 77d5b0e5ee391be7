"""Orders to an Island over HTTP: read strictly, shown as they stand, refused with the field that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from archipelag_coordinator.testing.builders import a_key, a_secret

from .conftest import Api
from .test_description import description, problems


async def an_owners_secret(api: Api) -> str:
    secret = a_secret()
    async with api.scene.store.begin() as tx:
        await tx.keys.add(a_key(api.scene.owner, secret=secret))
    return secret


async def ordered(api: Api, secret: str, body: Any) -> Any:
    (island,) = api.scene.world.fleet.islands()
    async with api.client(secret) as http:
        return await http.patch(f"/hosts/{island.id}", json=body)


async def test_an_order_is_shown_as_it_stands_and_changes_only_what_it_names(api: Api) -> None:
    secret = await an_owners_secret(api)
    least = {"llm-chat": {"per_output_item": "0.0002"}}

    await ordered(api, secret, {"schedule": {"sat": [0, 23], "sun": [12]}, "least_prices": least})
    answer = await ordered(api, secret, {"draining": True})

    schema = (await description(api))["components"]["schemas"]["HostAnswer"]
    assert problems(await description(api), schema, answer.json(), "answer") == []
    wishes = answer.json()["data"]["wishes"]
    assert wishes["draining"] is True
    assert {day: hours for day, hours in wishes["schedule"].items() if hours} == {
        "sat": [0, 23],
        "sun": [12],
    }
    assert wishes["least_prices"] == {
        "llm-chat": {"per_job": "0", "per_prompt_token": "0", "per_output_item": "0.0002"}
    }


async def test_null_is_always_and_a_price_without_parts_is_none(api: Api) -> None:
    secret = await an_owners_secret(api)
    await ordered(api, secret, {"schedule": {"mon": [1]}, "least_prices": {"echo": {"per_job": 1}}})

    answer = await ordered(api, secret, {"schedule": None, "least_prices": {"echo": {}}})

    wishes = answer.json()["data"]["wishes"]
    assert (wishes["schedule"], wishes["least_prices"]) == (None, {})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"drain": True}, "drain"),
        ({"draining": "yes"}, "draining"),
        ({"draining": None}, "draining"),
        ({"schedule": {}}, "schedule"),
        ({"schedule": {"mon": []}}, "schedule"),
        ({"schedule": {"monday": [1]}}, "schedule"),
        ({"schedule": {"mon": [24]}}, "schedule"),
        ({"schedule": {"mon": [True]}}, "schedule"),
        ({"schedule": {"mon": [1.0]}}, "schedule"),
        ({"schedule": "mon 18:00-20:00"}, "schedule"),
        ({"least_prices": []}, "least_prices"),
        ({"least_prices": {"echo": 1}}, "least_prices"),
        ({"least_prices": {"echo": {"per_hour": 1}}}, "least_prices.echo.per_hour"),
        ({"least_prices": {"echo": {"per_job": -1}}}, "least_prices.echo"),
        ({"least_prices": {"echo": {"per_job": "1e9"}}}, "least_prices.echo"),
        ({"least_prices": {"echo": {"per_job": "0.0000001"}}}, "least_prices.echo.per_job"),
        ({"least_prices": {"../x": {"per_job": 1}}}, "least_prices.../x"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_changes(api: Api, body: Any, field: str) -> None:
    secret = await an_owners_secret(api)

    answer = await ordered(api, secret, body)

    assert answer.status_code == 422, answer.text
    assert field in answer.json()["errors"]
    assert [one.wishes.version for one in api.scene.world.fleet.islands()] == [0]


async def test_strangers_do_not_see_an_islands_wishes(api: Api) -> None:
    await ordered(api, await an_owners_secret(api), {"draining": True})

    async with api.client() as http:
        (shown,) = (await http.get("/hosts")).json()["data"]

    assert "wishes" not in shown
