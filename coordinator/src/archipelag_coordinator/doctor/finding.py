"""What the doctor found: one thing, how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works; somebody should look at it before it no longer does."""
    FAIL = "fail"
    """The network does not work, or not as it was set."""


@dataclass(frozen=True)
class Finding:
    what: str
    state: State
    found: str
    advice: str = ""


def ok(what: str, found: str) -> Finding:
    return Finding(what, State.OK, found)


def warn(what: str, found: str, advice: str) -> Finding:
    return Finding(what, State.WARN, found, advice)


def fail(what: str, found: str, advice: str) -> Finding:
    return Finding(what, State.FAIL, found, advice)
