"""`Traces` over OpenTelemetry: remembers which request each job belongs to, as long as this process lives."""

from __future__ import annotations

import re
from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from archipelag_contracts import traces
from archipelag_contracts.ids import JobId

from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.histogram import Example

if TYPE_CHECKING:
    from opentelemetry.context import Context

KEPT_MAX: Final = 20_000
TRACEPARENT: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
SAMPLED: Final = 1
"""The bit of W3C's flags that says so."""


class Spans:
    """Not for two threads."""

    def __init__(self, tracer: traces.Tracer, clock: Clock) -> None:
        self._tracer = tracer
        self._clock = clock
        self._kept: OrderedDict[JobId, str] = OrderedDict()
        """Job → traceparent of what it was submitted in."""

    def span(
        self, name: str, job: JobId | None = None, **attributes: str | int
    ) -> AbstractContextManager[object]:
        if job is None:
            return self._tracer.span(name, **attributes)
        return self._tracer.span(name, self._parent(job), job_id=job, **attributes)

    def request(self, name: str, traceparent: str) -> AbstractContextManager[object]:
        return self._tracer.span(name, traces.read(traceparent))

    def keep(self, job: JobId) -> None:
        self.resume(job, traces.carried())

    def resume(self, job: JobId, traceparent: str) -> None:
        if TRACEPARENT.fullmatch(traceparent):
            self._kept[job] = traceparent
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)

    def carried(self) -> str:
        return traces.carried()

    def example(self, job: JobId, seconds: float) -> Example | None:
        kept = self._kept.get(job)
        if kept is None:
            return None
        _, trace_id, _, flags = kept.split("-")
        if not int(flags, 16) & SAMPLED:
            return None
        return Example(seconds, trace_id, self._clock.now().timestamp())

    def _parent(self, job: JobId) -> Context | None:
        """None: what is going on here. The loops go on with many jobs, and are part of none."""
        if traces.trace_id():
            return None
        kept = self._kept.get(job)
        return traces.read(kept) if kept else None
