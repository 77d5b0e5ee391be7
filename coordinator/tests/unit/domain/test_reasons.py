"""Reasons in words: every rule has a meaning, the nearest miss decides what would help."""

import pytest
from archipelag_coordinator.domain import reasons
from archipelag_coordinator.domain.placement import (
    PREFERENCES,
    RULES,
    Given,
    Obstacle,
    Wanted,
    place,
)
from archipelag_coordinator.domain.reasons import MEANINGS, NOBODY, SOON, in_line, outlook
from archipelag_coordinator.testing.builders import a_candidate, a_cargo

CARGO = a_cargo()


def wanted(**changes):
    sane = {"slug": CARGO.slug, "digest": CARGO.digest, "prompt_tokens": 100, "output_items": 50}
    return Wanted(**sane | changes)


def test_every_rule_has_a_meaning_and_a_hint():
    names = {rule.__name__ for rule in RULES} | {"not_lost_before"}

    assert set(MEANINGS) == names
    assert {rule for rule, _ in reasons._HINTS} == names


def test_a_placement_keeps_what_each_preference_gave_and_who_was_kept_out():
    islands = [
        a_candidate(name="here"),
        a_candidate(slots_free=0),
        a_candidate(slots_free=0),
        a_candidate(approved=False),
    ]

    chosen = place(wanted(), islands, 0.0)

    assert (chosen.asked, chosen.fit) == (4, 1)
    assert chosen.kept_out == (Obstacle("has_free_slot", 2), Obstacle("is_approved", 1))
    assert [given.name for given in chosen.preferences] == [p.__name__ for p, _ in PREFERENCES]
    total = sum(given.weight * given.value for given in chosen.preferences)
    assert total == pytest.approx(chosen.score, abs=0.001)
    assert Given("prefers_free", 0.1, 1.0) in chosen.preferences


def test_those_that_lost_it_are_counted_where_there_are_others():
    here, there = a_candidate(), a_candidate()

    chosen = place(wanted(lost=frozenset({here.island_id})), [here, there], 0.0)

    assert chosen.kept_out == (Obstacle("not_lost_before", 1),)
    assert (chosen.asked, chosen.fit) == (2, 1)


def test_what_is_kept_is_bounded_however_many_islands_there_are():
    islands = [a_candidate(slots_free=n % 3) for n in range(500)]

    chosen = place(wanted(), islands, 0.0)

    assert len(chosen.kept_out) == 1 and len(chosen.preferences) == len(PREFERENCES)
    assert chosen.asked == 500 and len(chosen.verdicts) <= 20


@pytest.mark.parametrize(
    ("islands", "hint"),
    [
        ([], NOBODY),
        ([{}], SOON),
        ([{"slots_free": 0}, {"approved": False}], "wait for a slot"),
        ([{"digest": None}, {"status": "silent"}], "lend a machine that offers"),
        ([{"status": "silent"}], "wait for an Island to be ready"),
        ([{"approved": False}], "ask the operator"),
        ([{"state": "loading"}, {"digest": None}], "until the Cargo is loaded"),
    ],
)
def test_the_nearest_miss_decides_what_would_help(islands, hint):
    found = outlook(wanted(), [a_candidate(**changes) for changes in islands])

    assert hint in found.hint
    assert found.asked == len(islands)
    assert found.fit + sum(one.count for one in found.kept_out) == found.asked


def test_an_island_stands_among_those_that_could_take_the_job():
    fast, slow = a_candidate(first_item_ms=10.0), a_candidate(first_item_ms=900.0)
    busy = a_candidate(slots_free=0)
    islands = [slow, busy, fast]

    first, second = (in_line(wanted(), islands, one.island_id) for one in (fast, slow))
    out = in_line(wanted(), islands, busy.island_id)

    assert (first.rank, second.rank, first.of) == (1, 2, 2)
    assert first.score == first.best_score == second.best_score > second.score
    assert (out.rule, out.rank, out.score, out.of) == ("has_free_slot", None, None, 2)
    assert "slots taken" in out.reason
