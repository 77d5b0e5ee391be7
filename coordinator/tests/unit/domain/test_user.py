"""API keys: what makes one usable, and what it may spend."""

from datetime import timedelta

import pytest
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.user import Scope, hash_secret, new_key
from archipelag_coordinator.errors import (
    BudgetExceeded,
    InvalidInput,
    NotAuthenticated,
    NotPermitted,
)
from archipelag_coordinator.testing.builders import a_key, a_secret, a_user
from archipelag_coordinator.testing.fakes import START

READ, WRITE = frozenset({Scope.READ}), frozenset({Scope.WRITE})


def made(**changes):
    sane = {"name": "  mine ", "scopes": READ, "now": START}
    return new_key(a_key().id, a_user().id, a_secret(5), **sane | changes)


def test_new_key_keeps_a_hash_and_a_prefix_of_its_secret():
    key = made()

    assert (key.name, key.prefix) == ("mine", a_secret(5)[:10])
    assert key.hash == hash_secret(a_secret(5)) and len(key.hash) == 32
    assert a_secret(5) not in repr(key)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("name", "x" * 101),
        ("scopes", frozenset()),
        ("expires_at", START),
        ("budget", Ucredits(-1)),
        ("rate_per_minute", 0),
        ("rate_per_minute", 1_000_001),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(field, value):
    with pytest.raises(InvalidInput) as refused:
        made(**{field: value})

    assert list(refused.value.errors) == [field]


def test_every_problem_is_named_at_once():
    with pytest.raises(InvalidInput) as refused:
        made(name="", scopes=frozenset(), budget=Ucredits(-1))

    assert set(refused.value.errors) == {"name", "scopes", "budget"}


@pytest.mark.parametrize(
    "secret", ["", "ak_", "sk_" + "a" * 43, "ak_" + "a" * 42, "ak_" + "é" * 43]
)
def test_other_shapes_are_not_keys(secret):
    with pytest.raises(NotAuthenticated):
        hash_secret(secret)


@pytest.mark.parametrize(
    ("changes", "usable"),
    [
        ({}, True),
        ({"expires_at": START + timedelta(seconds=1)}, True),
        ({"expires_at": START}, False),
        ({"revoked_at": START}, False),
    ],
)
def test_revoked_and_expired_keys_do_not_hold(changes, usable):
    key = a_key(**changes)

    if usable:
        key.check_usable(START)
    else:
        with pytest.raises(NotAuthenticated):
            key.check_usable(START)


@pytest.mark.parametrize(
    ("scopes", "needed", "permitted"),
    [(READ, Scope.READ, True), (READ, Scope.WRITE, False), (WRITE, Scope.READ, True)],
)
def test_write_includes_read(scopes, needed, permitted):
    key = a_key(scopes=scopes)

    if permitted:
        key.check_scope(needed)
    else:
        with pytest.raises(NotPermitted):
            key.check_scope(needed)


@pytest.mark.parametrize(
    ("budget", "used", "available"),
    [(None, 10**9, None), (100, 50, None), (100, 51, 49), (100, 200, 0)],
)
def test_budget_is_not_overspent(budget, used, available):
    key = a_key(budget=budget, used=Ucredits(used))

    if available is None:
        key.check_budget(Ucredits(50))
    else:
        with pytest.raises(BudgetExceeded) as refused:
            key.check_budget(Ucredits(50))
        assert refused.value.available == available


def test_first_revocation_stays():
    key = a_key().revoke(START)

    assert key.revoke(START + timedelta(days=1)).revoked_at == START
