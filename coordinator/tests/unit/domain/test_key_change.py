"""What may be changed of a key, and what a bounded key may not give away."""

from datetime import timedelta

import pytest
from archipelag_coordinator.domain.key_change import KeyChange
from archipelag_coordinator.errors import IllegalMove, InvalidInput, NotPermitted
from archipelag_coordinator.testing.builders import a_key, a_user
from archipelag_coordinator.testing.fakes import START

DAY = timedelta(days=1)
USER = a_user()
FREE = a_key(USER)


def change(**fields):
    return KeyChange(frozenset(fields), **fields)


def apply(key, by=FREE, **fields):
    return change(**fields).apply(key, by=by, now=START)


def test_only_what_is_named_is_changed():
    key = a_key(USER, budget=50, rate_per_minute=5, expires_at=START + DAY)

    assert apply(key, name=" new ").name == "new"
    assert apply(key, name="new").budget == 50
    assert apply(key, budget=None).budget is None
    assert apply(key, rate_per_minute=None).rate_per_minute is None
    assert apply(key, expires_at=None).expires_at is None
    assert apply(key, budget=None, rate_per_minute=9).name == key.name


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "body"),
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"budget": 29}, "budget"),
        ({"budget": -1}, "budget"),
        ({"rate_per_minute": 0}, "rate_per_minute"),
        ({"rate_per_minute": 1_000_001}, "rate_per_minute"),
        ({"expires_at": START}, "expires_at"),
    ],
)
def test_what_is_wrong_is_named(fields, field):
    with pytest.raises(InvalidInput) as refused:
        apply(a_key(USER, used=30), **fields)

    assert list(refused.value.errors) == [field]


def test_a_revoked_key_is_not_changed():
    with pytest.raises(IllegalMove):
        apply(a_key(USER, revoked_at=START), name="new")


@pytest.mark.parametrize(
    ("by", "key", "fields", "allowed"),
    [
        ({}, {"budget": 5}, {"budget": 500}, True),
        ({}, {"expires_at": START + DAY}, {"expires_at": None}, True),
        ({"budget": 10}, {}, {"name": "new"}, True),
        ({"budget": 10}, {"budget": 10}, {"budget": 9}, True),
        ({"budget": 10}, {"budget": 10}, {"budget": 10}, True),
        ({"budget": 10}, {"budget": 10}, {"budget": 11}, False),
        ({"budget": 10}, {"budget": 10}, {"budget": None}, False),
        ({"budget": 10}, {"budget": 3}, {"budget": 9}, False),
        ({"budget": 10}, {}, {"budget": 90}, True),
        ({"budget": 10}, {"rate_per_minute": 5}, {"rate_per_minute": None}, True),
        ({"rate_per_minute": 5}, {"rate_per_minute": 2}, {"rate_per_minute": 5}, True),
        ({"rate_per_minute": 5}, {"rate_per_minute": 2}, {"rate_per_minute": 6}, False),
        ({"rate_per_minute": 5}, {"rate_per_minute": 90}, {"rate_per_minute": 80}, True),
        ({"rate_per_minute": 5}, {"rate_per_minute": 90}, {"rate_per_minute": 91}, False),
        ({"rate_per_minute": 5}, {}, {"rate_per_minute": None}, False),
        ({"expires_at": START + DAY}, {}, {"expires_at": START + DAY}, True),
        ({"expires_at": START + DAY}, {}, {"expires_at": START + 2 * DAY}, False),
        ({"expires_at": START + DAY}, {"expires_at": START + 9 * DAY}, {"expires_at": START + 8 * DAY}, True),
        ({"expires_at": START + DAY}, {"expires_at": START + 9 * DAY}, {"expires_at": None}, False),
    ],
    ids=str,
)  # fmt: skip
def test_a_bounded_key_gives_nobody_more_than_it_has(by, key, fields, allowed):
    asking, changed = a_key(USER, **by), a_key(USER, **key)

    if allowed:
        assert apply(changed, asking, **fields)
    else:
        with pytest.raises(NotPermitted):
            apply(changed, asking, **fields)
    assert apply(changed, None, **fields), "a person may do as they like"


def test_a_key_that_asks_for_itself_gains_nothing():
    key = a_key(USER, budget=10, rate_per_minute=5, expires_at=START + DAY)

    for fields in (
        {"budget": 11},
        {"rate_per_minute": 6},
        {"expires_at": START + 2 * DAY},
        {"budget": None},
    ):
        with pytest.raises(NotPermitted):
            apply(key, key, **fields)
