"""What lets one region's broker join another's, until an operator takes it back for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NUMBER_MAX: Final = 1_000


@dataclass(frozen=True, order=True)
class Link:
    """`number`: counted up when one was taken back and the region may join again, by keys that nobody has seen."""

    region: str
    number: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= NUMBER_MAX:
            raise ValueError(f"the number of a link is 1 to {NUMBER_MAX}, not {self.number}")

    def __str__(self) -> str:
        return self.region if self.number == 1 else f"{self.region} {self.number}"
