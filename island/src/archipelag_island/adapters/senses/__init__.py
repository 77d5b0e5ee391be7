"""Senses: what this machine tells of its owner's use of it. What it does not tell is unknown, and never pauses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from archipelag_island.adapters.senses.line import MeteredLine
from archipelag_island.adapters.senses.power import on_battery
from archipelag_island.adapters.senses.presence import Presence
from archipelag_island.adapters.senses.processors import Others
from archipelag_island.clock import Clock
from archipelag_island.domain.owner import Readings

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Roots:
    """Where the kernel tells; others in tests."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")


ROOTS: Final = Roots()


class HostSenses:
    """`pid`: ours; what it and its descendants do is not the owner's."""

    def __init__(self, clock: Clock, pid: int, *, roots: Roots = ROOTS) -> None:
        self._clock = clock
        self._sys = roots.sys
        self._others = Others(roots.proc, pid)
        self._presence = Presence(roots, clock)
        self.line = MeteredLine()

    def read(self) -> Readings:
        return Readings(
            cpu_others=_told(self._others.read),
            input_age_s=_told(self._presence.read),
            on_battery=_told(lambda: on_battery(self._sys)),
            metered=self.line.metered,
            local=self._clock.now().astimezone(),
        )


def _told(sense: Callable[[], T | None]) -> T | None:
    """A kernel that tells in words that nobody expected tells nothing."""
    try:
        return sense()
    except (OSError, ValueError) as error:
        log.debug("not_sensed error=%s", error)
        return None
