"""What is learnt of an Island's first items."""

import math
from random import Random

import pytest
from archipelag_coordinator.domain.foresight import KNOWN_MAX, Foresight
from archipelag_coordinator.testing.builders import an_id

HERE = an_id("isl")


def after(*sights, reckoned=100.0):
    foresight = Foresight()
    for took in sights:
        foresight.learn(HERE, "llm-chat", reckoned, took)
    return foresight.factor(HERE, "llm-chat")


def test_an_island_is_believed_until_it_was_seen():
    assert Foresight().factor(HERE, "llm-chat") == 1.0
    assert 1.1 < after(400.0) < 1.6, "once is not always"


def test_one_that_boasts_is_found_out_and_one_that_is_modest_too():
    assert after(*[400.0] * 40) == pytest.approx(420 / 120, rel=0.1)
    assert after(*[20.0] * 40) == pytest.approx(40 / 120, rel=0.1)


def test_of_another_cargo_nothing_is_said():
    foresight = Foresight()
    foresight.learn(HERE, "llm-chat", 100.0, 4_000.0)

    assert foresight.factor(HERE, "image-gen") == foresight.factor(an_id("isl"), "llm-chat") == 1.0


def test_a_few_outliers_do_not_move_what_many_said():
    chance = Random(3)
    sights = [100 * chance.uniform(0.9, 1.1) for _ in range(200)]
    sights[150::10] = [60_000.0] * 5

    assert after(*sights) == pytest.approx(1.0, abs=0.2)


def test_an_island_that_changed_is_known_anew_soon():
    assert after(*[100.0] * 500, *[400.0] * 30) > 2.8


@pytest.mark.parametrize("took", [math.nan, math.inf, -1.0])
def test_what_cannot_be_is_not_learnt_from(took):
    assert after(took) == 1.0


def test_nothing_makes_it_boundless():
    assert after(*[1e12] * 1_000, reckoned=0.0) == pytest.approx(16)
    foresight = Foresight()
    for number in range(KNOWN_MAX + 5):
        foresight.learn(f"isl_{number}", "llm-chat", 1.0, 500.0)
    assert len(foresight._known) == KNOWN_MAX
