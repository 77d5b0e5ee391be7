"""An Island's moves and heartbeats."""

from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_coordinator.domain.island import MOVES, Beat, IslandStatus
from archipelag_coordinator.errors import IllegalMove, IslandRefused
from archipelag_coordinator.testing.builders import an_island, an_offer
from archipelag_coordinator.testing.fakes import START

S = IslandStatus
ENDS = {S.SUSPENDED, S.RETIRED, S.BANNED}
ACTS = {
    "fall_silent": S.SILENT,
    "lose": S.LOST,
    "suspend": S.SUSPENDED,
    "restore": S.ENROLLED,
    "retire": S.RETIRED,
    "ban": S.BANNED,
}
LATER = START + timedelta(seconds=10)


def a_beat(**changes):
    sane = {
        "sequence": 1,
        "boot_id": "boot-1",
        "offers": (an_offer(slots=2),),
        "slots": 2,
        "draining": False,
        "broker_rtt_ms": 9.0,
        "load": 0.5,
    }
    return Beat(**sane | changes)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("status", IslandStatus)
def test_moves_are_those_of_the_table(status, act):
    island = an_island(status=status)

    if ACTS[act] in MOVES[status]:
        assert getattr(island, act)().status is ACTS[act]
    else:
        with pytest.raises(IllegalMove):
            getattr(island, act)()


@pytest.mark.parametrize("status", IslandStatus)
def test_heartbeat_makes_ready_unless_cut_off(status):
    island = an_island(status=status)

    if status in ENDS:
        assert not island.may_connect
        with pytest.raises(IslandRefused):
            island.beat(a_beat(), LATER)
    else:
        assert island.may_connect
        assert island.beat(a_beat(), LATER).status is S.READY
        assert island.beat(a_beat(draining=True), LATER).status is S.DRAINING


def test_heartbeat_tells_what_it_has():
    island = an_island().beat(a_beat(capabilities={"region": "us-east"}), LATER)

    assert (island.seen_at, island.slots, island.load, island.broker_rtt_ms) == (LATER, 2, 0.5, 9.0)
    assert (island.region, island.capabilities) == ("us-east", {"region": "us-east"})


def test_heartbeat_without_capabilities_keeps_them():
    before = an_island()

    after = before.beat(a_beat(), LATER)

    assert (after.capabilities, after.region) == (before.capabilities, before.region)


@pytest.mark.parametrize(
    ("sequence", "boot", "counts"), [(0, "boot-1", 0), (1, "boot-1", 1), (0, "b2", 1)]
)
def test_replayed_heartbeat_changes_nothing(sequence, boot, counts):
    island = an_island()

    after = island.beat(a_beat(sequence=sequence, boot_id=boot), LATER)

    assert (after is not island) == bool(counts)


@pytest.mark.parametrize(("silent_s", "counts"), [(10, 0), (59, 0), (60, 1), (3600, 1)])
def test_heartbeat_of_an_earlier_boot_counts_only_where_the_newer_one_is_silent(silent_s, counts):
    island = an_island().beat(a_beat(sequence=100, boot_id="boot-2"), LATER)
    now = LATER + timedelta(seconds=silent_s)

    after = island.beat(a_beat(sequence=99, boot_id="boot-1"), now)

    assert (after is not island) == bool(counts)


@pytest.mark.parametrize("status", IslandStatus)
@pytest.mark.parametrize("approved", [True, False])
def test_accepts_work_when_ready_and_approved(status, approved):
    island = an_island(status=status, approved=approved)

    assert island.accepts_work == (approved and status is S.READY)
    assert island.approve().approved
    assert replace(island, approved=True) == island.approve()
