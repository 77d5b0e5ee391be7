"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from archipelag.cli import main, printing
from stub import ISLAND, JOB, TEXTS, Network, Pieces, chunks, refused

Out = pytest.CaptureFixture[str]


def run(network: Network, *argv: str) -> int:
    return main(argv, network.client)


def test_demo_streams_and_sums_up(capsys: Out) -> None:
    assert run(Network(), "demo") == 0

    told = capsys.readouterr().out
    assert "".join(TEXTS) in told
    assert f"tern ({ISLAND})" in told
    assert "3 read, 4 written" in told and "0.00046 credits" in told and JOB in told
    assert "\033" not in told


def test_chat_prints_the_answer_and_nothing_else(capsys: Out) -> None:
    network = Network()

    assert run(network, "chat", "hi", "--seed", "7", "--max-tokens", "9", "--system", "s") == 0

    assert capsys.readouterr().out == "".join(TEXTS) + "\n"
    body = json.loads(network.requests[-1].content)
    assert (body["seed"], body["max_tokens"], body["messages"][0]["role"]) == (7, 9, "system")


def test_chat_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    network = Network()
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe\n"))

    assert run(network, "chat") == 0

    assert json.loads(network.requests[-1].content)["messages"][0]["content"] == "from a pipe"


def test_chat_without_a_question_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("  "))

    assert run(Network(), "chat") == 2
    assert "nothing was asked" in capsys.readouterr().err


def test_chat_as_json(capsys: Out) -> None:
    assert run(Network(), "chat", "hi", "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert told["text"] == "".join(TEXTS) and told["job_id"] == JOB
    assert told["usage"]["completion_tokens"] == 4


def test_control_characters_do_not_reach_the_terminal(capsys: Out) -> None:
    body = chunks(["a\033[2Jb\n"])

    run(Network(httpx.Response(200, content=body)), "chat", "hi", "--model", "m")

    assert capsys.readouterr().out == "a\ufffd[2Jb\n\n"


def test_ctrl_c_cancels_the_job(capsys: Out) -> None:
    body = Pieces(chunks(TEXTS)[:200], KeyboardInterrupt())
    network = Network(httpx.Response(200, headers={"X-Archipelag-Job": JOB}, stream=body))

    assert run(network, "chat", "hi", "--model", "m") == 130

    last = network.requests[-1]
    assert (last.method, last.url.path) == ("DELETE", f"/api/v1/jobs/{JOB}")
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        ([httpx.ConnectError("refused")] * 4, 3, "make up"),
        ([refused(401, "invalid_api_key", "no such key")], 4, "ARCHIPELAG_API_KEY"),
        ([refused(403, "not_permitted", "this needs write")], 4, "this needs write"),
        ([refused(402, "insufficient_credits", "not enough credits")], 5, "not enough credits"),
        ([refused(429, "rate_limited", "slower", retry_after=99)], 7, "slower"),
        ([refused(503, "no_capacity", "nobody can", retry_after=99)], 7, "nobody can"),
        ([httpx.ReadTimeout("slow")] * 4, 7, "too long"),
        ([refused(500, "x", "ill\033[2Jmeant")], 1, "ill\ufffd[2Jmeant"),
        ([httpx.Response(200, text="<html>")], 1, "did not answer in JSON"),
    ],
)
def test_failures_are_one_clear_line(
    failure: list[httpx.Response | Exception], status: int, said: str, capsys: Out
) -> None:
    assert run(Network(*failure), "models") == status

    told = capsys.readouterr()
    assert said in told.err and told.out == "" and "Traceback" not in told.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["models"], "smollm2"),
        (["islands"], "tern"),
        (["workloads"], "llm-chat"),
        (["credits"], "12.5 credits"),
        (["account"], "12.5 credits"),
        (["status"], "0.1.0"),
        (["jobs", "list"], JOB),
        (["jobs", "get", JOB], "attempt 1"),
        (["jobs", "cancel", JOB], "cancelled"),
        (["keys", "list"], "ak_ab…"),
        (["keys", "revoke", "key_1"], "is revoked"),
    ],
)
def test_each_command_shows_its_thing(argv: list[str], said: str, capsys: Out) -> None:
    assert run(Network(), *argv) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["models"],
        ["islands"],
        ["account"],
        ["status"],
        ["jobs", "list"],
        ["keys", "list"],
        ["credits"],
    ],
)
def test_each_listing_speaks_json(argv: list[str], capsys: Out) -> None:
    told = []
    for written in (["--format", "json", *argv], [*argv, "--format", "json"], [*argv, "--json"]):
        assert run(Network(), *written) == 0
        told.append(json.loads(capsys.readouterr().out))

    assert told[0] and told[0] == told[1] == told[2]


def test_a_new_key_stands_alone_on_standard_output(capsys: Out) -> None:
    assert run(Network(), "keys", "create", "new", "--scope", "read") == 0

    told = capsys.readouterr()
    assert told.out == "ak_secret\n" and "not shown again" in told.err


@pytest.mark.parametrize("argv", [[], ["dance"], ["jobs"], ["chat", "hi", "--max-tokens", "0"]])
def test_wrong_usage_is_status_2(argv: list[str], capsys: Out) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2 and "usage:" in capsys.readouterr().err


def test_the_command_itself_without_a_network() -> None:
    source = str(Path(__file__).parents[2] / "src")
    asked = [sys.executable, "-m", "archipelag.cli", "--url", "http://127.0.0.1:9", "status"]

    done = subprocess.run(
        asked, capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": source}
    )

    assert done.returncode == 3
    assert "make up" in done.stderr and "Traceback" not in done.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")

    assert printing.styled("x", "1", Terminal()) == "\033[1mx\033[0m"
    assert printing.styled("x", "1", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert printing.styled("x", "1", Terminal()) == "x"


@pytest.mark.parametrize(("amount", "said"), [("100", "100"), ("0.000460", "0.00046"), ("0", "0")])
def test_credits_are_written_as_people_write_them(amount: str, said: str) -> None:
    assert printing.credits_text(Decimal(amount)) == f"{said} credits"
