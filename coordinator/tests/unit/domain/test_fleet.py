"""The fleet as one process sees it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import Epoch
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.island import Glance, IslandStatus
from archipelag_coordinator.domain.placement import Wanted, reckoned_first_item_ms
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.wishes import Wishes
from archipelag_coordinator.errors import NoPlacement
from archipelag_coordinator.testing.builders import a_cargo, a_job, an_island, an_offer
from archipelag_coordinator.testing.fakes import START

CARGO = a_cargo()
ONE, TWO = ((a_job().id, Epoch(1)) for _ in range(2))


def only(fleet):
    (candidate,) = fleet.candidates(CARGO.slug, CARGO.digest)
    return candidate


def test_slots_are_taken_by_what_is_held_and_what_was_given():
    fleet, island = Fleet(), an_island()
    fleet.saw(island, [ONE])
    fleet.assigned(island.id, TWO)
    fleet.assigned(island.id, ONE)
    taken = fleet.busy(island.id)

    fleet.freed(island.id, TWO)
    fleet.freed(island.id, ONE)
    free = fleet.busy(island.id)
    fleet.saw(island, [ONE])

    assert (taken, free) == (2, 0)
    assert fleet.busy(island.id) == 0, "ended here, though the Island still names it"
    fleet.saw(island, [])
    fleet.saw(island, [ONE])
    assert fleet.busy(island.id) == 1


def test_unknown_islands_are_nothing():
    fleet, island = Fleet(), an_island()
    fleet.assigned(island.id, ONE)
    fleet.freed(island.id, ONE)
    fleet.forget(island.id)

    assert (fleet.get(island.id), fleet.busy(island.id), fleet.islands()) == (None, 0, [])


def test_beats_are_taken_once():
    fleet, island = Fleet(), an_island()
    fleet.saw(island, [])

    assert fleet.take_beats() == [island]
    assert fleet.take_beats() == []


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (
            {"load": 0.9, "seen_at": START + timedelta(1)},
            {"load": 0.9, "seen_at": START + timedelta(1)},
        ),
        ({"load": 0.9, "seen_at": START - timedelta(1)}, {}),
        ({"load": 0.9, "seen_at": None}, {}),
        (
            {"status": IslandStatus.SUSPENDED, "seen_at": START - timedelta(1), "load": 0.9},
            {"status": IslandStatus.SUSPENDED},
        ),
        ({"approved": False, "seen_at": START - timedelta(1)}, {"approved": False}),
    ],
    ids=["newer", "older", "never seen", "an operator's word", "approval"],
)
def test_what_is_newer_wins_but_for_operators(stored, expected):
    fleet, island = Fleet(), an_island()
    fleet.load([island])

    fleet.load([replace(island, **stored)])

    assert fleet.get(island.id) == replace(island, **expected)


@pytest.mark.parametrize(
    ("stored", "behind"),
    [
        ({}, False),
        ({"seen_at": START + timedelta(microseconds=1)}, True),
        ({"seen_at": START - timedelta(seconds=1), "status": IslandStatus.DRAINING}, False),
        ({"status": IslandStatus.SILENT}, True),
        ({"status": IslandStatus.SUSPENDED, "seen_at": START - timedelta(1)}, True),
        ({"approved": False, "seen_at": START - timedelta(1)}, True),
    ],
    ids=["the same", "newer", "older", "as old, but moved", "an operator's word", "approval"],
)
def test_only_what_is_newer_is_asked_for(stored, behind):
    fleet, island, stranger = Fleet(), an_island(), an_island()
    fleet.load([island])

    found = fleet.behind([glance_of(replace(island, **stored)), glance_of(stranger)])

    assert found == ([island.id, stranger.id] if behind else [stranger.id])


def glance_of(island):
    return Glance(island.id, island.status.value, island.approved, island.seen_at.timestamp())


def test_who_was_restored_is_not_held_for_suspended_because_its_last_heartbeat_was_newer():
    fleet, island = Fleet(), an_island()
    stored = replace(island, seen_at=START - timedelta(seconds=1))
    fleet.saw(island, [])
    fleet.load([replace(stored, status=IslandStatus.SUSPENDED)])

    fleet.load([replace(stored, status=IslandStatus.ENROLLED)])

    restored = fleet.get(island.id)
    assert restored is not None and restored.status is IslandStatus.ENROLLED


@pytest.mark.parametrize("seen_at", [START, START + timedelta(minutes=9)])
def test_newest_wishes_are_kept_whoever_heard_the_island_last(seen_at):
    ordered = an_island(wishes=Wishes(5, draining=True), seen_at=START)
    fleet = Fleet()
    fleet.load([replace(ordered, wishes=Wishes(4), seen_at=START + timedelta(minutes=1))])

    fleet.load([ordered])
    fleet.load([replace(ordered, wishes=Wishes(4), seen_at=seen_at)])

    assert only(fleet).wishes == ordered.wishes
    assert only(fleet).status == "draining"


def test_candidate_shows_the_right_version():
    other = an_offer(digest="sha256:old", state="loading", slots=9)
    fleet, island = Fleet(), an_island(offers=(other, an_offer(slots=2)), slots=3)
    fleet.saw(island, [ONE])

    assert (only(fleet).state, only(fleet).slots, only(fleet).slots_free) == ("warm", 2, 1)


@pytest.mark.parametrize(
    ("offers", "digest", "state"),
    [((), None, "absent"), ((an_offer(digest="sha256:old"),), "sha256:old", "warm")],
)
def test_candidate_without_the_version(offers, digest, state):
    fleet = Fleet()
    fleet.saw(an_island(offers=offers), [ONE, TWO])

    assert (only(fleet).digest, only(fleet).state) == (digest, state)


@pytest.mark.parametrize(("size", "expected"), [(0, 10.0), (10_000, 10.0), (50_000, 50.0)])
def test_large_fleets_beat_slower(size, expected):
    assert Policy().heartbeat_interval_s(size) == expected


def test_the_way_to_an_islands_region_counts_as_its_own_way_does():
    fleet, island = Fleet(), an_island(region="us", broker_rtt_ms=10.0, offers=(an_offer(CARGO),))
    wanted = Wanted(CARGO.slug, CARGO.digest, prompt_tokens=0, output_items=10)
    fleet.saw(island, [])
    before = reckoned_first_item_ms(wanted, only(fleet))

    fleet.see_regions({"us": 90.0})

    assert reckoned_first_item_ms(wanted, only(fleet)) == before + 90.0
    assert "90 ms of it the way to us" in fleet.choose(wanted, 0.5).why


@pytest.mark.parametrize("looked_max", [0, 64])
def test_a_region_out_of_reach_is_kept_out_until_it_is_back(looked_max):
    fleet, island = Fleet(looked_max), an_island(region="us", offers=(an_offer(CARGO),))
    wanted = Wanted(CARGO.slug, CARGO.digest, prompt_tokens=0, output_items=10)
    fleet.saw(island, [])
    fleet.choose(wanted, 0.5)

    fleet.see_regions({"us": None})
    with pytest.raises(NoPlacement) as refused:
        fleet.choose(wanted, 0.5)
    fleet.see_regions({"us": 5.0})

    assert "us, which this region's broker does not reach" in refused.value.reasons[0]
    assert fleet.choose(wanted, 0.5).island_id == island.id


def test_islands_of_a_large_fleet_are_put_in_order_anew_when_a_region_moves_away():
    fleet = Fleet(looked_max=1)
    near, far = (an_island(region=region, offers=(an_offer(CARGO),)) for region in ("us", "ap"))
    wanted = Wanted(CARGO.slug, CARGO.digest, prompt_tokens=0, output_items=10)
    for island in (near, far):
        fleet.saw(island, [])
    fleet.see_regions({"us": 10.0, "ap": 900.0})
    chosen = {fleet.choose(wanted, chance / 10).island_id for chance in range(10)}

    fleet.see_regions({"us": 900.0, "ap": 10.0})

    assert chosen == {near.id}
    assert {fleet.choose(wanted, chance / 10).island_id for chance in range(10)} == {far.id}
