"""Who remembers a conversation, and what an Island gains that lies about it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import Epoch
from archipelag_coordinator.domain import remembered
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.placement import Wanted
from archipelag_coordinator.domain.prefixes import Prefix
from archipelag_coordinator.domain.remembered import (
    HOLDERS_MAX,
    NAMES_OF_ONE_MAX,
    Reliance,
    Remembered,
)
from archipelag_coordinator.testing.builders import a_cargo, a_job, an_id, an_island, an_offer
from archipelag_coordinator.testing.fakes import START

CARGO = a_cargo()
HERE, THERE = an_id("isl"), an_id("isl")
KEY = (a_job().id, Epoch(1))
SHORT, LONG = Prefix(1, 100), Prefix(2, 800)
NEXT_TURN = Wanted(CARGO.slug, CARGO.digest, 1_000, 50, prefixes=(SHORT, LONG))


def who(memory, *prefixes, chance=0.0):
    return [(island, prefix.name) for island, prefix in memory.holders(prefixes, chance)]


def test_who_holds_the_longest_beginning_comes_first_and_each_once():
    memory = Remembered()
    memory.told(HERE, [1], ())
    memory.told(THERE, [1, 2], ())

    assert who(memory, SHORT, LONG) == [(THERE, 2), (HERE, 1)]


def test_what_an_island_does_not_say_any_more_is_forgotten():
    memory = Remembered()
    memory.told(HERE, [1, 2], ())

    memory.told(HERE, [1], ())
    after_less = who(memory, SHORT, LONG)
    memory.told(HERE, [], ())

    assert after_less == [(HERE, 1)]
    assert who(memory, SHORT, LONG) == [] and len(memory) == 0


def test_what_was_given_counts_until_the_island_had_its_say_after_the_end():
    memory = Remembered()
    memory.told(HERE, [7], ())
    memory.gave(HERE, KEY, [1, 2])
    found = [who(memory, LONG)]
    for running in ((KEY,), (KEY,), (), ()):
        memory.told(HERE, [7], running)
        found.append(who(memory, LONG))

    assert found == [[(HERE, 2)]] * 4 + [[]]


def test_of_an_island_that_never_said_that_it_keeps_any_nothing_is_thought():
    memory = Remembered()
    memory.told(HERE, [], ())
    memory.gave(HERE, KEY, [1])

    assert who(memory, SHORT) == [] and len(memory) == 0


def test_an_island_that_is_forgotten_holds_nothing():
    memory = Remembered()
    memory.told(HERE, [1], ())
    memory.gave(HERE, KEY, [2])

    memory.forget(HERE)

    assert who(memory, SHORT, LONG) == [] and len(memory) == 0
    assert not memory._holders and not memory._given and not memory._told


def test_an_island_that_says_ten_thousand_is_heard_a_few():
    memory = Remembered()
    memory.told(HERE, range(10_000), ())
    for number in range(1_000):
        memory.gave(HERE, (a_job().id, Epoch(1)), [20_000 + number])

    assert len(memory) <= NAMES_OF_ONE_MAX + remembered.GIVEN_MAX
    assert len(memory._holders) == len(memory)


def test_a_crowd_that_says_the_same_leaves_the_newest_few():
    memory = Remembered()
    for number in range(3 * HOLDERS_MAX):
        memory.told(f"isl_{number}", [1], ())

    assert len(who(memory, SHORT)) == HOLDERS_MAX
    assert who(memory, SHORT)[-1] == (f"isl_{3 * HOLDERS_MAX - 1}", 1)
    for number in range(3 * HOLDERS_MAX):
        memory.forget(f"isl_{number}")
    assert not memory._holders and len(memory) == 0


def test_all_together_are_bounded_and_the_longest_unheard_is_forgotten(monkeypatch):
    monkeypatch.setattr(remembered, "NAMES_MAX", 300)
    memory = Remembered()
    for number in range(100):
        memory.told(f"isl_{number}", range(10 * number, 10 * number + 10), ())
        memory.told("isl_0", range(10), ())

    assert len(memory) == 300 == len(memory._holders)
    assert who(memory, Prefix(5, 1)) == [("isl_0", 5)], "it was heard all the time"
    assert who(memory, Prefix(15, 1)) == []


def test_among_equals_one_is_begun_with_by_chance():
    memory = Remembered()
    for number in range(10):
        memory.told(f"isl_{number}", [1], ())

    assert {who(memory, SHORT, chance=n / 10)[0][0] for n in range(10)} == {
        f"isl_{number}" for number in range(10)
    }


def test_an_island_is_believed_until_it_was_seen_to_have_less():
    reliance = Reliance()
    first = reliance.on(HERE, "llm-chat")
    for _ in range(40):
        reliance.saw(HERE, "llm-chat", 0.0)

    assert first == 1.0
    assert reliance.on(HERE, "llm-chat") < 0.02
    assert reliance.on(THERE, "llm-chat") == reliance.on(HERE, "other") == 1.0


def test_one_that_was_found_out_and_then_keeps_its_word_is_believed_again():
    reliance = Reliance()
    for share in [0.0] * 40 + [1.5] * 40:
        reliance.saw(HERE, "llm-chat", share)

    assert 0.95 < reliance.on(HERE, "llm-chat") <= 1.0


def a_fleet(*islands, looked_max=64):
    fleet = Fleet(looked_max)
    for island in islands:
        fleet.saw(island, [])
    return fleet


def one(*prefixes, slow_ms=40.0, **changes):
    offer = an_offer(CARGO, first_item_ms=slow_ms, prefixes=prefixes)
    return an_island(offers=(offer,), **changes)


@pytest.mark.parametrize("looked_max", [0, 64])
def test_a_conversation_goes_to_who_remembers_it_and_why_says_so(looked_max):
    holder = one(2, 99)
    fleet = a_fleet(holder, *(one() for _ in range(20)), looked_max=looked_max)

    found = [fleet.choose(NEXT_TURN, n / 50) for n in range(50)]

    assert {placed.island_id for placed in found} == {holder.id}
    assert "remembers up to 800 tokens of this conversation" in found[0].why
    assert (found[0].held_tokens, found[0].remembered_tokens) == (800, 800)
    # 5 ms of way, 40 of the first step, 200 of 1,000 tokens at 1,000 a second.
    assert (found[0].reckoned_ms, found[0].reading_ms) == (245.0, 1_000.0)


@pytest.mark.parametrize("looked_max", [0, 64])
@pytest.mark.parametrize(
    "holder",
    [
        one(2, slow_ms=30_000.0),
        one(2, broker_rtt_ms=30_000.0),
        one(2, slots=0),
        one(2, approved=False),
    ],
)
def test_nobody_is_taken_for_its_memory_alone(holder, looked_max):
    near = one()
    fleet = a_fleet(holder, near, looked_max=looked_max)

    assert {fleet.choose(NEXT_TURN, n / 10).island_id for n in range(10)} == {near.id}


@pytest.mark.parametrize("looked_max", [0, 64])
def test_who_lost_or_refused_it_is_not_taken_for_what_it_remembers(looked_max):
    holder, other = one(2), one()
    fleet = a_fleet(holder, other, looked_max=looked_max)

    for wish in ({"avoid": frozenset([holder.id])}, {"lost": frozenset([holder.id])}):
        assert fleet.choose(replace(NEXT_TURN, **wish), 0.5).island_id == other.id


def test_full_holders_do_not_hide_one_that_is_free():
    full = [one(2, slots=0) for _ in range(10)]
    free = one(2)
    fleet = a_fleet(*full, free, *(one() for _ in range(20)), looked_max=4)

    assert {fleet.choose(NEXT_TURN, n / 10).island_id for n in range(10)} == {free.id}


def test_a_word_about_another_version_is_worth_nothing_here():
    liar = an_island(offers=(an_offer(CARGO, digest="sha256:old", prefixes=(2,)),))
    fleet = a_fleet(liar, one())

    assert fleet.choose(NEXT_TURN, 0.5).remembered_tokens == 0


def test_who_says_what_it_does_not_hold_is_soon_taken_as_the_others_are():
    liar = one(2, slow_ms=300.0)
    fleet = a_fleet(liar, *(one() for _ in range(5)))

    rounds = 0
    while fleet.choose(NEXT_TURN, 0.5).island_id == liar.id:
        fleet.kept(liar.id, CARGO.slug, 0.0)
        rounds += 1
        assert rounds < 15

    assert rounds > 0, "its word is believed at first"


def test_an_equal_that_was_found_out_is_drawn_no_more_often_than_the_others():
    liar = one(2)
    fleet = a_fleet(liar, *(one() for _ in range(9)))
    for _ in range(8):
        fleet.kept(liar.id, CARGO.slug, 0.0)

    found = [fleet.choose(NEXT_TURN, n / 90).island_id for n in range(90)]

    assert 0 < found.count(liar.id) < 45


def test_who_was_given_a_turn_gets_the_next_before_its_next_heartbeat():
    island = one(99)
    fleet = a_fleet(island, *(one() for _ in range(20)))
    fleet.assigned(island.id, KEY)

    fleet.accepted(island.id, KEY, [SHORT, LONG])
    fleet.freed(island.id, KEY)
    soon = fleet.choose(NEXT_TURN, 0.5)
    for number in (1, 2):
        fleet.saw(replace(island, seen_at=START + timedelta(seconds=10 * number)), [])
    later = fleet.choose(NEXT_TURN, 0.5)

    assert (soon.island_id, soon.held_tokens) == (island.id, 800)
    assert later.held_tokens == 0


def test_what_another_coordinator_heard_and_stored_counts_here():
    island = one()
    fleet = a_fleet(island, one())
    heard = replace(one(2), id=island.id, seen_at=START + timedelta(seconds=10))

    fleet.load([heard])

    assert fleet.choose(NEXT_TURN, 0.5).island_id == island.id
