"""Following requests: what another part says is believed only as far as it can be read."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
from archipelag_contracts.traces import Tracer, TracesMissing, read
from opentelemetry.trace import get_current_span

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "nonsense",
        GOOD.upper() + "-",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        GOOD.replace("00-4b", "ff-4b"),
        GOOD + "\r\nx: y",
        "00-" + "4" * 4096,
        "\x00" * 55,
    ],
)
def test_a_traceparent_that_cannot_be_read_is_none(sent: str) -> None:
    assert not get_current_span(read(sent)).get_span_context().is_valid


def test_a_traceparent_is_read() -> None:
    found = get_current_span(read(GOOD)).get_span_context()

    assert f"{found.trace_id:032x}" == GOOD.split("-")[1]
    assert found.trace_flags.sampled


def test_an_error_is_told_by_its_kind_alone() -> None:
    tracer = Tracer("test", "http://127.0.0.1:9/v1/traces")
    told: list[Any] = []
    tracer._provider.add_span_processor(_Kept(told))

    with tracer.within(GOOD), pytest.raises(ValueError, match="secret"), tracer.span("work"):
        raise ValueError("a customer's secret")

    (span,) = told
    assert span.status.description == "ValueError"
    assert not span.events
    assert f"{span.parent.trace_id:032x}" == GOOD.split("-")[1]


def test_nothing_begins_by_itself_unless_it_is_asked_for() -> None:
    tracer = Tracer("test", "http://127.0.0.1:9/v1/traces")

    with tracer.within(""), tracer.span("work") as span:
        assert not span.is_recording()
        assert not int(tracer.carried()[-2:], 16) & 1
    assert tracer.carried() == ""


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("opentelemetry.sdk"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(TracesMissing, match="extra `traces`"):
        Tracer("archipelag-island", "http://127.0.0.1:9/v1/traces")


class _Kept:
    def __init__(self, told: list[Any]) -> None:
        self._told = told

    def on_start(self, *_: Any, **__: Any) -> None: ...

    def on_end(self, span: Any) -> None:
        self._told.append(span)

    def _on_ending(self, span: Any) -> None: ...

    def shutdown(self) -> None: ...

    def force_flush(self, *_: Any) -> bool:
        return True
