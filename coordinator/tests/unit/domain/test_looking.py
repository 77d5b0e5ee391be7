"""Placement that looks at some of the Islands, held to placement that looks at all of them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import Epoch
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.island import IslandStatus
from archipelag_coordinator.domain.placement import NEAR_EQUAL, Placement, Wanted, place
from archipelag_coordinator.domain.prefixes import Prefix
from archipelag_coordinator.domain.wishes import NO_WISHES, Wishes
from archipelag_coordinator.errors import NoPlacement
from archipelag_coordinator.testing.builders import a_cargo, a_job, an_island, an_offer
from archipelag_coordinator.testing.fakes import START
from hypothesis import given, settings
from hypothesis import strategies as st

CARGO = a_cargo()
KEYS = [(a_job().id, Epoch(1)) for _ in range(3)]
ISLANDS = [an_island() for _ in range(8)]
CLASSES = ["", "avx2", "avx512"]

PRICE = CARGO.manifest.price
DEAR = Wishes(1, least={CARGO.slug: replace(PRICE, output_item_ucredits=Ucredits(10**9))})
AWAY = Wishes(2, draining=True)

offers = st.builds(
    an_offer,
    slug=st.sampled_from([CARGO.slug] * 8 + ["other"]),
    digest=st.sampled_from([CARGO.digest] * 8 + ["sha256:old"]),
    state=st.sampled_from(["warm"] * 8 + ["available", "loading", "failed"]),
    startable=st.booleans(),
    start_ms=st.sampled_from([0.0, 20.0, 900.0]),
    slots=st.integers(2, 4),
    items_per_s=st.floats(0, 300),
    first_item_ms=st.floats(0, 2_000),
    prompt_tokens_per_s=st.sampled_from([0.0, 10.0, 150.0, 1_000.0, 20_000.0]),
    determinism_class=st.sampled_from(CLASSES),
    prefixes=st.lists(st.integers(1, 4), max_size=3).map(tuple),
)
told = st.fixed_dictionaries(
    {
        "offers": st.lists(offers, min_size=1, max_size=2).map(tuple),
        "slots": st.integers(1, 4),
        "load": st.floats(0, 1),
        "broker_rtt_ms": st.floats(0, 400),
        "approved": st.sampled_from([True] * 12 + [False]),
        "status": st.sampled_from([IslandStatus.READY] * 12 + [IslandStatus.DRAINING]),
        "wishes": st.sampled_from([NO_WISHES] * 8 + [DEAR, AWAY]),
    }
)
which = st.integers(0, len(ISLANDS) - 1)
key = st.sampled_from(KEYS)
events = st.one_of(
    st.tuples(st.just("saw"), which, told, st.sets(key, max_size=3)),
    st.tuples(st.just("load"), which, told),
    st.tuples(st.sampled_from(["assigned", "freed", "handed_on"]), which, key),
    st.tuples(st.sampled_from(["doubt", "forget"]), which),
    st.tuples(st.just("accepted"), which, key, st.lists(st.integers(1, 4), max_size=3)),
    st.tuples(st.just("kept"), which, st.floats(0, 2)),
)
some = st.sets(which, max_size=3).map(lambda ns: frozenset(ISLANDS[n].id for n in ns))
wishes = st.builds(
    Wanted,
    slug=st.just(CARGO.slug),
    digest=st.just(CARGO.digest),
    prompt_tokens=st.sampled_from([0, 15, 23, 100, 500, 4_000]) | st.integers(0, 300_000),
    output_items=st.just(50),
    avoid=some,
    lost=some,
    determinism_class=st.sampled_from(CLASSES),
    same_class_only=st.booleans(),
    price=st.sampled_from([PRICE, PRICE, PRICE, None]),
    prefixes=st.sampled_from(
        [(), (Prefix(1, 20),), (Prefix(1, 20), Prefix(2, 400)), (Prefix(3, 9), Prefix(4, 90_000))]
    ),
)
chances = st.floats(0, 1, exclude_max=True)


def tell(fleet, number, event):
    """`number` makes each later than those before."""
    name, n, *rest = event
    island, now = ISLANDS[n], START + timedelta(seconds=number)
    match name:
        case "saw":
            fleet.saw(replace(island, **rest[0], seen_at=now), rest[1])
        case "load":
            fleet.load([replace(island, **rest[0], seen_at=now)])
        case "doubt":
            fleet.doubt(island.id, now)
        case "forget":
            fleet.forget(island.id)
        case "accepted":
            fleet.accepted(island.id, rest[0], [Prefix(name, 10 * name) for name in rest[1]])
        case "kept":
            fleet.kept(island.id, CARGO.slug, rest[0])
        case _:
            getattr(fleet, name)(island.id, rest[0])


@settings(max_examples=150, deadline=None)
@given(
    began=st.lists(told, min_size=len(ISLANDS), max_size=len(ISLANDS)),
    went_on=st.lists(st.tuples(events, wishes, chances), max_size=20),
    wanted=wishes,
    chance=chances,
)
def test_who_is_found_by_looking_at_some_is_as_good_as_the_best_of_all(
    began, went_on, wanted, chance
):
    fleet = Fleet(looked_max=2)
    fleet.load(
        replace(island, **said, seen_at=START) for island, said in zip(ISLANDS, began, strict=True)
    )
    check(fleet, wanted, chance)

    for number, (event, another, other_chance) in enumerate(went_on):
        tell(fleet, 1 + number, event)
        check(fleet, wanted, chance)
        check(fleet, another, other_chance)


def check(fleet, wanted, chance):
    candidates = fleet.scan(wanted, chance)
    by_all = placed(lambda: place(wanted, candidates, chance))
    found = placed(lambda: fleet.choose(wanted, chance))
    if not isinstance(by_all, Placement) or not isinstance(found, Placement):
        assert found == by_all
        return

    fit = {v.island_id: v.score for v in by_all.verdicts if v.score is not None}
    assert found.score >= max(fit.values()) - NEAR_EQUAL - 1e-4
    assert found.score == fit[found.island_id]
    assert (found.asked, found.fit, found.kept_out) == (by_all.asked, by_all.fit, by_all.kept_out)
    assert {v.island_id: v.score for v in found.verdicts if v.score}.items() <= fit.items()
    assert found.looked <= by_all.fit + 2 * len(wanted.avoid | wanted.lost)


def placed(find):
    """Whom it found, or in any order why nobody."""
    try:
        return find()
    except NoPlacement as nobody:
        return sorted(nobody.reasons)


def large_fleet(count, **changes):
    fleet = Fleet()
    fleet.load([an_island(**changes) for _ in range(count)])
    return fleet


def test_of_a_large_fleet_some_are_looked_at_and_it_is_said():
    fleet = large_fleet(500)

    placed = fleet.choose(Wanted(CARGO.slug, CARGO.digest, 100, 50), 0.5)

    assert (placed.asked, placed.fit, placed.looked) == (500, 500, 64)
    assert "500 of 500 Islands could take it, 64 looked at" in placed.why
    assert placed.island_id in {verdict.island_id for verdict in placed.verdicts}


def test_equals_of_a_large_fleet_share_the_work_whoever_came_first():
    fleet = large_fleet(400)
    wanted = Wanted(CARGO.slug, CARGO.digest, 100, 50)

    chosen = {fleet.choose(wanted, n / 200).island_id for n in range(200)}

    assert len(chosen) > 120


def test_a_crowd_of_jobs_fills_every_slot_of_a_large_fleet_and_no_more():
    fleet = large_fleet(100, slots=2)
    wanted = Wanted(CARGO.slug, CARGO.digest, 100, 50)

    for number in range(200):
        placed = fleet.choose(wanted, number * 0.618 % 1.0)
        fleet.assigned(placed.island_id, (a_job().id, Epoch(1)))

    assert {fleet.busy(island.id) for island in fleet.islands()} == {2}
    with pytest.raises(NoPlacement) as refused:
        fleet.choose(wanted, 0.0)
    assert len(refused.value.reasons) == 20 and "busy" in refused.value.reasons[0]


def test_what_was_not_asked_for_the_longest_is_forgotten_and_can_be_asked_for_again():
    fleet = large_fleet(80)
    for tokens in [*(2**n for n in range(18)), *(3**n for n in range(11))]:
        for determinism_class in ("", "a", "b"):
            fleet.choose(
                Wanted(CARGO.slug, CARGO.digest, tokens, 5, determinism_class=determinism_class),
                0.1,
            )
    for number in range(80):
        with pytest.raises(NoPlacement):
            fleet.choose(Wanted(f"absent-{number}", "sha256:none", 1, 1), 0.0)

    assert fleet.choose(Wanted(CARGO.slug, CARGO.digest, 100, 50), 0.0).fit == 80
    assert len(fleet._shelves) == 64
