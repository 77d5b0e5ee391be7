"""Ids and secrets from the operating system have the shapes that the contracts ask for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from archipelag_contracts import ids as shapes
from archipelag_coordinator.domain.user import KEY_SHAPE
from archipelag_coordinator.ids import PAIRING_ALPHABET, SystemIds

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_every_id_has_its_shape_and_sorts_by_age() -> None:
    ids = SystemIds()

    made = [
        shapes.job_id(ids.job(NOW)),
        shapes.island_id(ids.island(NOW)),
        shapes.user_id(ids.user(NOW)),
        shapes.api_key_id(ids.api_key(NOW)),
        shapes.relay_id(ids.relay(NOW)),
    ]

    assert len(set(made)) == 5
    assert ids.job(NOW) < ids.job(NOW + timedelta(milliseconds=1))


def test_secrets_and_codes_are_of_the_alphabet_and_never_twice_the_same() -> None:
    ids = SystemIds()

    secrets = {ids.secret() for _ in range(100)}
    codes = {ids.pairing_code() for _ in range(100)}

    assert len(secrets) == 100 and all(KEY_SHAPE.fullmatch(secret) for secret in secrets)
    assert len(codes) > 95 and all(set(code) <= set(PAIRING_ALPHABET) for code in codes)
    assert not set("IO10") & set(PAIRING_ALPHABET)


def test_chance_and_seeds_are_in_their_range() -> None:
    ids = SystemIds()

    assert all(0 <= ids.chance() < 1 for _ in range(100))
    assert all(0 <= ids.seed() < 2**63 for _ in range(100))
