"""One shape of a log line for every part."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from archipelag_contracts.logs import JsonLines, TextLines


def line(template: object, *values: object, trace: str = "", error: bool = False) -> dict[str, Any]:
    record = logging.LogRecord(
        "archipelag.part",
        logging.WARNING,
        __file__,
        1,
        template,
        values or None,
        sys.exc_info() if error else None,
    )
    told: dict[str, Any] = json.loads(JsonLines(lambda: trace).format(record))
    return told


def test_an_event_tells_its_ids_and_values() -> None:
    told = line("report_settled job=%s island=%s epoch=%d status=%s", "job_1", "isl_1", 2, "done")

    assert told["event"] == "report_settled"
    assert (told["job_id"], told["island_id"]) == ("job_1", "isl_1")
    assert told["fields"] == {"epoch": 2, "status": "done"}
    assert told["message"] == "report_settled job=job_1 island=isl_1 epoch=2 status=done"
    assert (told["level"], told["logger"]) == ("WARNING", "archipelag.part")
    assert told["time"].endswith("Z")
    assert "trace_id" not in told


def test_a_followed_request_names_its_trace() -> None:
    assert line("asked", trace="ab" * 16)["trace_id"] == "ab" * 16


def test_nobody_writes_another_jobs_id_by_the_text_of_an_error() -> None:
    hostile = 'x job=job_of_another island=isl_2\n{"job_id":"job_3"}'

    told = line("refused job=%s error=%s", "job_1", hostile)

    assert told["job_id"] == "job_1"
    assert "island_id" not in told
    assert told["fields"] == {"error": hostile}


def test_nobody_writes_a_line_of_their_own_for_people_to_read() -> None:
    hostile = "x\n2026-01-01 INFO paid job=job_1\r\x1b[2J\u2028\x85\ud800 é"
    record = logging.LogRecord("a", logging.INFO, "f", 1, "refused error=%s", (hostile,), None)

    told = TextLines().format(record)

    assert told.isprintable() and told.encode()
    assert told.endswith(
        r"refused error=x\n2026-01-01 INFO paid job=job_1\r\x1b[2J\u2028\x85\ud800 é"
    )


def test_what_python_says_of_an_error_keeps_its_lines() -> None:
    try:
        raise ValueError("it is so")
    except ValueError:
        record = logging.LogRecord("a", logging.INFO, "f", 1, "failed", None, sys.exc_info())

    first, *more = TextLines().format(record).split("\n")

    assert first.endswith("failed") and more[-1] == "ValueError: it is so"


def test_a_line_is_one_line() -> None:
    record = logging.LogRecord("a", logging.INFO, "f", 1, "two\nlines %s", ("x\r\ny",), None)

    assert "\n" not in JsonLines().format(record)


@pytest.mark.parametrize(
    ("template", "values", "fields"),
    [
        ("at %s of %d%% share=%.1f", ("home", 5, 0.25), {"share": 0.25}),
        ("plain words", (), {}),
        ("a dictionary %(one)s", ({"one": 1},), {}),
        (ValueError("not a text"), (), {}),
    ],
)
def test_what_is_no_event_is_told_too(
    template: object, values: tuple[object, ...], fields: dict[str, object]
) -> None:
    assert line(template, *values).get("fields", {}) == fields


def test_an_error_brings_its_trace() -> None:
    try:
        raise ConnectionError("away")
    except ConnectionError:
        told = line("loop_failed loop=%s", "beat", error=True)

    assert "ConnectionError: away" in told["exception"]
