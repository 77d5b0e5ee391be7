"""What a started Cargo says on its standard error, in this Island's own log: with the run that it says it in, and no
more than its owner lets it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

MINUTE_S: Final = 60.0


class CargoLog:
    """Of one started Cargo. `lines_max`: a minute; what comes beyond is counted as far as it is read, and said once."""

    def __init__(
        self, cargo: str, lines_max: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._cargo = cargo
        self._lines_max = lines_max
        self._now = now
        self._since = now()
        self._said = 0
        self._left_out = 0
        self.runs: dict[str, str] = {}
        """Those under way here → the trace that each is part of, or empty."""

    def heard(self, line: str) -> None:
        """A line that can be printed, and is no longer than `words` lets it be."""
        if self._now() - self._since >= MINUTE_S:
            if self._left_out:
                log.info("cargo_said_more cargo=%s lines=%d", self._cargo, self._left_out)
            self._since, self._said, self._left_out = self._now(), 0, 0
        if self._said >= self._lines_max:
            self._left_out += 1
            return
        self._said += 1
        if len(self.runs) == 1:
            ((run, trace),) = self.runs.items()
            job, _, epoch = run.partition(".")
            told = "cargo_says cargo=%s job=%s epoch=%s"
            known = (self._cargo, job, epoch)
            if trace:
                log.info(f"{told} trace=%s line=%s", *known, trace, line)
            else:
                log.info(f"{told} line=%s", *known, line)
        else:
            log.info("cargo_says cargo=%s runs=%d line=%s", self._cargo, len(self.runs), line)


def trace_of(traceparent: str) -> str:
    """The trace's id; empty where nobody follows."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""
