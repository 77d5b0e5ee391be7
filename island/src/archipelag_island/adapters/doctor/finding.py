"""What the doctor found: one thing, whether it is well, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works; with the advice it works better, or longer."""
    FAIL = "fail"
    """It keeps this Island from working, or from doing what its owner set."""


@dataclass(frozen=True)
class Finding:
    what: str
    well: bool
    found: str
    advice: str = ""

    @property
    def state(self) -> State:
        if not self.well:
            return State.FAIL
        return State.WARN if self.advice else State.OK
