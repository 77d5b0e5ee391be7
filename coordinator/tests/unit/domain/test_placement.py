"""Who gets a job: rules that refuse with a reason, preferences that rank."""

import pytest
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.placement import (
    REASONS_MAX,
    Wanted,
    first_refusal,
    place,
    score,
)
from archipelag_coordinator.domain.wishes import Wishes
from archipelag_coordinator.errors import NoPlacement
from archipelag_coordinator.testing.builders import a_candidate, a_cargo, an_id

CARGO = a_cargo()


def wanted(**changes):
    sane = {"slug": CARGO.slug, "digest": CARGO.digest, "prompt_tokens": 100, "output_items": 50}
    return Wanted(**sane | changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"approved": False}, "awaits approval"),
        ({"status": "draining"}, "is draining"),
        ({"digest": None}, "does not offer"),
        ({"digest": "sha256:other"}, "offers another version"),
        ({"state": "loading"}, "has llm-chat loading"),
        ({"state": "failed", "startable": True}, "has llm-chat failed"),
        ({"state": "failed", "reason": "no memory"}, "failed: no memory"),
        ({"slots_free": 0}, "slot"),
    ],
)
def test_rule_refuses_with_a_reason(changes, reason):
    with pytest.raises(NoPlacement) as refused:
        place(wanted(), [a_candidate(name="here", **changes)], 0.0)

    assert len(refused.value.reasons) == 1
    assert refused.value.reasons[0].startswith("here ") and reason in refused.value.reasons[0]


CHEAP = Price(Ucredits(0), Ucredits(20), Ucredits(100))


@pytest.mark.parametrize(
    ("least", "refused"),
    [
        ({}, False),
        ({CARGO.slug: CHEAP}, False),
        ({CARGO.slug: Price(output_item_ucredits=Ucredits(101))}, True),
        ({CARGO.slug: Price(prompt_token_ucredits=Ucredits(21))}, True),
        ({CARGO.slug: Price(job_ucredits=Ucredits(1))}, True),
        ({"another": Price(job_ucredits=Ucredits(1))}, False),
    ],
)
def test_nobody_works_for_less_than_they_ask_for_in_any_part(least, refused):
    island = a_candidate(name="here", wishes=Wishes(1, least=least))

    refusal = first_refusal(wanted(price=CHEAP), island)

    told = ("is_paid_enough", "asks for more than llm-chat pays")
    assert refusal == (told if refused else None)


def test_island_that_lost_the_job_is_avoided():
    here, there = a_candidate(), a_candidate(items_per_s=1.0)

    chosen = place(wanted(avoid=frozenset({here.island_id})), [here, there], 0.0)

    assert chosen.island_id == there.island_id
    assert chosen.verdicts[0].reason == "" and chosen.verdicts[1].reason


def test_nobody_at_all():
    with pytest.raises(NoPlacement) as refused:
        place(wanted(), [], 0.0)

    assert refused.value.reasons == []


@pytest.mark.parametrize(
    "worse",
    [
        {"broker_rtt_ms": 900.0},
        {"first_item_ms": 2000.0},
        {"prompt_tokens_per_s": 10.0},
        {"items_per_s": 2.0},
        {"slots_free": 1},
        {"load": 1.0},
    ],
)
def test_worse_in_one_thing_ranks_lower(worse):
    assert score(wanted(), a_candidate(**worse)) < score(wanted(), a_candidate())


def test_clearly_best_is_chosen_whatever_the_chance():
    best = a_candidate(name="best")
    slow = a_candidate(items_per_s=1.0, first_item_ms=3000.0, load=1.0)

    chosen = {place(wanted(), [slow, best], c / 10).island_id for c in range(10)}

    assert chosen == {best.island_id}


def test_equals_share_and_the_freer_of_two_wins():
    equals = [a_candidate(island_id=an_id("isl")) for _ in range(4)]
    busy = a_candidate(slots=100, slots_free=99)
    freer = a_candidate(slots=101, slots_free=100)

    shared = {place(wanted(), equals, c / 100).island_id for c in range(100)}
    freest = {place(wanted(), [busy, freer], c / 100).island_id for c in range(100)}

    assert len(shared) >= 3
    assert freest == {freer.island_id}


def test_two_who_choose_at_once_among_two_alike_do_not_both_choose_the_same():
    alike = [a_candidate(name="a", broker_rtt_ms=5.0), a_candidate(name="b", broker_rtt_ms=6.0)]

    chosen = [place(wanted(), alike, (n + 0.5) / 20).island_id for n in range(20)]

    assert sorted(chosen.count(one.island_id) for one in alike) == [10, 10]


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.99])
def test_a_near_island_has_its_second_job_before_a_far_one_has_its_first(chance):
    near = a_candidate(broker_rtt_ms=4.0, first_item_ms=30.0, slots=2, slots_free=1)
    far = a_candidate(broker_rtt_ms=320.0, first_item_ms=30.0, slots=2, slots_free=2)

    assert place(wanted(prompt_tokens=10), [near, far], chance).island_id == near.island_id


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.99])
def test_of_two_that_are_as_near_the_idle_one_has_the_job(chance):
    idle = a_candidate(slots=2, slots_free=2)
    half = a_candidate(slots=2, slots_free=1)

    assert place(wanted(), [half, idle], chance).island_id == idle.island_id


def test_island_without_measurements_can_be_placed():
    fresh = a_candidate(items_per_s=0.0, first_item_ms=0.0, prompt_tokens_per_s=0.0, slots=1)

    assert place(wanted(), [fresh], 0.5).why.startswith("island: first item expected")


def test_reasons_are_bounded():
    crowd = [a_candidate(status="silent") for _ in range(50)]

    with pytest.raises(NoPlacement) as refused:
        place(wanted(), crowd, 0.0)

    assert len(refused.value.reasons) == REASONS_MAX


def test_answer_is_continued_in_its_class_even_by_a_slower_island():
    fast = a_candidate(name="fast", determinism_class="b", items_per_s=500.0)
    same = a_candidate(
        name="same", determinism_class="a", items_per_s=1.0, first_item_ms=9_000.0, slots_free=1
    )

    placed = place(wanted(determinism_class="a"), [fast, same], 0.0)
    begun = place(wanted(), [fast, same], 0.0)

    assert (placed.island_id, placed.determinism_class) == (same.island_id, "a")
    assert placed.why.endswith("; continues in the same determinism class")
    assert (begun.island_id, begun.determinism_class) == (fast.island_id, "b")
    assert "class" not in begun.why


@pytest.mark.parametrize(("other", "said"), [("b", "class b"), ("", "class unknown")])
def test_answer_is_continued_in_another_class_rather_than_not_at_all_and_says_so(other, said):
    placed = place(wanted(determinism_class="a"), [a_candidate(determinism_class=other)], 0.0)

    assert f"continues in {said}, where the text may differ" in placed.why


@pytest.mark.parametrize(("other", "fits"), [("a", True), ("b", False), ("", False)])
def test_strict_network_waits_for_the_same_class(other, fits):
    strict = wanted(determinism_class="a", same_class_only=True)
    island = a_candidate(name="here", determinism_class=other)

    if fits:
        assert place(strict, [island], 0.0).island_id == island.island_id
    else:
        with pytest.raises(NoPlacement) as refused:
            place(strict, [island], 0.0)
        assert "another determinism class" in refused.value.reasons[0]


def test_strict_network_begins_an_answer_anywhere():
    assert place(wanted(same_class_only=True), [a_candidate(determinism_class="b")], 0.0)


def test_a_cargo_that_an_assignment_starts_will_do_and_a_warm_one_is_better() -> None:
    cold = a_candidate(name="cold", state="available", startable=True)
    quick = a_candidate(name="quick", state="available", startable=True, start_ms=20.0)
    warm = a_candidate(name="warm")

    alone = place(wanted(), [cold], 0.0)

    assert alone.island_id == cold.island_id
    assert score(wanted(), warm) > score(wanted(), quick) > score(wanted(), cold)
