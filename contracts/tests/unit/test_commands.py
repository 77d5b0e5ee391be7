"""How programs of operators and hosts take what was mistyped."""

from __future__ import annotations

import argparse

import pytest
from archipelag_contracts.commands import Parser, of_file


def a_parser() -> argparse.ArgumentParser:
    top = Parser(prog="archipelag-x")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    commands.add_parser("serve", help="run until SIGTERM").add_argument("where")
    user = commands.add_parser("user", help="people")
    user.add_argument("--role", choices=["operator", "admin"])
    return top


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["serv"], "there is no 'serv': did you mean serve?"),
        (["zzz"], "there is no 'zzz': one of serve, user"),
        (["user", "--role", "admn"], "there is no 'admn': did you mean admin?"),
        (["serve"], "the following arguments are required: where"),
        ([], "run until SIGTERM"),
    ],
)
def test_a_slip_is_told_what_was_meant(
    typed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        a_parser().parse_args(typed)

    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert told in printed.err and not printed.out


def test_what_is_there_is_taken() -> None:
    assert a_parser().parse_args(["user", "--role", "admin"]).role == "admin"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError(2, "No such file", "a.toml"), "a.toml: there is no such file"),
        (OSError(28, "No space left on device", "b"), "b: no space left on device"),
        (OSError("cannot listen"), "cannot listen"),
    ],
)
def test_a_file_is_named_without_a_number(error: OSError, told: str) -> None:
    assert of_file(error) == told
