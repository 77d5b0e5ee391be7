"""Kept places: who comes back in time finds theirs, and nobody gets more of them by asking oftener."""

from __future__ import annotations

import pytest
from archipelag_contracts.ids import CargoDigest, UserId
from archipelag_coordinator.domain import kept_places
from archipelag_coordinator.domain.kept_places import GRACE_S, JITTER, KEPT_OF_LINE_MAX, KeptPlaces
from archipelag_coordinator.domain.lines import LineKey

ME, OTHER = (LineKey(UserId(name), CargoDigest("sha256:chat")) for name in ("me", "other"))


def test_a_place_is_due_from_its_time_until_the_grace_has_passed() -> None:
    places = KeptPlaces()

    wait_s = places.keep(ME, b"a", 10.0, chance=0.0, now=100.0)

    assert wait_s == 10.0 and places.time_of(ME, b"a") == 110.0
    assert places.all() == {ME: 1} and places.due(109.9) == {} and places.due(110.0) == {ME: 1}
    places.sweep(110.0 + GRACE_S)
    assert len(places) == 1
    places.sweep(110.1 + GRACE_S)
    assert len(places) == 0 and places.all() == {}


def test_callers_are_spread_and_never_told_less_than_was_reckoned() -> None:
    places = KeptPlaces()

    told = [places.keep(ME, b"%d" % n, 10.0, chance=n / 10, now=0.0) for n in range(10)]

    assert told == sorted(told) and len(set(told)) == 10
    assert told[0] == 10.0 and told[-1] < 10.0 * (1 + JITTER)


def test_asking_without_end_keeps_no_more_places_and_takes_nobody_elses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_places, "KEPT_MAX", KEPT_OF_LINE_MAX + 1)
    places = KeptPlaces()
    places.keep(OTHER, b"", 60.0, chance=0.5, now=0.0)

    for n in range(10 * KEPT_OF_LINE_MAX):
        places.keep(ME, b"%d" % n, 60.0, chance=0.5, now=0.0)

    assert places.all() == {ME: KEPT_OF_LINE_MAX, OTHER: 1}


def test_of_too_many_lines_the_oldest_place_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_places, "KEPT_MAX", 1)
    places = KeptPlaces()

    places.keep(ME, b"", 60.0, chance=0.5, now=0.0)
    places.keep(OTHER, b"", 60.0, chance=0.5, now=0.0)

    assert places.all() == {OTHER: 1}
