"""A figure stands beside something, and tables say it as it is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Programs = dict[str, ModuleType]


def a_figure(programs: Programs, **changes: Any) -> Any:
    figures = programs["figures"]
    given = {
        "path": "ledger",
        "what": "postings",
        "ours": 500.0,
        "unit": "/s",
        "how": "By hand.",
        "limit": figures.Beside("pgbench", 2_000.0),
    }
    return figures.Figure(**{**given, **changes})


def test_a_figure_beside_nothing_is_refused(programs: Programs) -> None:
    with pytest.raises(ValueError, match="needs a peer or a limit"):
        a_figure(programs, limit=None)


def test_a_row_says_how_many_times_peer_and_limit(programs: Programs) -> None:
    peer = programs["figures"].Beside("LiteLLM", 50.0)

    told = programs["table"].text([a_figure(programs, peer=peer)])

    row = told.splitlines()[-1].split()
    assert row == ["postings", "500", "/s", "50.0", "LiteLLM", "10.0", "2,000", "pgbench", "0.250"]


@pytest.mark.parametrize("value", [math.nan, 0.0, -1.0])
def test_no_ratio_to_what_is_not_above_zero(programs: Programs, value: float) -> None:
    figure = a_figure(programs, limit=programs["figures"].Beside("pgbench", value))

    assert math.isnan(figure.times_limit)


def test_rows_are_aligned_under_how_they_were_measured(programs: Programs) -> None:
    rows = [a_figure(programs), a_figure(programs, what="postings of many", ours=12_345.0)]

    lines = programs["table"].text([*rows, a_figure(programs, path="relay")]).splitlines()

    assert [line for line in lines if line[:1].strip()] == ["ledger", "relay"]
    assert lines.count("  By hand.") == 2
    first, second = lines[3], lines[4]
    assert first.index("/s") == second.index("/s") and "12,345" in second


def test_markdown_has_a_rule_for_each_column(programs: Programs) -> None:
    head, rule, row = programs["table"].markdown([a_figure(programs)]).splitlines()[-3:]

    assert head.count("|") == rule.count("|") == row.count("|")
    assert "500" in row and "2,000 pgbench" in row


def test_figures_survive_their_file(programs: Programs) -> None:
    figures = programs["figures"]
    figure = a_figure(programs, peer=figures.Beside("LiteLLM", 3.5), more_is_better=True)

    assert figures.read(json.loads(json.dumps(figures.written(figure)))) == figure


def test_what_gave_nothing_is_null_in_the_file(programs: Programs) -> None:
    figures = programs["figures"]
    figure = a_figure(programs, ours=math.nan, limit=figures.Beside("pgbench", math.nan))

    said = json.dumps(figures.written(figure))

    assert "NaN" not in said
    again = figures.read(json.loads(said))
    assert math.isnan(again.ours) and math.isnan(again.limit.value)


def test_an_earlier_run_is_shown_beside_this_one(programs: Programs) -> None:
    before = [a_figure(programs, ours=400.0, more_is_better=True), a_figure(programs, what="gone")]
    now = [a_figure(programs, ours=500.0, more_is_better=True), a_figure(programs, what="fresh")]

    lines = programs["table"].against(before, now).splitlines()

    assert lines[1].split() == ["ledger:", "postings", "400", "500", "/s", "1.25", "better"]
    assert lines[2].split() == ["ledger:", "fresh", "–", "500", "/s", "–", "new"]
    assert lines[3].split() == ["ledger:", "gone", "500", "–", "/s", "–", "not", "measured", "now"]


@pytest.mark.parametrize(
    ("ratio", "more_is_better", "word"),
    [
        (1.2, True, "better"),
        (1.2, False, "worse"),
        (0.8, True, "worse"),
        (0.8, False, "better"),
        (1.04, True, ""),
        (math.nan, True, ""),
    ],
)
def test_more_is_not_always_better(
    programs: Programs, ratio: float, more_is_better: bool, word: str
) -> None:
    assert programs["table"].judged(ratio, more_is_better) == word


def test_figures_go_to_the_file_that_is_named(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "figures"
    monkeypatch.setenv(programs["telling"].FILE, str(file))

    programs["telling"].state([a_figure(programs)])
    programs["telling"].state([a_figure(programs, what="more")])

    lines = file.read_text().splitlines()
    assert [json.loads(line)["what"] for line in lines] == ["postings", "more"]


def test_a_busy_machine_is_warned_of(programs: Programs) -> None:
    machine = {"load": 3.0, "cores": 2, "busy": True}

    assert "load 3.0 on 2 cores" in programs["machine"].warning(machine)
    assert programs["machine"].warning({**machine, "busy": False}) == ""
