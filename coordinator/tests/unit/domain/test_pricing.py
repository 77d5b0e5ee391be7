"""Prices, shares and rounding, to the micro-credit."""

import pytest
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.pricing import Shares, charge, share_out, split
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("job", "prompt", "output", "tokens", "items", "expected"),
    [
        (0, 0, 0, 10, 10, 0),
        (5, 0, 0, 10, 10, 5),
        (5, 2, 0, 10, 10, 25),
        (0, 0, 3, 10, 7, 21),
        (1, 2, 3, 4, 5, 24),
        (1, 2, 3, 0, 0, 1),
    ],
)
def test_charge(job, prompt, output, tokens, items, expected):
    price = Price(Ucredits(job), Ucredits(prompt), Ucredits(output))

    assert charge(price, tokens, items) == expected


@pytest.mark.parametrize(
    ("amount", "fees_bp", "insurance_bp", "expected"),
    [
        (10_000, 1_000, 500, (8_500, 1_000, 500)),
        (19, 1_000, 500, (18, 1, 0)),
        (9, 1_000, 500, (9, 0, 0)),
        (100, 0, 0, (100, 0, 0)),
        (100, 10_000, 0, (0, 100, 0)),
    ],
)
def test_split_rounds_for_the_islands(amount, fees_bp, insurance_bp, expected):
    parts = split(Ucredits(amount), Shares(fees_bp, insurance_bp))

    assert (parts.islands, parts.fees, parts.insurance) == expected
    assert parts.total == amount


@pytest.mark.parametrize("shares", [(-1, 0), (0, -1), (9_000, 1_001)])
def test_impossible_shares_cannot_be_written(shares):
    with pytest.raises(AssertionError):
        Shares(*shares)


@pytest.mark.parametrize(
    ("amount", "weights", "expected"),
    [
        (10, [1, 1], [5, 5]),
        (10, [1, 2], [3, 7]),
        (2, [1, 1, 1], [1, 1, 0]),
        (100, [0, 7], [0, 100]),
        (5, [0, 0], [5, 0]),
        (0, [], []),
    ],
)
def test_share_out(amount, weights, expected):
    assert share_out(Ucredits(amount), weights) == expected


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
def test_nothing_is_lost_in_sharing_out(amount, weights):
    parts = share_out(Ucredits(amount), weights)

    assert sum(parts) == amount and min(parts) >= 0
