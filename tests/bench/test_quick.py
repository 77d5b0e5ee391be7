"""The cheap part of `make bench ARGS=--quick`: each row stands beside a peer or a limit; no benchmark is forgotten."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import BENCHMARKS

CHEAP = {
    "ledger": {"ledger"},
    "placement": {"placement"},
    "observing": {"being watched"},
}
"""Which paths each tells of. They start no network."""
SHARED = {
    *("far", "floor", "litellm_proxy", "loadgen", "network", "raw_commits", "rush"),
    *("synthetic_island", "ways"),
}
OF_THE_TABLE = {"bench", "figures", "machine", "relay_figures", "running", "table", "telling"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What a short run says, and where it wrote."""
    out = tmp_path_factory.mktemp("bench")
    program = [sys.executable, str(BENCHMARKS / "bench.py"), "--quick", "--out", str(out), *CHEAP]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout, out


def document(out: Path) -> dict[str, Any]:
    (file,) = out.glob("*.json")
    return dict(json.loads(file.read_text()))


def test_every_row_has_a_figure_and_something_beside_it(done: tuple[str, Path]) -> None:
    figures = document(done[1])["figures"]

    assert {one["path"] for one in figures} == set().union(*CHEAP.values())
    for one in figures:
        besides = [one[name] for name in ("peer", "limit") if one[name] is not None]
        assert one["ours"] is not None and math.isfinite(one["ours"]), one
        assert besides and all(beside["name"] for beside in besides), one
        assert one["how"].endswith("."), one


def test_placement_is_told_of_at_each_size(done: tuple[str, Path]) -> None:
    what = [one["what"] for one in document(done[1])["figures"] if one["path"] == "placement"]

    for size in ("100", "1,000", "10,000"):
        assert f"a choice p50, {size} Islands" in what


def test_the_hot_account_stands_beside_pgbench(done: tuple[str, Path]) -> None:
    rows = {one["what"]: one for one in document(done[1])["figures"] if one["path"] == "ledger"}

    assert rows["postings, one account, 8 at once"]["limit"]["name"] == "pgbench"


def test_the_run_says_where_it_was_made_and_with_what(done: tuple[str, Path]) -> None:
    said, out = done
    machine = document(out)["machine"]

    assert machine["cores"] >= 1 and machine["versions"]["python"] and "load" in machine
    assert ("warning: this machine was busy" in said) == machine["busy"]


def test_the_page_and_the_words_of_each_are_kept(done: tuple[str, Path]) -> None:
    _, out = done
    (page,) = out.glob("*.md")

    assert (
        "## Placement" in page.read_text() and "| a choice p50, 100 Islands |" in page.read_text()
    )
    assert {one.stem for one in out.glob("*/*.txt")} == set(CHEAP)


def test_an_earlier_run_can_be_held_against_it(done: tuple[str, Path], tmp_path: Path) -> None:
    (earlier,) = done[1].glob("*.json")
    program = [sys.executable, str(BENCHMARKS / "bench.py"), "--quick", "--out", str(tmp_path)]

    ended = subprocess.run(
        [*program, "observing", "--against", str(earlier)],
        capture_output=True,
        text=True,
        check=True,
    )

    after = ended.stdout.partition("Against ")[2]
    assert "being watched: a token, counted " in after and "not measured now" in after


def test_each_file_is_a_benchmark_a_part_of_them_or_run_by_hand(
    programs: dict[str, ModuleType],
) -> None:
    bench = programs["bench"]
    named = {one.name for one in bench.BENCHMARKS} | set(bench.BY_HAND)

    assert {file.stem for file in BENCHMARKS.glob("*.py")} == named | SHARED | OF_THE_TABLE


def test_the_readme_names_each(programs: dict[str, ModuleType]) -> None:
    said = (BENCHMARKS / "README.md").read_text()
    bench = programs["bench"]

    unnamed = [one.name for one in bench.BENCHMARKS if f"`{one.name}.py`" not in said]
    assert unnamed + [one for one in bench.BY_HAND if f"`{one}.py`" not in said] == []


def test_all_of_it_fits_into_about_a_quarter_of_an_hour_as_expected(
    programs: dict[str, ModuleType],
) -> None:
    benchmarks = programs["bench"].BENCHMARKS

    assert sum(one.seconds for one in benchmarks) <= 17 * 60
    assert sum(one.quick_s for one in benchmarks) <= 4 * 60
