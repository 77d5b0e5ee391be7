"""An Island that others have filled: what it says counts at once, and it is tried again though nobody says anything."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from archipelag_contracts.ids import Epoch, IslandId
from archipelag_coordinator.domain.attempt import AttemptKey
from archipelag_coordinator.domain.berth import Room
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.placement import Wanted
from archipelag_coordinator.domain.second_tries import TOLD_S, TRIES_PER_S_MAX
from archipelag_coordinator.errors import NoPlacement
from archipelag_coordinator.testing.builders import a_cargo, a_job, an_island, an_offer
from archipelag_coordinator.testing.fakes import START

CARGO = a_cargo()
OURS, MORE_OF_OURS, THEIRS = ((a_job().id, Epoch(1)) for _ in range(3))
WANTED = Wanted(CARGO.slug, CARGO.digest, prompt_tokens=10, output_items=10)
LATER = START + timedelta(seconds=TOLD_S)
SHORT = timedelta(milliseconds=1)


def of(slots: int, *, of_cargo: int = 64) -> Island:
    return an_island(slots=slots, offers=(an_offer(CARGO, slots=of_cargo),))


def a_fleet(island: Island, *held: AttemptKey) -> Fleet:
    fleet = Fleet()
    fleet.saw(island, held)
    return fleet


def free(fleet: Fleet) -> int:
    (candidate,) = fleet.candidates(CARGO.slug, CARGO.digest)
    return candidate.slots_free


def say(fleet: Fleet, island: Island, room: Room | None, at: datetime = START) -> None:
    fleet.said(island.id, CARGO.slug, CARGO.digest, room, at)


def refuse(
    fleet: Fleet,
    island: Island,
    room: Room | None,
    key: AttemptKey = OURS,
    at: datetime = START,
) -> None:
    fleet.assigned(island.id, key)
    say(fleet, island, room, at)
    fleet.freed(island.id, key)


@pytest.mark.parametrize("room", [Room(0, 0), None], ids=["says so", "an older one"])
def test_who_is_refused_for_want_of_a_slot_gives_away_none_there(room: Room | None) -> None:
    island = of(4)
    fleet = a_fleet(island)

    refuse(fleet, island, room)

    assert free(fleet) == 0
    with pytest.raises(NoPlacement, match="is busy: 4 of 4 slots taken"):
        fleet.choose(WANTED, 0.5)


def test_it_is_tried_again_after_a_while_by_one_job_at_a_time() -> None:
    island = of(4)
    fleet = a_fleet(island)
    refuse(fleet, island, Room(0, 0))

    fleet.look_again(LATER - SHORT)
    before = free(fleet)
    fleet.look_again(LATER)
    after = free(fleet)
    fleet.assigned(island.id, OURS)

    assert (before, after, free(fleet)) == (0, 1, 0)


def test_who_is_refused_again_waits_again() -> None:
    island = of(4)
    fleet = a_fleet(island)
    refuse(fleet, island, Room(0, 0))
    fleet.look_again(LATER)
    refuse(fleet, island, Room(0, 0), at=LATER)

    fleet.look_again(LATER + timedelta(seconds=TOLD_S) - SHORT)
    before = free(fleet)
    fleet.look_again(LATER + timedelta(seconds=TOLD_S))

    assert (before, free(fleet)) == (0, 1)


def test_a_heartbeat_says_better() -> None:
    island = of(4)
    fleet = a_fleet(island)
    refuse(fleet, island, Room(0, 0))

    fleet.saw(island, [THEIRS])

    assert free(fleet) == 3


@pytest.mark.parametrize("room", [Room(0, 0), None], ids=["says so", "an older one"])
def test_a_slot_that_we_left_is_free_at_once(room: Room | None) -> None:
    island = of(4)
    fleet = a_fleet(island)
    fleet.assigned(island.id, OURS)
    fleet.answered(island.id, OURS)
    refuse(fleet, island, room, MORE_OF_OURS)

    fleet.freed(island.id, OURS)

    assert free(fleet) == 1


def test_who_takes_a_job_says_what_is_left() -> None:
    island = of(4)
    fleet = a_fleet(island)
    fleet.assigned(island.id, OURS)
    fleet.answered(island.id, OURS)

    say(fleet, island, Room(1, 1))

    assert free(fleet) == 1


def test_what_is_on_its_way_is_not_counted_by_the_island_yet() -> None:
    island = of(4)
    fleet = a_fleet(island)
    fleet.assigned(island.id, OURS)
    fleet.assigned(island.id, MORE_OF_OURS)
    fleet.answered(island.id, OURS)

    say(fleet, island, Room(2, 2))

    assert free(fleet) == 1


def test_what_the_last_heartbeat_named_and_has_ended_since_is_free() -> None:
    island = of(4)
    fleet = a_fleet(island, THEIRS)
    fleet.assigned(island.id, OURS)
    fleet.answered(island.id, OURS)

    say(fleet, island, Room(3, 3))

    assert free(fleet) == 3


@pytest.mark.parametrize("claimed", [5, 2**32 - 1])
def test_who_claims_more_slots_than_can_be_gets_no_more_jobs(claimed: int) -> None:
    island = of(4)
    fleet = a_fleet(island)
    for key in (OURS, MORE_OF_OURS):
        fleet.assigned(island.id, key)
        fleet.answered(island.id, key)

    say(fleet, island, Room(claimed, claimed))

    assert free(fleet) == 2


def test_a_cargo_that_is_full_gets_none_where_another_would() -> None:
    island = of(4, of_cargo=3)
    fleet = a_fleet(island)

    refuse(fleet, island, Room(2, 0))

    assert free(fleet) == 0
    fleet.look_again(LATER)
    assert free(fleet) == 1


def test_where_all_that_runs_is_ours_nothing_is_tried() -> None:
    island = of(2)
    fleet = a_fleet(island)
    for key in (OURS, MORE_OF_OURS):
        fleet.assigned(island.id, key)
        fleet.answered(island.id, key)
        say(fleet, island, Room(0, 0))

    fleet.look_again(LATER)

    assert free(fleet) == 0


def test_what_a_heartbeat_said_of_others_is_not_believed_for_ever_either() -> None:
    island = of(1)
    fleet = a_fleet(island, THEIRS)

    fleet.look_again(LATER)

    assert free(fleet) == 1


def test_of_a_large_fleet_none_is_forgotten_and_few_are_tried_at_once() -> None:
    """The shelves hear of it: nothing is looked at whole."""
    fleet, islands = Fleet(looked_max=4), {one.id: one for one in (of(2) for _ in range(100))}
    for island in islands.values():
        fleet.saw(island, ())
    with_room = fleet.choose(WANTED, 0.3)
    for island in islands.values():
        refuse(fleet, island, Room(0, 0))
    tried: list[IslandId] = []

    def at(moment: datetime) -> int:
        """How many were tried: each is refused again."""
        fleet.look_again(moment)
        for count in range(len(islands) + 1):
            try:
                chosen = fleet.choose(WANTED, 0.3).island_id
            except NoPlacement:
                return count
            tried.append(chosen)
            refuse(fleet, islands[chosen], Room(0, 0), at=moment)
        raise AssertionError("somebody is tried again and again")

    counts = [at(START + timedelta(seconds=second)) for second in range(5)]

    assert with_room.fit == 100
    assert counts[0] == 0 and max(counts) <= TRIES_PER_S_MAX
    assert set(tried) == set(islands)
