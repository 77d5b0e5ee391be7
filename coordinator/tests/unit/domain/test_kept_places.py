"""Kept places: who comes back in time finds theirs, and nobody gets more of them by asking oftener."""

from __future__ import annotations

from collections import Counter

import pytest
from archipelag_contracts.ids import CargoDigest, UserId
from archipelag_coordinator.domain import kept_places
from archipelag_coordinator.domain.kept_places import GRACE_S, JITTER, KEPT_OF_LINE_MAX, KeptPlaces
from archipelag_coordinator.domain.lines import Kept, LineKey
from hypothesis import given
from hypothesis import strategies as st

Counts = dict[tuple[LineKey, Kept], int]
ME, OTHER = (LineKey(UserId(name), CargoDigest("sha256:chat")) for name in ("me", "other"))


def counting() -> tuple[KeptPlaces, Counts]:
    counts: Counts = {}

    def counted(key: LineKey, kind: Kept, places: int) -> None:
        counts[key, kind] = places

    return KeptPlaces(counted), counts


def test_a_place_is_due_from_its_time_until_the_grace_has_passed() -> None:
    places, _ = counting()

    wait_s = places.keep(ME, b"a", 10.0, chance=0.0, now=100.0)

    assert wait_s == 10.0 and places.time_of(ME, b"a") == 110.0
    places.ripen(109.9)
    assert places.told == {ME: 1} and places.due == {}
    places.ripen(110.0)
    assert places.told == {ME: 1} and places.due == {ME: 1}
    places.sweep(110.0 + GRACE_S)
    assert len(places) == 1
    places.sweep(110.1 + GRACE_S)
    assert len(places) == 0 and places.told == places.due == {}


def test_callers_are_spread_and_never_told_less_than_was_reckoned() -> None:
    places, _ = counting()

    told = [places.keep(ME, b"%d" % n, 10.0, chance=n / 10, now=0.0) for n in range(10)]

    assert told == sorted(told) and len(set(told)) == 10
    assert told[0] == 10.0 and told[-1] < 10.0 * (1 + JITTER)


def test_asking_without_end_keeps_no_more_places_and_takes_nobody_elses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_places, "KEPT_MAX", KEPT_OF_LINE_MAX + 1)
    places, _ = counting()
    places.keep(OTHER, b"", 60.0, chance=0.5, now=0.0)

    for n in range(10 * KEPT_OF_LINE_MAX):
        places.keep(ME, b"%d" % n, 60.0, chance=0.5, now=0.0)

    assert places.told == {ME: KEPT_OF_LINE_MAX, OTHER: 1}


def test_of_too_many_lines_the_oldest_place_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_places, "KEPT_MAX", 1)
    places, _ = counting()

    places.keep(ME, b"", 60.0, chance=0.5, now=0.0)
    places.keep(OTHER, b"", 60.0, chance=0.5, now=0.0)

    assert places.told == {OTHER: 1}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["keep", "give up", "sweep", "ripen"]),
            st.sampled_from([ME, OTHER]),
            st.sampled_from([b"a", b"b", b"c"]),
            st.integers(0, 20),
        )
    )
)
def test_counts_are_those_of_the_places_whatever_comes_and_goes(
    acts: list[tuple[str, LineKey, bytes, int]],
) -> None:
    places, counts = counting()
    now, kept = 0.0, dict[tuple[LineKey, bytes], float]()

    for act, key, request, seconds in acts:
        if act == "keep":
            places.keep(key, request, float(seconds), chance=0.0, now=now)
            kept.setdefault((key, request), now + seconds)
        elif act == "give up":
            places.give_up(key, request)
            kept.pop((key, request), None)
        else:
            now += seconds
            (places.sweep if act == "sweep" else places.ripen)(now)
        if act == "sweep":
            kept = {place: at for place, at in kept.items() if at + GRACE_S >= now}
        places.ripen(now)

        told = Counter(key for key, _ in kept)
        due = Counter(key for (key, _), at in kept.items() if at <= now)
        assert (places.told, places.due, len(places)) == (told, due, len(kept))
        assert {of: n for of, n in counts.items() if n} == {
            (key, kind): n
            for kind, by_line in ((Kept.TOLD, told), (Kept.DUE, due))
            for key, n in by_line.items()
        }


def test_giving_up_and_keeping_without_end_fills_no_memory() -> None:
    places, _ = counting()

    for n in range(10_000):
        places.keep(ME, b"%d" % n, 1e6, chance=0.0, now=0.0)
        places.give_up(ME, b"%d" % n)

    assert len(places._next) < 2 * kept_places.SPARE_MAX
