"""What the verbs say of the way of a request, for whoever follows it from part to part."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from archipelag_contracts.ids import JobId

from archipelag_coordinator.domain.histogram import Example


class Traces(Protocol):
    """Spans of one request, in this process and beyond. Never raises: a request does not fail since nobody could
    follow it. Attributes are words and numbers of our own, never what a customer wrote."""

    def span(
        self, name: str, job: JobId | None = None, **attributes: str | int
    ) -> AbstractContextManager[object]:
        """What happens inside is a part of what is going on here already; where nothing is, of that job's request."""
        ...

    def request(self, name: str, traceparent: str) -> AbstractContextManager[object]:
        """As `span`, at the door: `traceparent` is what the client sent, or empty."""
        ...

    def keep(self, job: JobId) -> None:
        """What is going on here is what this job's later spans are part of."""
        ...

    def resume(self, job: JobId, traceparent: str) -> None:
        """As `keep`, of a job that another process took; empty: nobody followed it there."""
        ...

    def carried(self) -> str:
        """What another part must be given so that its spans belong to what is going on here; empty: nothing."""
        ...

    def example(self, job: JobId, seconds: float) -> Example | None:
        """This measurement of a job, if the job is being followed."""
        ...


class NoTraces:
    """Nobody follows."""

    _NOTHING: Final = nullcontext()

    def span(
        self,
        name: str,  # noqa: ARG002
        job: JobId | None = None,  # noqa: ARG002
        **attributes: str | int,  # noqa: ARG002
    ) -> AbstractContextManager[object]:
        return self._NOTHING

    def request(self, name: str, traceparent: str) -> AbstractContextManager[object]:  # noqa: ARG002
        return self._NOTHING

    def keep(self, job: JobId) -> None:
        """There is nothing to keep."""

    def resume(self, job: JobId, traceparent: str) -> None:
        """There is nothing to go on with."""

    def carried(self) -> str:
        return ""

    def example(self, job: JobId, seconds: float) -> Example | None:  # noqa: ARG002
        return None
