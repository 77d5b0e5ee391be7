"""Wishes: what an owner asks of an Island from afar, in addition to what is set on the machine itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from archipelag_contracts.manifest import Price
from archipelag_contracts.units import UCREDITS_PER_CREDIT
from archipelag_contracts.week import EVERY_HOUR

from archipelag_coordinator.errors import InvalidInput

LEAST_PRICES_MAX: Final = 64
SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
LEAST_UCREDITS_MAX: Final = 1_000_000 * UCREDITS_PER_CREDIT
NOTHING: Final = Price()
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_HOURS: Final = 24


@dataclass(frozen=True)
class Wishes:
    """One version of them. The Coordinator places by what it can judge; the rest the Island does itself."""

    version: int = 0
    """0: nobody ever asked for anything. Rises with each change, by the clock, so that it does after a restore too."""
    draining: bool = False
    hours: int = EVERY_HOUR
    """Of the week, by the machine's own clock, in which it may work: see `archipelag_contracts.week`."""
    least: Mapping[str, Price] = field(default_factory=dict)
    """By slug, what a Cargo must pay at least, part by part."""

    def refuse(self, slug: str, price: Price) -> bool:
        """Whether a Cargo at this price pays too little."""
        asked = self.least.get(slug, NOTHING)
        return (
            price.job_ucredits < asked.job_ucredits
            or price.prompt_token_ucredits < asked.prompt_token_ucredits
            or price.output_item_ucredits < asked.output_item_ucredits
        )


NO_WISHES: Final = Wishes()


def by_day(hours: int) -> dict[str, list[int]]:
    """The hours of each day, 0 to 23."""
    return {
        day: [hour for hour in range(DAY_HOURS) if hours >> number * DAY_HOURS + hour & 1]
        for number, day in enumerate(DAYS)
    }


def hours_of(days: Mapping[str, Iterable[int]]) -> int:
    """The other way round; a day that is left out has none."""
    return sum(
        1 << DAYS.index(day) * DAY_HOURS + hour
        for day, hours in days.items()
        for hour in set(hours)
    )


@dataclass(frozen=True)
class Order:
    """A change of wishes. None leaves a part as it is."""

    draining: bool | None = None
    hours: int | None = None
    least: Mapping[str, Price] | None = None
    """Of these Cargos only; one without any part is forgotten."""

    def apply(self, wishes: Wishes, now: datetime) -> Wishes:
        """The next version, or the same one where it says nothing new. Raises InvalidInput."""
        least = dict(wishes.least)
        for slug, price in (self.least or {}).items():
            _check(slug, price)
            if price == NOTHING:
                least.pop(slug, None)
            else:
                least[slug] = price
        if len(least) > LEAST_PRICES_MAX:
            raise InvalidInput({"least_prices": [f"must be of at most {LEAST_PRICES_MAX} Cargos"]})
        hours = wishes.hours if self.hours is None else self.hours
        if not 0 < hours <= EVERY_HOUR:
            raise InvalidInput(
                {"schedule": ["must leave at least one hour: to take no work at all, drain it"]}
            )
        draining = wishes.draining if self.draining is None else self.draining
        changed = replace(wishes, draining=draining, hours=hours, least=least)
        if changed == wishes:
            return wishes
        return replace(changed, version=max(wishes.version + 1, int(now.timestamp() * 1000)))


def _check(slug: str, price: Price) -> None:
    parts = (price.job_ucredits, price.prompt_token_ucredits, price.output_item_ucredits)
    field_name = f"least_prices.{slug[:63]}"
    if not SLUG.fullmatch(slug):
        raise InvalidInput({field_name: ["is not the name of a Cargo"]})
    if not all(0 <= part <= LEAST_UCREDITS_MAX for part in parts):
        most = LEAST_UCREDITS_MAX // UCREDITS_PER_CREDIT
        raise InvalidInput({field_name: [f"each part must be 0 to {most} credits"]})
