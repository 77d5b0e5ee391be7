"""What a doctor found, an operator's or an Island's: one thing, how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works; with the advice it works better, or longer."""
    FAIL = "fail"
    """It does not work, or not as it was set."""


@dataclass(frozen=True)
class Finding:
    what: str
    state: State
    found: str
    advice: str = ""

    @property
    def well(self) -> bool:
        return self.state is not State.FAIL


def ok(what: str, found: str) -> Finding:
    return Finding(what, State.OK, found)


def warn(what: str, found: str, advice: str) -> Finding:
    return Finding(what, State.WARN, found, advice)


def fail(what: str, found: str, advice: str) -> Finding:
    return Finding(what, State.FAIL, found, advice)


def looked_at(what: str, well: bool, found: str, advice: str = "") -> Finding:
    """By whether it is well: what is, and comes with advice all the same, is a warning."""
    if not well:
        return Finding(what, State.FAIL, found, advice)
    return Finding(what, State.WARN if advice else State.OK, found, advice)
