"""A key that is changed on its page: only what differs, refused beside its field, and nobody else's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.user import ApiKey
from archipelag_coordinator.testing.builders import a_key

from .house import House

UNTIL = datetime(2031, 5, 4, 13, 30, tzinfo=UTC)
AS_SHOWN = {"budget": "2.5", "rate_per_minute": "60", "expires_before": "2031-05-04"}


async def a_bounded_key(house: House) -> ApiKey:
    key = a_key(
        house.ada, name="bounded", budget=Ucredits(2_500_000), rate_per_minute=60, expires_at=UNTIL
    )
    async with house.scene.store.begin() as tx:
        await tx.keys.add(key)
    return key


async def stored(house: House, key: ApiKey) -> ApiKey:
    async with house.scene.store.begin() as tx:
        return next(one for one in await tx.keys.of_user(house.ada.id) if one.id == key.id)


async def changed(house: House, key: ApiKey, who: str = "ada", **form: str) -> int:
    path = f"/settings/keys/{key.id}/change"
    return (await house.post(who, path, "/settings/keys", **AS_SHOWN | form)).status_code


async def test_what_was_not_touched_stays_to_the_second(house: House) -> None:
    key = await a_bounded_key(house)

    status = await changed(house, key, name="laptop", expires_at="2031-05-04")

    found = await stored(house, key)
    assert status == 303
    assert (found.name, found.budget, found.rate_per_minute, found.expires_at) == (
        "laptop",
        2_500_000,
        60,
        UNTIL,
    )


async def test_bounds_are_moved_and_taken_away(house: House) -> None:
    key = await a_bounded_key(house)

    await changed(
        house, key, name="bounded", budget="", rate_per_minute="", expires_at="2032-01-31"
    )
    moved = await stored(house, key)
    await changed(house, key, name="bounded", expires_before="2032-01-31", expires_at="")

    assert (moved.budget, moved.rate_per_minute) == (None, None)
    assert moved.expires_at == datetime(2032, 2, 1, tzinfo=UTC)
    assert (await stored(house, key)).expires_at is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": " "}, "must have 1 to 100 characters"),
        ({"budget": "much"}, "must be a number of credits"),
        ({"rate_per_minute": "0"}, "must be 1 to"),
        ({"expires_at": "2001-01-01"}, "must lie in the future"),
        ({"expires_at": "soon"}, "must be a day such as"),
    ],
)
async def test_what_is_wrong_is_said_in_the_open_form_of_that_key(
    house: House, wrong: dict[str, str], said: str
) -> None:
    key = await a_bounded_key(house)
    path = f"/settings/keys/{key.id}/change"

    answer = await house.post("ada", path, "/settings/keys", **AS_SHOWN | {"name": "x"} | wrong)

    assert answer.status_code == 422
    form = answer.text[answer.text.index('<details class="confirm" open>') :]
    assert said in form[: form.index("</details>")]
    assert answer.text.count(said) == 1
    assert await stored(house, key) == key


async def test_a_form_with_nothing_in_it_is_refused_and_not_broken(house: House) -> None:
    key = await a_bounded_key(house)

    answer = await house.post("ada", f"/settings/keys/{key.id}/change", "/settings/keys")

    assert answer.status_code == 422


@pytest.mark.parametrize("who", ["stranger", "admin"])
async def test_nobody_changes_another_persons_key(house: House, who: str) -> None:
    key = await a_bounded_key(house)

    assert await changed(house, key, who, name="mine now") == 404
    assert await stored(house, key) == key


async def test_a_revoked_key_is_not_changed(house: House) -> None:
    key = await a_bounded_key(house)
    async with house.scene.store.begin() as tx:
        await tx.keys.revoke(house.ada.id, key.id, house.scene.clock.now() + timedelta(0))

    assert await changed(house, key, name="again") == 409
