"""Records are those of Python's csv module; what is chosen, sorted and added up is what Python would."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]
PEOPLE = "name,age,town\r\nAda,36,London\r\nBo,7,Oslo\r\nCy,36,Oslo\r\nDi,,London\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a,b\n1,2",
        "a,b\r\n1,2\r\n",
        'a,b\n"1,5","say ""hi"""\n',
        'a\n"line\nbreak\r\nhere"\n',
        "a,b\n,\n",
        "\ufeffa,b\nü,🌊\n",
        "a\n\n\n1\n",
        '"a","b"\n"","x"',
        "a,b\n\u2028,\u0085\n",
    ],
)
def test_records_are_those_that_python_reads(run: Run, text: str) -> None:
    wanted = [row for row in csv.reader(io.StringIO(text.lstrip("\ufeff"), newline="")) if row]

    said = run("csv", {"text": text}).json

    assert [said["columns"], *said["rows"]] == (wanted or [[]])


@pytest.mark.parametrize("seed", range(20))
def test_what_python_writes_comes_back(run: Run, seed: int) -> None:
    draw = random.Random(seed)
    cells = ["", "a", 'q"q', "x,y", "l\nm", "r\r\nn", " s ", "é🌊", "-1.5", "'"]
    rows = [[draw.choice(cells) for _ in range(3)] for _ in range(12)]
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=";").writerows(rows)

    said = run("csv", {"text": written.getvalue(), "delimiter": ";", "header": False})
    again = run(
        "csv", {"text": written.getvalue(), "delimiter": ";", "header": False, "output": "csv"}
    )

    assert said.json["columns"] == ["1", "2", "3"]
    assert said.json["rows"] == rows
    assert list(csv.reader(io.StringIO(again.json["csv"], newline=""), delimiter=";")) == rows


def test_chooses_filters_and_sorts(run: Run) -> None:
    said = run(
        "csv",
        {
            "text": PEOPLE,
            "select": ["name"],
            "where": [
                {"column": "age", "is": ">=", "value": 7},
                {"column": "town", "value": "Oslo"},
            ],
            "sort": [{"column": "age", "descending": True}],
            "output": "objects",
        },
    ).json

    assert said == {"columns": ["name"], "rows": [{"name": "Cy"}, {"name": "Bo"}], "total": 2}


def test_numbers_are_sorted_by_value_before_texts_and_equal_rows_stay_in_order(run: Run) -> None:
    text = "n,i\n10,a\n9,b\nx,c\n9.0,d\n-1e1,e\n,f\n"

    said = run("csv", {"text": text, "sort": [{"column": "n"}], "select": ["i"]}).json

    assert "".join(row[0] for row in said["rows"]) == "ebdafc"


def test_groups_and_adds_up(run: Run) -> None:
    wanted = [{"column": "age", "function": f} for f in ("count", "sum", "min", "max", "mean")]

    said = run("csv", {"text": PEOPLE, "group_by": ["town"], "aggregate": wanted}).json
    whole = run("csv", {"text": PEOPLE, "aggregate": wanted[:2]}).json

    assert said["columns"] == ["town", "count_age", "sum_age", "min_age", "max_age", "mean_age"]
    assert said["rows"] == [
        ["London", "1", "36", "36", "36", "36"],
        ["Oslo", "2", "43", "7", "36", "21.5"],
    ]
    assert whole["rows"] == [["3", "79"]]


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ({"is": "contains", "value": "on"}, ["Ada", "Di"]),
        ({"is": "starts_with", "value": "Os"}, ["Bo", "Cy"]),
        ({"is": "ends_with", "value": "lo"}, ["Bo", "Cy"]),
        ({"is": "!=", "value": "Oslo"}, ["Ada", "Di"]),
        ({"is": "<", "value": "M"}, ["Ada", "Di"]),
    ],
)
def test_conditions_on_text(run: Run, condition: dict[str, str], names: list[str]) -> None:
    where = [{"column": "town", **condition}]

    said = run("csv", {"text": PEOPLE, "where": where, "select": ["name"]}).json

    assert [row[0] for row in said["rows"]] == names


def test_a_page_of_many_rows_comes_in_items_that_join(run: Run) -> None:
    text = "n,word\n" + "".join(f"{i},é🌊{i}\n" for i in range(40_000))

    answer = run("csv", {"text": text})
    page = run("csv", {"text": text, "offset": 39_999, "limit": 5}).json

    assert len(answer.items) > 20
    assert answer.json["rows"][12_345] == ["12345", "é🌊12345"]
    assert page == {"columns": ["n", "word"], "rows": [["39999", "é🌊39999"]], "total": 40_000}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "text is missing"),
        ({"text": "a,b\n1\n"}, "record 2 has another number of fields"),
        ({"text": 'a\n"x'}, "record 2 has a quote that is never closed"),
        ({"text": 'a\nx"y\n'}, "quote in the middle"),
        ({"text": 'a\n"x"y\n'}, "between a closing quote"),
        ({"text": "," * 20_000}, "more than 10000 fields"),
        ({"text": "a", "delimiter": '"'}, "delimiter must be"),
        ({"text": "a", "delimiter": "é"}, "delimiter is too long"),
        ({"text": "a", "select": ["b"]}, "there is no column b"),
        ({"text": "a", "select": []}, "at least one"),
        ({"text": "a", "select": [1]}, "columns' names"),
        ({"text": "a", "where": [1]}, "list of objects"),
        ({"text": "a", "where": [{"column": "a", "is": "~", "value": ""}]}, "is must be one of"),
        ({"text": "a", "where": [{"column": "a", "value": None}]}, "text or a number"),
        ({"text": "a", "where": [{"column": "a", "value": 1}] * 99}, "too many items"),
        ({"text": "a", "sort": [{"column": "a", "up": True}]}, "up is not known"),
        ({"text": "a", "aggregate": [{"column": "a"}]}, "function must be one of"),
        ({"text": "a", "limit": -1}, "limit must be a whole number"),
        ({"text": "a", "limit": 1.5}, "limit must be a whole number"),
    ],
)
def test_mistakes_are_told(run: Run, given: Any, why: str) -> None:
    assert why in run("csv", given).bad_input


def test_many_short_records_end_with_an_answer_or_a_sentence(run: Run) -> None:
    said = run("csv", {"text": "a\n" * 4_000_000})

    assert "more than 1000000 records" in said.bad_input
