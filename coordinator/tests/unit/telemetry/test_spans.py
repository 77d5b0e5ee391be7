"""A job's trace goes on wherever the job does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from archipelag_contracts.ids import JobId
from archipelag_contracts.traces import Tracer
from archipelag_coordinator.adapters.telemetry.spans import Spans
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.services.adopt import adopt
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.testing.fakes import FakeClock
from archipelag_coordinator.testing.worlds import a_scene
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

NOWHERE = "http://127.0.0.1:9/v1/traces"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FOLLOWED = f"00-{TRACE}-{SPAN}-01"


@dataclass
class Followed:
    """One process's spans, and what came of them."""

    spans: Spans
    told: InMemorySpanExporter

    def named(self) -> dict[str, ReadableSpan]:
        return {one.name: one for one in self.told.get_finished_spans()}


@pytest.fixture
def followed() -> Iterator[list[Followed]]:
    """Two processes."""
    tracers = [Tracer("test", NOWHERE) for _ in range(2)]
    exporters = [InMemorySpanExporter() for _ in tracers]
    for tracer, exporter in zip(tracers, exporters, strict=True):
        tracer._provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield [Followed(Spans(t, FakeClock()), e) for t, e in zip(tracers, exporters, strict=True)]
    for tracer in tracers:
        tracer._provider._active_span_processor._span_processors = ()  # Nobody listens there.
        tracer.close()


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


async def test_the_trace_goes_on_where_the_job_goes_on(followed: list[Followed]) -> None:
    here, there = followed
    scene = await a_scene()
    await scene.island()
    await scene.island()
    scene.world = replace(scene.world, traces=here.spans)
    with here.spans.request("POST", FOLLOWED):
        job = await scene.submit(interactive=False)
    job = await dispatch(scene.world, job.id)
    other = replace(scene.another(), traces=there.spans)

    await adopt(other, job.id, scene.world.home)
    await failover(other, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    await dispatch(other, job.id)

    request, spans = here.named()["POST"], there.named()
    assert set(spans) >= {"adopt", "place", "assign"}
    assert {trace_of(spans[name]) for name in ("adopt", "place", "assign")} == {TRACE}
    assert request.context is not None
    above = spans["adopt"].parent
    assert above is not None and above.span_id == request.context.span_id
    assert there.spans.example(job.id, 0.5) is not None, "its figures lead to the same trace"


async def test_a_job_that_nobody_followed_is_not_followed_elsewhere(
    followed: list[Followed],
) -> None:
    _, there = followed
    scene = await a_scene()
    await scene.island()
    job = await scene.running(interactive=False)
    other = replace(scene.another(), traces=there.spans)

    await adopt(other, job.id, scene.world.home)

    assert job.trace == ""
    assert there.named() == {}


@pytest.mark.parametrize(
    "stored", ["", "00", "x-y-z-0q", FOLLOWED + "-more", FOLLOWED.upper(), "00-" + "é" * 52]
)
def test_what_is_no_context_begins_nothing(followed: list[Followed], stored: str) -> None:
    spans = followed[0].spans

    spans.resume(JobId("job_1"), stored)

    assert spans.example(JobId("job_1"), 0.1) is None
