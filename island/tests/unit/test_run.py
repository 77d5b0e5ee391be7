"""A run guards positions, bounds and its one end."""

from __future__ import annotations

from typing import Any

import pytest
from archipelag_contracts.signing import chain
from archipelag_island.domain.attempt import Cause, Ending, Usage
from archipelag_island.domain.run import ITEM_BYTES_MAX, Run
from archipelag_island.domain.usage import Meter, Share
from archipelag_island.runtime import Consumption, RunEnd, RunEvent
from archipelag_island.testing.builders import a_key, an_assignment


def a_run(**changes: Any) -> Run:
    bounds = {"items_max": 10, "bytes_max": 100} | {
        k: changes.pop(k) for k in ("items_max", "bytes_max") if k in changes
    }
    return Run(an_assignment(**changes), **bounds, now=0.0, started_at_ms=0)


def test_items_are_handed_out_once_and_together() -> None:
    run = a_run()
    run.take(RunEvent(prompt_tokens=7), 1.0)
    run.take(RunEvent(0, ("a",), (1,)), 1.0)
    run.take(RunEvent(1, ("b", "c"), (2, 3)), 2.0)

    first = run.flush()

    assert first is not None
    assert (first.first, first.texts, first.tokens, first.prompt_tokens) == (
        0, ("a", "b", "c"), (1, 2, 3), 7,
    )  # fmt: skip
    assert run.flush() is None
    assert run.heard == 2.0


def test_chain_and_report_cover_every_item_however_it_was_sent() -> None:
    run = a_run(first_position=5)
    run.take(RunEvent(5, ("a",), (1,)), 0)
    run.flush()
    run.take(RunEvent(6, ("b",), (2,)), 0)
    run.end(Ending(Cause.COMPLETED, "stop"))
    last = run.last_chunk(Usage())

    report = run.report(Usage(), 1)

    assert (last.first, last.texts, last.next) == (6, ("b",), 7)
    assert report.output_chain == chain([("a", 1), ("b", 2)])
    assert (report.first_position, report.next_position) == (5, 7)
    assert report.texts == ("a", "b")


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (RunEvent(1, ("a",)), Cause.CARGO_FAILED),
        (RunEvent(0, ("a", "b"), (1,)), Cause.CARGO_FAILED),
        (RunEvent(0, ("x" * 101,)), Cause.LIMIT_EXCEEDED),
        (RunEvent(0, ("é" * 51,)), Cause.LIMIT_EXCEEDED),
        (RunEvent(end=RunEnd(error="broke")), Cause.CARGO_FAILED),
        (RunEvent(end=RunEnd("stop")), Cause.COMPLETED),
        (RunEvent(0, ("a",)), None),
    ],
)
def test_what_ends_a_run(event: RunEvent, cause: Cause | None) -> None:
    ending = a_run().take(event, 0)

    assert (ending.cause if ending else None) == cause


def test_cargo_that_says_too_much_is_cut_at_the_limit() -> None:
    run = a_run(items_max=2)

    ending = run.take(RunEvent(0, ("a", "b", "c")), 0)

    assert ending == Ending(Cause.COMPLETED, "length")
    assert run.next == 2


def test_first_wish_to_stop_counts_but_an_attempt_taken_away_is_never_reported() -> None:
    run = a_run()

    assert run.ask_to_stop(Ending(Cause.CANCELLED))
    assert not run.ask_to_stop(Ending(Cause.LEASE_LOST), silent=True)

    assert run.stop_with == Ending(Cause.CANCELLED)
    assert run.silent


def test_report_that_would_not_fit_leaves_its_texts_out() -> None:
    run = a_run(items_max=10**6, bytes_max=10**7)
    run.take(RunEvent(0, ("x" * 1000,) * 1000), 0)
    while run.behind:
        run.flush()
    run.end(Ending(Cause.COMPLETED))
    run.last_chunk(Usage())

    report = run.report(Usage(), 0)

    assert report.texts == ()
    assert report.next_position == 1000


def test_meter_shares_time_and_never_more_than_there_was() -> None:
    meter = Meter(Consumption(cpu_ms=100))
    one, two = a_key(1), a_key(2)
    meter.begin(one, Consumption(cpu_ms=150, read_bytes=1000))
    meter.begin(two, Consumption(cpu_ms=250, read_bytes=1000))

    first = meter.end(one, Consumption(cpu_ms=351, read_bytes=3000, written_bytes=1))
    second = meter.end(two, Consumption(cpu_ms=400, read_bytes=3000, written_bytes=1))

    assert first == Share(cpu_ms=100 + 50, read_bytes=1000)
    assert second == Share(cpu_ms=50 + 50, read_bytes=1000, written_bytes=1)
    assert first.cpu_ms + second.cpu_ms <= 400 - 150


def test_after_a_broken_line_all_is_said_again_and_chained_once() -> None:
    run = a_run(first_position=5)
    run.take(RunEvent(prompt_tokens=7), 0)
    run.take(RunEvent(5, ("a", "b"), (1, 2)), 0)
    run.flush()

    run.say_again()
    run.take(RunEvent(7, ("c",), (3,)), 0)
    again = run.flush()
    run.end(Ending(Cause.COMPLETED, "stop"))
    last = run.last_chunk(Usage())

    assert again is not None
    assert (again.first, again.texts, again.prompt_tokens) == (5, ("a", "b", "c"), 7)
    assert (last.texts, last.next) == ((), 8)
    assert run.report(Usage(), 1).output_chain == chain([("a", 1), ("b", 2), ("c", 3)])


def test_a_chunk_is_bounded_and_nothing_is_left_out() -> None:
    run = a_run(items_max=100, bytes_max=1 << 20)
    texts = ["x" * 30_000, "y" * 30_000, "é" * 10_000, "z" * 32_768, "a" * 32_768, "end"]
    for position, text in enumerate(texts):
        run.take(RunEvent(position, (text,), (position,)), 0)

    chunks = []
    while run.behind and (chunk := run.flush()) is not None:
        chunks.append(chunk)

    assert [(chunk.first, len(chunk.texts)) for chunk in chunks] == [(0, 2), (2, 2), (4, 2)]
    assert [text for chunk in chunks for text in chunk.texts] == texts


def test_item_beyond_the_protocol_ends_the_run() -> None:
    """A Coordinator would end the attempt as the Island's fault."""
    run = a_run(items_max=10, bytes_max=1 << 20)
    assert run.take(RunEvent(0, ("é" * (ITEM_BYTES_MAX // 2),)), 0) is None

    ending = run.take(RunEvent(1, ("é" * (ITEM_BYTES_MAX // 2) + "x",)), 0)

    assert ending is not None and ending.cause is Cause.CARGO_FAILED
    assert "an item of 32769 bytes, 32768 at most" in ending.error
