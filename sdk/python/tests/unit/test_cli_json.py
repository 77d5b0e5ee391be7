"""`--json` of every command is JSON, of those too that only do something."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from archipelag.cli import main
from stub import ISLAND, JOB, TEXTS, Network

Out = pytest.CaptureFixture[str]


def told(capsys: Out, *argv: str) -> object:
    assert main(argv, Network().client) == 0
    return json.loads(capsys.readouterr().out)


def test_the_demo_gives_its_figures(capsys: Out) -> None:
    shown = told(capsys, "demo", "--json")

    assert isinstance(shown, dict)
    assert (shown["text"], shown["island"], shown["job_id"]) == ("".join(TEXTS), ISLAND, JOB)
    assert 0 <= shown["first_token_s"] <= shown["whole_s"]
    assert shown["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize(
    ("method", "typed", "shown"),
    [
        ("delete_file", ("files", "delete", "file_1"), {"id": "file_1", "deleted": True}),
        ("revoke_key", ("keys", "revoke", "key_1"), {"id": "key_1", "revoked": True}),
    ],
)
def test_what_is_done_is_told(
    method: str, typed: tuple[str, ...], shown: object, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(f"archipelag.client.Client.{method}", lambda _, one: asked.append(one))

    assert told(capsys, *typed, "--json") == shown
    assert asked == [typed[-1]]


def test_a_download_says_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setattr(
        "archipelag.client.Client.download_file", lambda *_: SimpleNamespace(size_bytes=3)
    )
    to = str(tmp_path / "a.bin")

    shown = told(capsys, "files", "get", "file_1", "-o", to, "--json")
    assert shown == {"id": "file_1", "path": to, "size_bytes": 3}


def test_a_profile_that_is_forgotten_says_so(capsys: Out) -> None:
    assert told(capsys, "auth", "logout", "--json") == {"profile": "default", "forgotten": False}
