"""`archipelag jobs`, `image` and `credits`: what is sent for what was typed, and what is shown."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from archipelag.cli import main
from stub import JOB, Network, job

Out = pytest.CaptureFixture[str]


def run(network: Network, *argv: str) -> int:
    return main(argv, network.client)


def sent(network: Network) -> Any:
    return json.loads(network.requests[0].content)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (['{"a": 1}'], {"a": 1}),
        (["prompt=two words", "n=3", "deep={\"x\": [true]}", "empty=", "eq=a=b"],
         {"prompt": "two words", "n": 3, "deep": {"x": [True]}, "empty": "", "eq": "a=b"}),
        (["@input.json"], {"from": "file"}),
        (["-"], {"from": "pipe"}),
        ([], {"from": "pipe"}),
    ],
)  # fmt: skip
def test_an_input_is_json_a_file_a_pipe_or_pairs(
    typed: list[str],
    wanted: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Out,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("input.json").write_text('{"from": "file"}')
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"from": "pipe"}'))
    network = Network()

    bounds = ("--priority", "2", "--within", "20")
    assert run(network, "jobs", "submit", "echo", *typed, *bounds) == 0

    assert network.requests[0].headers["x-archipelag-within"] == "20"
    assert sent(network) == {"workload": "echo", "input": wanted, "priority": 2}
    assert capsys.readouterr().out == f"{JOB}\n"


@pytest.mark.parametrize("typed", ["{", "[1]", "@missing.json", "word", "=x"])
def test_what_is_no_input_is_wrong_usage_and_not_sent(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.chdir(tmp_path)
    network = Network()

    assert run(network, "jobs", "submit", "echo", typed) == 2
    assert network.requests == [] and capsys.readouterr().err.startswith("archipelag: ")


def test_submit_and_wait_prints_what_it_says(capsys: Out) -> None:
    assert run(Network(), "jobs", "submit", "echo", "a=1", "--wait") == 0
    assert capsys.readouterr().out == "An archipelago is islands.\n"


def test_a_job_that_fails_is_status_6(capsys: Out) -> None:
    told = httpx.Response(201, json={"data": job("queued")})
    failed = httpx.Response(200, json={"data": job("failed", error="out of memory")})

    assert run(Network(told, failed), "jobs", "submit", "echo", "a=1", "--wait") == 6
    assert "out of memory" in capsys.readouterr().err


def test_a_job_that_takes_too_long_is_status_7() -> None:
    told = [httpx.Response(200, json={"data": job("running")}) for _ in range(2)]

    assert run(Network(*told), "jobs", "submit", "echo", "a=1", "--wait", "--timeout", "0") == 7


def test_filters_are_sent(capsys: Out) -> None:
    network = Network()
    argv = ["--status", "failed", "--status", "cancelled", "--workload", "echo"]

    assert run(network, "jobs", "list", *argv, "--after", "2026-11-01", "--limit", "3") == 0

    asked = network.requests[0].url.params
    assert asked.get_list("status") == ["failed", "cancelled"] and asked["limit"] == "3"
    assert asked["created_after"] == "2026-11-01T00:00:00+00:00" and asked["workload"] == "echo"
    assert run(Network(), "jobs", "list", "--before", "soon") == 2


def followed(*told: dict[str, Any]) -> httpx.Response:
    frames = "".join(f"id: {n}\ndata: {json.dumps(one)}\n\n" for n, one in enumerate(told))
    return httpx.Response(200, content=frames.encode())


def test_following_prints_the_answer_alone(capsys: Out) -> None:
    answer = followed(
        {"type": "status", "content": "queued", "reasons": ["no Island\033[2J is free"]},
        {"type": "status", "content": "queued", "ahead": 3, "expected_wait_s": 11.6},
        {"type": "status", "content": "queued", "ahead": 1, "expected_wait_s": None},
        {"type": "token", "content": "An \033]0;x\a"},
        {"type": "token", "content": "answer"},
        {"type": "done"},
    )

    assert run(Network(answer), "jobs", "stream", JOB) == 0

    told = capsys.readouterr()
    assert told.out == "An \ufffd]0;x\ufffdanswer\n"
    assert "no Island\ufffd[2J is free" in told.err
    assert "3 jobs before it, about 12 s to wait." in told.err and "1 job before it." in told.err


def test_following_a_job_that_fails_is_status_6(capsys: Out) -> None:
    answer = followed({"type": "error", "error": "told to fail", "code": "cargo_failed"})

    assert run(Network(answer), "jobs", "stream", JOB) == 6
    assert "told to fail" in capsys.readouterr().err


def test_following_as_json_is_a_line_an_event(capsys: Out) -> None:
    answer = followed({"type": "token", "content": "a"}, {"type": "done"})

    assert run(Network(answer), "jobs", "stream", JOB, "--json", "--last-event-id", "0") == 0

    assert [json.loads(line)["type"] for line in capsys.readouterr().out.splitlines()] == [
        "token",
        "done",
    ]


def test_the_output_alone_is_as_it_is(capsys: Out) -> None:
    assert run(Network(), "jobs", "get", JOB, "--output") == 0
    assert capsys.readouterr().out == "An archipelago is islands."


WHY = {
    "job_id": JOB,
    "status": "queued",
    "attempts": [
        {
            "epoch": 1,
            "island": "tern",
            "why": "the nearest",
            "asked": 4,
            "fit": 1,
            "preferences": [{"name": "prefers_near", "weight": 2, "value": 0.5, "gave": 1}],
            "kept_out": [{"rule": "has_memory", "meaning": "too little memory", "count": 3}],
        }
    ],
    "waiting": {
        "since": "2026-11-27T18:00:00Z",
        "asked": 2,
        "fit": 0,
        "reasons": [{"rule": "has_slot", "meaning": "no free slot", "count": 1}],
        "hint": "wait, or connect an Island",
        "ahead": 3,
        "expected_wait_s": 12.4,
    },
    "reader_round_trip_ms": 83.25,
}


def test_why_tells_reasons_and_what_would_help(capsys: Out) -> None:
    assert run(Network(httpx.Response(200, json={"data": WHY})), "jobs", "why", JOB) == 0

    told = capsys.readouterr().out
    assert "1 of 4 Islands could take it" in told and "3 Islands: too little memory" in told
    assert "prefers_near: 2 · 0.5 = 1" in told and "1 Island: no free slot" in told
    assert "wait, or connect an Island" in told
    assert "3 jobs before it, about 12 s to wait." in told
    assert "the proxy before them, is 83.2 ms away" in told


def test_why_of_an_older_coordinator_says_nothing_of_seconds(capsys: Out) -> None:
    waiting = {name: WHY["waiting"][name] for name in ("since", "asked", "fit", "hint")}
    older = {"job_id": JOB, "status": "queued", "attempts": WHY["attempts"], "waiting": waiting}
    answer = httpx.Response(200, json={"data": older})

    assert run(Network(answer), "jobs", "why", JOB) == 0

    told = capsys.readouterr().out
    assert "0 jobs before it.\n" in told
    assert "away" not in told


def picture(**more: Any) -> httpx.Response:
    shown = {"b64_json": base64.b64encode(b"a picture").decode(), "seed": 7}
    return httpx.Response(200, json={"data": [shown], "size": "8x8", "output_format": "png"} | more)


def test_a_picture_is_written_and_nothing_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = ("image", "A red ../Square!", "--model", "m")

    assert run(Network(picture()), *draw) == 0
    again = Network(picture())
    assert run(again, *draw) == 2
    assert run(Network(picture()), *draw, "--force") == 0
    assert run(Network(picture()), *draw, "-o", "other.bin", "--seed", "7", "--steps", "8") == 0

    names = sorted(one.name for one in tmp_path.iterdir() if one.is_file())
    assert names == ["a-red-square.png", "other.bin"]
    assert Path("a-red-square.png").read_bytes() == b"a picture"
    assert again.requests == [], "nothing is paid for what cannot be kept"
    assert "here already" in capsys.readouterr().err


def test_the_ending_of_a_picture_is_chosen_by_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run(Network(picture(output_format="../../x")), "image", "a", "--model", "m") == 0
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["a.x"]


def test_credits_used_and_moved_are_tables(capsys: Out) -> None:
    used = {"day": "2026-11-27", "jobs": 3, "prompt_tokens": 1, "completion_tokens": 2}
    moved = {"id": "t", "account": "spending", "at": "2026-11-27T18:00:00Z", "kind": "charge"}
    rows = httpx.Response(200, json={"data": [used | {"credits": "0.5"}]})
    page = httpx.Response(
        200, json={"data": [moved | {"amount": "-0.5"}], "meta": {"limit": 20, "next": None}}
    )
    asked = Network(rows)

    assert run(asked, "credits", "usage", "--since", "2026-11-01", "--by", "day") == 0
    assert run(Network(page), "credits", "transfers") == 0
    assert run(Network(), "credits", "usage", "--since", "yesterday") == 2

    told = capsys.readouterr().out
    assert "2026-11-27  3" in told and "0.5 credits" in told and "charge" in told and "-0.5" in told
    assert dict(asked.requests[0].url.params) == {"from": "2026-11-01", "by": "day"}
