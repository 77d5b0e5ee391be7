"""What a check found: passed, failed with what to do about it, or not asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    LEFT_OUT = "left out"
    """What it checks is not promised by this Cargo."""


@dataclass(frozen=True)
class Finding:
    name: str
    outcome: Outcome
    said: str = ""
    """What was seen."""
    todo: str = ""
    """What its author can do."""

    @property
    def passed(self) -> bool:
        return self.outcome is not Outcome.FAILED


class Failed(Exception):
    """A check did not pass."""

    def __init__(self, said: str, todo: str = "") -> None:
        super().__init__(said)
        self.said = said
        self.todo = todo


class LeftOut(Exception):
    """There is nothing to check; the text says why."""
