"""RFC 9535 as its compliance suite has it, and what a hostile query or document can cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
# Kept by the authors of the standard; under BSD-2-Clause (compliance.LICENSE).
SUITE = json.loads((Path(__file__).parent / "compliance.json").read_text())
# Classes of Unicode categories, \p{…}, are the one part of RFC 9485 that the expressions here do not know.
UNKNOWN = "unicode char class"


def disagreement(run: Run, case: dict[str, Any]) -> str:
    if case.get("invalid_selector"):
        said = run("json-query", {"query": case["selector"], "data": None})
        return "" if said.bad_input else "a wrong query was taken"
    given = {"query": case["selector"], "data": case["document"], "paths": True}
    said = run("json-query", given)
    if said.bad_input or said.error:
        return str(said)
    wanted = case.get("results") or [case["result"]]
    paths = case.get("results_paths") or [case["result_paths"]]
    if said.json["values"] not in wanted or said.json["paths"] not in paths:
        return f"{said.json} is not among {wanted}"
    return ""


def test_agrees_with_the_compliance_suite(run: Run) -> None:
    assert len(SUITE) > 700

    wrong = {case["name"]: disagreement(run, case) for case in SUITE}

    found = [f"{name}: {why}" for name, why in wrong.items() if why and UNKNOWN not in name]
    assert found == []


def test_text_is_parsed_and_numbers_keep_their_digits(run: Run) -> None:
    document = '{"a": [1.50, 12345678901234567890123, -0, 1e400]}'

    said = run("json-query", {"json": document, "query": "$.a[*]"}).text

    assert said == '{"count":4,"values":[1.50,12345678901234567890123,-0,1e400]}'


def test_counts_all_and_shows_some(run: Run) -> None:
    said = run("json-query", {"data": list(range(10)), "query": "$[*]", "limit": 2}).json

    assert said == {"count": 10, "values": [0, 1]}


@pytest.mark.parametrize(
    "query",
    [
        "$..[*]..[*]..[*]..[*]",
        "$[*,*,*,*,*,*][*,*,*,*]..*..*",
        "$..[?count($..[?count($..*) > 1]) > 1]",
    ],
)
def test_queries_that_explode_are_ended_with_a_sentence(run: Run, query: str) -> None:
    data: Any = 1
    for _ in range(50):
        data = [data] * 1 + [1] * 40

    said = run("json-query", {"data": data, "query": query})

    assert any(why in said.error for why in ("too much work", "1000000 nodes", "not enough memory"))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"query": "$"}, "either data, or json"),
        ({"query": "$", "data": 1, "json": "1"}, "either data, or json"),
        ({"query": "$", "json": "[1,]"}, "json: there is something that is no value"),
        ({"query": "$", "json": "[" * 100}, "deeper than 64"),
        ({"query": "$", "json": '{"a" 1}'}, "a colon is missing"),
        ({"query": "$", "json": "[01]"}, "begins with a zero"),
        ({"query": "$", "json": '"\\ud800"'}, "half a character"),
        ({"query": "$", "json": '"\\x"'}, "escape is not known"),
        ({"query": "$", "json": "1 2"}, "after its end"),
        ({"query": "", "data": 1}, "must begin with $"),
        ({"query": "$.", "data": 1}, "name is missing"),
        ({"query": "$[?" * 40, "data": 1}, "deeper than 32"),
        ({"query": "$[?" + "(" * 2000, "data": 1}, "deeper than 32"),
        ({"query": "$" + ".a" * 2000, "data": 1}, "more than 256 segments"),
        ({"query": "$" * 5000, "data": 1}, "query is too long"),
    ],
)
def test_mistakes_are_told(run: Run, given: Any, why: str) -> None:
    assert why in run("json-query", given).bad_input
