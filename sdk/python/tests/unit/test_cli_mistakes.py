"""What the command line says to likely mistakes: what was meant, and what to do."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import httpx
import pytest
from archipelag.cli import main
from stub import ISLAND, Network, refused

Out = pytest.CaptureFixture[str]
NO_KEY = "no API key: send the header Authorization: Bearer ak_…"


def run(network: Network, *argv: str) -> int:
    return main(argv, network.client)


def refuses_to_parse(*argv: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(Network(), *argv)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (("cht", "hi"), "there is no 'cht': did you mean chat?"),
        (("jobs", "lst"), "there is no 'lst': did you mean list?"),
        (("completion", "tcsh"), "there is no 'tcsh': one of bash, zsh, fish"),
        (("jobs", "xyzzy"), "there is no 'xyzzy': one of list, submit, get, stream, cancel, why"),
    ],
)
def test_a_slip_is_told_what_was_meant(typed: tuple[str, ...], told: str, capsys: Out) -> None:
    refuses_to_parse(*typed)

    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "told"), [((), "completion"), (("jobs",), "cancel a job")])
def test_without_a_command_it_says_what_there_is(
    typed: tuple[str, ...], told: str, capsys: Out
) -> None:
    refuses_to_parse(*typed)

    printed = capsys.readouterr()
    assert told in printed.err and not printed.out


def test_the_version_is_told(capsys: Out) -> None:
    with pytest.raises(SystemExit) as caught:
        run(Network(), "--version")

    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("archipelag 0.")


@pytest.mark.parametrize(
    "typed",
    [
        ("--url", "http://there.test", "--key", "ak_mine", "models"),
        ("models", "--url", "http://there.test", "--key", "ak_mine"),
        ("keys", "--key", "ak_mine", "list", "--url", "http://there.test"),
    ],
)
def test_address_and_key_may_stand_anywhere(typed: tuple[str, ...]) -> None:
    made: list[tuple[str | None, str | None]] = []
    network = Network()

    def client_of(url: str | None, key: str | None) -> object:
        made.append((url, key))
        return network.client(url, key)

    assert main(typed, client_of) in (0, 1)  # type: ignore[arg-type]
    assert made == [("http://there.test", "ak_mine")]


def test_who_has_no_key_reads_where_to_get_one(
    monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.delenv("ARCHIPELAG_API_KEY", raising=False)

    assert run(Network(refused(401, "unauthorized", NO_KEY)), "models") == 4

    told = capsys.readouterr().err
    assert "this needs an API key, and none is set" in told and "make -s env" in told
    assert "header" not in told


def test_a_key_that_does_not_hold_is_told_by_its_source(
    monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setenv("ARCHIPELAG_API_KEY", "ak_of_last_year")

    assert run(Network(refused(401, "unauthorized", "this key is not known")), "models") == 4

    told = capsys.readouterr().err
    assert "this key is not known\nThe key ak_of_… was used, the one in ARCHIPELAG_API_KEY." in told
    assert "ak_of_last_year" not in told


def test_a_profile_that_is_not_there_is_never_replaced_by_another(capsys: Out) -> None:
    network = Network()

    assert run(network, "--profile", "work", "models") == 2

    told = capsys.readouterr().err
    assert "there is no profile work" in told and "archipelag --profile work auth login" in told
    assert network.requests == []


def test_an_unknown_model_or_workload_is_told_what_is_there(capsys: Out) -> None:
    unknown = refused(404, "not_found", "no Cargo 'nope'")

    assert run(Network(unknown), "chat", "hi", "--model", "smolm2") == 1
    assert "Did you mean smollm2?" in capsys.readouterr().err
    assert run(Network(unknown), "jobs", "submit", "lm-chat", "prompt=x") == 1
    assert "Did you mean llm-chat?" in capsys.readouterr().err
    assert run(Network(unknown), "workloads", "xyzzy") == 1
    assert "There are llm-chat: see `archipelag workloads`." in capsys.readouterr().err


def test_a_part_of_a_name_leads_to_the_whole_and_only_to_models_that_do_that(capsys: Out) -> None:
    unknown = refused(404, "not_found", "no Cargo 'x'")
    made = [("painter-large", "image"), ("talker-large", "chat")]
    models = [{"id": one, "kind": kind, "owned_by": "a"} for one, kind in made]
    offered = httpx.Response(200, json={"data": models})

    assert run(Network(unknown, offered), "chat", "hi", "--model", "large") == 1
    assert "Did you mean talker-large?" in capsys.readouterr().err
    assert run(Network(unknown, offered), "chat", "hi", "--model", "gpt-4o") == 1
    assert "There are talker-large: see" in capsys.readouterr().err


def test_a_hint_that_cannot_be_had_hides_no_error(capsys: Out) -> None:
    script = refused(404, "not_found", "no Cargo 'nope'"), refused(500, "internal", "broken")

    assert run(Network(*script, *script[1:] * 9), "workloads", "nope") == 1
    assert capsys.readouterr().err == "archipelag: no Cargo 'nope'\n"


def test_an_input_of_the_wrong_shape_is_told_where_the_right_one_stands(capsys: Out) -> None:
    wrong = refused(422, "invalid_input", "promt is not a known field")

    assert run(Network(wrong), "jobs", "submit", "llm-chat", "promt=x") == 1
    assert "What it takes: `archipelag workloads llm-chat`." in capsys.readouterr().err


@pytest.mark.parametrize(
    "typed",
    [
        ("files", "upload", "none.txt"),
        ("jobs", "submit", "llm-chat", "@none.txt"),
        ("batch", "none.txt", "--workload", "llm-chat"),
    ],
)
def test_a_file_that_is_not_there_is_named_without_a_number(
    typed: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run(Network(), *typed) == 2
    assert capsys.readouterr().err == "archipelag: none.txt: there is no such file\n"


def test_no_input_at_all_is_told_as_that(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    assert run(Network(), "jobs", "submit", "llm-chat") == 2
    assert "standard input is empty" in capsys.readouterr().err


def test_a_full_disk_is_told_with_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Out
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28), "answer.bin")

    monkeypatch.setattr("archipelag.client.Client.download_file", full)

    assert run(Network(), "files", "get", "file_1", "-o", str(tmp_path / "answer.bin")) == 1
    assert "answer.bin: no space left on device" in capsys.readouterr().err


def test_what_a_stranger_named_does_not_steer_the_terminal(capsys: Out) -> None:
    hostile = refused(404, "not_found", "no \033[2Jmodel")

    assert run(Network(hostile), "workloads", "\033[31mred") == 1
    assert "\033" not in capsys.readouterr().err


def test_an_island_is_found_by_its_name(capsys: Out) -> None:
    network = Network()

    run(network, "islands", "tern")

    assert network.requests[1].url.path == f"/api/v1/hosts/{ISLAND}"
