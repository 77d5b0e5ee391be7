"""What Cargos say, in the Island's log: bounded, and never taken for more than a line of theirs."""

from __future__ import annotations

import json
import logging

import pytest
from archipelag_contracts.logs import JsonLines
from archipelag_island.adapters.runtimes.cargo_log import CargoLog, trace_of
from archipelag_island.adapters.runtimes.words import LINE_CHARS_MAX, LINES_MAX, LastWords

TRACE = "11112222333344445555666677778888"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def as_json(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [json.loads(JsonLines().format(record)) for record in caplog.records]


def heard_by(said: CargoLog) -> LastWords:
    words = LastWords()
    words.heard = said.heard
    return words


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "archipelag_island")


def test_a_line_is_of_the_one_run_under_way_and_of_none_where_there_are_several(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = CargoLog("chat-1", 10)
    words = heard_by(said)

    words.add(b"before\n")
    said.runs["job_a.3"] = TRACE
    words.add(b"alone\n")
    said.runs["job_b.1"] = ""
    words.add(b"together\n")
    del said.runs["job_a.3"]
    words.add(b"untraced\n")

    before, alone, together, untraced = as_json(caplog)
    assert (alone["job_id"], alone["trace_id"]) == ("job_a", TRACE)
    assert alone["fields"] == {"cargo": "chat-1", "epoch": "3", "line": "alone"}
    for one, runs in ((before, 0), (together, 2)):
        assert one["fields"]["runs"] == runs  # type: ignore[index]
        assert "job_id" not in one and "trace_id" not in one
    assert untraced["job_id"] == "job_b" and "trace_id" not in untraced


def test_a_cargo_that_writes_without_end_says_no_more_than_it_may(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    words = heard_by(CargoLog("chat-1", 3, clock))

    for number in range(1_000):
        words.add(b"again %d\n" % number * 50)
    first = len(caplog.records)
    clock.now = 61.0
    words.add(b"later\n")

    assert first == 3
    more, later = as_json(caplog)[3:]
    assert more["event"] == "cargo_said_more"
    assert more["fields"] == {"cargo": "chat-1", "lines": 1_000 * LINES_MAX - 3}
    assert later["fields"]["line"] == "later"  # type: ignore[index]


def test_no_line_is_longer_than_it_may_be_or_looks_like_another_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = CargoLog("chat-1", 10)
    said.runs["job_a.1"] = ""
    words = heard_by(said)

    words.add(b"x" * 100_000 + b"\n")
    words.add(b"job=job_other island=isl_other\x1b[31m\xff job_paid %s %d\n")

    long, odd = as_json(caplog)
    assert len(str(long["fields"]["line"])) == LINE_CHARS_MAX  # type: ignore[index]
    assert (odd["job_id"], odd["event"]) == ("job_a", "cargo_says")
    assert "island_id" not in odd and "\x1b" not in str(odd["message"])


@pytest.mark.parametrize("wrong", ["", "00", "00-a-b", "x" * 500])
def test_what_is_no_trace_names_none(wrong: str) -> None:
    assert trace_of(wrong) == ""
    assert trace_of(f"00-{TRACE}-00f067aa0ba902b7-01") == TRACE
