"""What an owner may ask for from afar, and what no order makes of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import Ucredits
from archipelag_contracts.week import EVERY_HOUR
from archipelag_coordinator.domain.wishes import (
    LEAST_PRICES_MAX,
    LEAST_UCREDITS_MAX,
    NO_WISHES,
    Order,
    Wishes,
)
from archipelag_coordinator.errors import InvalidInput
from archipelag_coordinator.testing.fakes import START

DEAR = Price(output_item_ucredits=Ucredits(120))


def test_an_order_changes_what_it_names_and_leaves_the_rest() -> None:
    first = Order(hours=0xFF, least={"llm-chat": DEAR}).apply(NO_WISHES, START)

    second = Order(draining=True).apply(first, START + timedelta(seconds=1))

    assert (second.draining, second.hours, second.least) == (True, 0xFF, {"llm-chat": DEAR})
    assert second.version == first.version + 1000


def test_the_same_again_is_no_new_version() -> None:
    wishes = Order(draining=True).apply(NO_WISHES, START)

    assert Order(draining=True, hours=EVERY_HOUR).apply(wishes, START + timedelta(days=1)) is wishes


def test_versions_rise_though_the_clock_goes_back() -> None:
    wishes = Order(draining=True).apply(NO_WISHES, START)

    again = Order(draining=False).apply(wishes, START - timedelta(days=1))

    assert again.version == wishes.version + 1


def test_a_least_price_without_any_part_is_forgotten() -> None:
    wishes = Order(least={"llm-chat": DEAR, "echo": DEAR}).apply(NO_WISHES, START)

    left = Order(least={"echo": Price()}).apply(wishes, START)

    assert dict(left.least) == {"llm-chat": DEAR}


@pytest.mark.parametrize(
    "order",
    [
        Order(hours=0),
        Order(hours=-1),
        Order(hours=EVERY_HOUR + 1),
        Order(least={"echo": Price(Ucredits(-1))}),
        Order(least={"echo": Price(Ucredits(LEAST_UCREDITS_MAX + 1))}),
        Order(least={"": DEAR}),
        Order(least={"e" * 64: DEAR}),
        Order(least={"\x1b[2J": DEAR}),
        Order(least={f"c{n}": DEAR for n in range(LEAST_PRICES_MAX + 1)}),
    ],
)
def test_absurd_schedules_and_prices_are_refused(order: Order) -> None:
    with pytest.raises(InvalidInput):
        order.apply(Wishes(), START)
