"""`archipelag batch`: a job a line, results as they come, taken up where it was left, nothing asked twice."""

from __future__ import annotations

import io
import json
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from archipelag.cli import main
from stub import Network, job, refused

Out = pytest.CaptureFixture[str]
RESULTS = Path("in.jsonl.results.jsonl")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


class Crowd(Network):
    """One job for each Idempotency-Key. `fails`: jobs of these inputs; `refuses`: these are not taken; `stops`: after
    so many jobs the credit is gone."""

    def __init__(
        self, *, fails: tuple[int, ...] = (), refuses: tuple[int, ...] = (), stops: int = 1000
    ) -> None:
        super().__init__()
        self.fails, self.refuses, self.stops = fails, refuses, stops
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked: list[int] = []
        self._lock = threading.Lock()

    def usual(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            given = json.loads(request.content)["input"]
            with self._lock:
                return self._made(given["n"], request.headers["idempotency-key"])
        name = request.url.path.rpartition("/")[2]
        return httpx.Response(200, json={"data": self.jobs[name]})

    def _made(self, number: int, key: str) -> httpx.Response:
        if number in self.refuses:
            return refused(422, "invalid_input", f"{number} is not valid")
        self.asked.append(number)
        if key not in self.jobs:
            if len(self.jobs) >= self.stops:
                return refused(402, "insufficient_credits", "not enough credits")
            status = "failed" if number in self.fails else "completed"
            self.jobs[key] = job(status, id=key, output=f"answer {number}", error="told to fail")
        return httpx.Response(201, json={"data": self.jobs[key] | {"status": "queued"}})


def given(count: int, name: str = "in.jsonl") -> None:
    Path(name).write_text("".join(json.dumps({"n": n}) + "\n" for n in range(1, count + 1)))


def run(network: Network, *argv: str) -> int:
    return main(["batch", "in.jsonl", "--workload", "echo", *argv], network.client)


def results(file: Path = RESULTS) -> dict[int, dict[str, Any]]:
    return {one["line"]: one for one in map(json.loads, file.read_text().splitlines())}


def test_each_line_has_its_answer(capsys: Out) -> None:
    given(20)
    crowd = Crowd()

    assert run(crowd) == 0

    found = results()
    assert {n: one["output"] for n, one in found.items()} == {
        n: f"answer {n}" for n in range(1, 21)
    }
    assert found[3]["usage"]["credits_used"] == "0.00046"
    assert "20 completed" in capsys.readouterr().out
    assert sorted(one.name for one in Path().iterdir()) == ["in.jsonl", RESULTS.name]


def test_what_was_done_is_not_asked_again(capsys: Out) -> None:
    given(6)
    run(Crowd())
    given(9)
    crowd = Crowd()

    assert run(crowd, "--json") == 0

    assert sorted(crowd.asked) == [7, 8, 9] and sorted(results()) == list(range(1, 10))
    told = capsys.readouterr()
    assert "6 of 9 were done before" in told.err
    assert json.loads(told.out.partition("\n")[2])["completed"] == 9


def test_a_line_that_fails_is_status_6_and_asked_anew_next_time(capsys: Out) -> None:
    given(5)
    first, second = Crowd(fails=(2,), refuses=(4,)), Crowd()

    assert run(first) == 6
    assert results()[2]["status"] == "failed" and "not valid" in results()[4]["error"]
    assert run(second) == 0

    assert sorted(second.asked) == [2, 4]
    assert {one["status"] for one in results().values()} == {"completed"}
    assert not first.jobs.keys() & second.jobs.keys(), "a failed job's key would give it back"
    assert "2 failed" in capsys.readouterr().out


def test_without_credit_it_stops_and_goes_on_later_with_the_same_jobs(capsys: Out) -> None:
    given(12)
    poor = Crowd(stops=5)

    assert run(poor, "--parallel", "2") == 5
    assert len(poor.asked) < 12 and "not enough credits" in capsys.readouterr().err
    before = dict(poor.jobs)
    poor.stops = 1000
    assert run(poor) == 0

    assert sorted(results()) == list(range(1, 13))
    assert len(poor.jobs) == 12 and before.keys() <= poor.jobs.keys(), "nothing was made twice"


def test_an_answer_that_was_lost_with_us_is_found_by_its_key() -> None:
    given(4)
    crowd = Crowd(fails=(9,))
    run(crowd)
    # As if the power had gone in the middle of a line, before the others were written.
    whole = RESULTS.read_bytes().splitlines(keepends=True)
    mark = RESULTS.with_name(RESULTS.name + ".run")
    mark.write_text(next(iter(crowd.jobs)).split("-")[1])
    RESULTS.write_bytes(whole[0] + whole[1][:20])

    assert run(crowd) == 0

    assert len(crowd.jobs) == 4 and len(crowd.asked) == 7
    assert sorted(results()) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "line 2 is not JSON"), ("[1]", "line 2 must be"), ("1" * 600_000, "line 2 is too long")],
)
def test_a_bad_line_is_named_before_anything_is_paid(line: str, said: str, capsys: Out) -> None:
    Path("in.jsonl").write_text(f'{{"n": 1}}\n{line}\n')
    crowd = Crowd()

    assert run(crowd) == 2
    assert crowd.requests == [] and said in capsys.readouterr().err


def test_a_text_is_a_prompt_and_an_empty_line_nothing() -> None:
    Path("in.jsonl").write_text('"Why?"\n\n')
    network = Network()

    assert run(network) == 0
    assert json.loads(network.requests[0].content)["input"] == {"prompt": "Why?"}


@pytest.mark.parametrize("there", ['{"no": "line"}\n', "other text\n", "[]\n"])
def test_a_file_of_something_else_is_not_written_to(there: str, capsys: Out) -> None:
    given(2)
    RESULTS.write_text(there)
    crowd = Crowd()

    assert run(crowd) == 2
    assert RESULTS.read_text() == there and crowd.requests == []


def test_the_file_that_is_read_is_not_the_output() -> None:
    given(2)
    before = Path("in.jsonl").read_text()

    assert run(Crowd(), "-o", "in.jsonl") == 2
    assert Path("in.jsonl").read_text() == before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    given(3)
    assert run(Crowd()) == 0
    assert "█" not in capsys.readouterr().err
    RESULTS.unlink()
    monkeypatch.setenv("TERM", "xterm")
    seen = Terminal()
    monkeypatch.setattr(sys, "stderr", seen)

    assert run(Crowd(fails=(2,))) == 6
    assert "0 of 3" in seen.getvalue() and "3 of 3, 1 failed" in seen.getvalue()
