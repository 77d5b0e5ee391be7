"""Following a request from part to part: W3C trace context between them, OpenTelemetry within each.

OpenTelemetry's SDK is an extra, looked for only where somebody asks for traces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

TRACEPARENT: Final = "traceparent"
TRACEPARENT_MAX: Final = 128
QUEUE_MAX: Final = 2_048
"""Spans that wait to be sent. More are dropped: whoever watches never holds up what is watched."""
SEND_S: Final = 5.0


class TracesMissing(Exception):
    """OpenTelemetry is not installed here."""


class Tracer:
    """Spans of one process, sent to one address. Thread-safe; `close` sends what waits."""

    def __init__(
        self,
        service: str,
        url: str,
        *,
        sampled: float = 0.0,
        about: Mapping[str, str] | None = None,
    ) -> None:
        """`sampled` is which part is followed where no caller has decided it. Raises TracesMissing."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import SpanLimits, TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        except ImportError as error:
            raise TracesMissing(
                f"traces need OpenTelemetry: install {service} with its extra `traces`"
            ) from error
        # Not the default resource: that reads the environment, and names the machine and its command line.
        named = Resource({"service.name": service, **(about or {})})
        self._provider = TracerProvider(
            resource=named,
            sampler=ParentBased(TraceIdRatioBased(sampled)),
            span_limits=SpanLimits(max_span_attributes=32, max_span_attribute_length=200),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=url, timeout=SEND_S)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUE_MAX, schedule_delay_millis=1_000)
        )
        self._tracer = self._provider.get_tracer("archipelag")

    @contextmanager
    def span(
        self, name: str, parent: Context | None = None, /, **attributes: str | int
    ) -> Iterator[Span]:
        """Beneath the current span, or `parent`. An error that passes marks it by its kind and by nothing else:
        messages may hold what a customer wrote."""
        from opentelemetry.trace import Status, StatusCode

        with self._tracer.start_as_current_span(
            name,
            context=parent,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    @contextmanager
    def within(self, traceparent: str) -> Iterator[None]:
        """What begins inside, tasks too, belongs to what a caller elsewhere named; empty: to nothing."""
        from opentelemetry import context

        token = context.attach(read(traceparent))
        try:
            yield
        finally:
            context.detach(token)

    def carried(self) -> str:
        """The current span, for another part to go on from; empty where there is none."""
        return carried()

    def trace_id(self) -> str:
        return trace_id()

    def close(self) -> None:
        """Sends what waits, for a while. Blocks: call it off the loop."""
        self._provider.shutdown()


def read(traceparent: str) -> Context:
    """A context from W3C's header; an empty one where that cannot be read."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if len(traceparent) > TRACEPARENT_MAX:
        return Context()
    return TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent}, Context())


def carried() -> str:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(TRACEPARENT, "")


def trace_id() -> str:
    """Of the current span, as 32 hexadecimal digits; empty where there is none."""
    from opentelemetry.trace import get_current_span

    found = get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else ""
