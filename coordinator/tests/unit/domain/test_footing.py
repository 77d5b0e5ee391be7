"""How long the store has been there: a gap between two signs of life begins the count anew."""

from archipelag_coordinator.domain.footing import GAP_S, Footing


def test_it_counts_from_the_first_sign_of_life() -> None:
    footing = Footing()
    before = footing.firm_for_s(100.0)

    footing.stood(100.0)
    footing.stood(102.0)

    assert before == 0
    assert footing.firm_for_s(103.0) == 3.0


def test_while_the_store_is_away_and_just_after_nothing_counts() -> None:
    footing = Footing()
    footing.stood(0.0)
    footing.stood(5.0)

    away = footing.firm_for_s(5.0 + GAP_S + 0.1)
    footing.stood(60.0)

    assert away == 0
    assert footing.firm_for_s(61.0) == 1.0


def test_a_short_gap_is_none() -> None:
    footing = Footing()
    footing.stood(0.0)
    footing.stood(GAP_S)

    assert footing.firm_for_s(GAP_S + 1) == GAP_S + 1
