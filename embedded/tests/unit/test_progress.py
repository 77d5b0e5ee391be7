"""Progress: what a person sees on a terminal, and what a log file gets."""

from __future__ import annotations

import io
import os

from archipelag_embedded.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_one_line_a_step_with_its_seconds() -> None:
    out, clock = io.StringIO(), Clock()
    progress = Progress(out, clock=clock)

    progress.begin("NATS")
    progress.tick()
    clock.now += 1.26
    progress.done()

    assert out.getvalue().split() == ["NATS", "1.3", "s"]
    assert out.getvalue().count("\n") == 1


def test_a_log_says_now_and_then_that_a_long_step_goes_on() -> None:
    out, clock = io.StringIO(), Clock()
    progress = Progress(out, clock=clock)

    progress.begin("Language model")
    for _ in range(25):
        clock.now += 1
        progress.tick()
    progress.failed()

    lines = out.getvalue().splitlines()
    assert [line.split("…")[-1].strip() for line in lines[:2]] == [
        "still going after 10 s",
        "still going after 20 s",
    ]
    assert lines[2].endswith("failed after 25.0 s")


def test_a_terminal_sees_seconds_count_on_the_same_line() -> None:
    out, clock = Terminal(), Clock()
    progress = Progress(out, clock=clock)

    progress.begin("Island")
    clock.now += 7
    progress.tick()

    assert "\n" not in out.getvalue()
    assert out.getvalue().endswith("… 7 s")


def test_a_reader_that_left_stops_nothing() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as out:
        progress = Progress(out)
        os.close(reading)

        progress.begin("NATS")
        progress.done()
        progress.say("on it goes")


def test_failing_outside_a_step_writes_nothing() -> None:
    out = io.StringIO()

    Progress(out).failed()

    assert out.getvalue() == ""
