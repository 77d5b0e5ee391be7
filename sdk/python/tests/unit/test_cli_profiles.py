"""`archipelag auth`: a key is tried, kept for its owner alone, used where it belongs, and forgotten."""

from __future__ import annotations

import io
import json
import stat
import sys
from pathlib import Path

import httpx
import pytest
from archipelag import Client
from archipelag.cli import main, settings
from stub import Network, refused

Out = pytest.CaptureFixture[str]
HERE, ELSEWHERE = "http://here.test:1", "http://elsewhere.test:1"


class Seen:
    """Which address and key each command's client was made with."""

    def __init__(self, *script: httpx.Response) -> None:
        self.network = Network(*script)
        self.made: list[tuple[str | None, str | None]] = []

    def __call__(self, url: str | None, key: str | None) -> Client:
        self.made.append((url, key))
        return self.network.client(url, key)


def login(*argv: str, name: str = "default", url: str = HERE, key: str = "ak_kept") -> None:
    assert (
        main(["--url", url, "--key", key, "--profile", name, "auth", "login", *argv], Seen()) == 0
    )


def test_a_key_is_kept_and_used_by_the_next_command(capsys: Out) -> None:
    login()
    seen = Seen()

    assert main(["models"], seen) == 0

    assert seen.made == [(HERE, "ak_kept")]
    assert "ak_kept" not in capsys.readouterr().out


def test_only_its_owner_can_read_the_file() -> None:
    login()

    file = settings.path()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [one.name for one in file.parent.iterdir()] == ["config.toml"]


def test_a_key_that_the_network_does_not_know_is_not_kept(capsys: Out) -> None:
    seen = Seen(refused(401, "invalid_api_key", "no such key"))

    assert main(["--url", HERE, "--key", "ak_wrong", "auth", "login"], seen) == 4

    assert not settings.path().exists() and "ak_wrong" not in capsys.readouterr().err


def test_a_key_comes_from_standard_input_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("ak_piped\n"))

    assert main(["--url", HERE, "auth", "login"], Seen()) == 0
    assert settings.read()["default"]["key"] == "ak_piped"


@pytest.mark.parametrize("given", ["", "\n", "ak_é\n", "ak_\0x\n"])
def test_what_is_no_key_is_refused(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(given))
    seen = Seen()

    assert main(["auth", "login"], seen) == 2
    assert seen.made == [] and "no key was given" in capsys.readouterr().err


def test_file_then_environment_then_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    login()
    seen = Seen()
    main(["models"], seen)
    monkeypatch.setenv("ARCHIPELAG_API_KEY", "ak_env")
    main(["models"], seen)
    main(["--key", "ak_flag", "models"], seen)
    monkeypatch.setenv("ARCHIPELAG_API_URL", ELSEWHERE)
    main(["models"], seen)

    found = [(HERE, "ak_kept"), (HERE, "ak_env"), (HERE, "ak_flag"), (ELSEWHERE, "ak_env")]
    assert seen.made == found


@pytest.mark.parametrize("where", ["flag", "environment"])
def test_a_kept_key_is_never_sent_to_another_network(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    login()
    seen = Seen()
    if where == "environment":
        monkeypatch.setenv("ARCHIPELAG_API_URL", ELSEWHERE)
        main(["models"], seen)
    else:
        main(["--url", ELSEWHERE, "models"], seen)

    assert seen.made == [(ELSEWHERE, None)]
    assert main(["--url", HERE + "/api/v1/", "models"], seen) == 0
    assert seen.made[1] == (HERE + "/api/v1/", "ak_kept"), "written otherwise, it is the same one"


def test_profiles_do_not_mind_each_other() -> None:
    login()
    login(name="work", url=ELSEWHERE, key='ak_"quoted\\"')
    seen = Seen()

    main(["--profile", "work", "models"], seen)
    main(["--profile", "work", "auth", "logout"], seen)
    main(["models"], seen)

    assert seen.made == [(ELSEWHERE, 'ak_"quoted\\"'), (HERE, "ak_kept")]
    assert list(settings.read()) == ["default"]


def test_the_environment_names_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    login(name="work")
    monkeypatch.setenv("ARCHIPELAG_PROFILE", "work")
    seen = Seen()

    main(["models"], seen)

    assert seen.made == [(HERE, "ak_kept")]


def test_status_says_whose_key_and_where_it_comes_from(capsys: Out) -> None:
    login()
    capsys.readouterr()

    assert main(["auth", "status", "--json"], Seen()) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["account"], told["key"], told["key_from"]) == (
        "a@example.org",
        "ak_kept…",
        "profile default",
    )


def test_status_warns_of_a_file_that_others_can_read(capsys: Out) -> None:
    login()
    settings.path().chmod(0o644)

    main(["auth", "status"], Seen())

    assert "chmod 600" in capsys.readouterr().err


def test_status_of_a_key_that_does_not_hold_is_4() -> None:
    assert main(["auth", "status"], Seen(refused(401, "invalid_api_key", "no"))) == 4


def test_logout_with_revoke_ends_the_key_itself() -> None:
    login(key="ak_ab_and_more")
    seen = Seen()

    assert main(["auth", "logout", "--revoke"], seen) == 0

    last = seen.network.requests[-1]
    assert (last.method, last.url.path) == ("DELETE", "/api/v1/api-keys/key_1")
    assert settings.read() == {}


def test_logout_that_cannot_tell_which_key_it_is_forgets_nothing() -> None:
    login(key="ak_zz")

    assert main(["auth", "logout", "--revoke"], Seen()) == 2
    assert settings.read() != {}


@pytest.mark.parametrize(
    "written",
    ["not toml", "profiles = 3", "[profiles]\ndefault = 3", "[profiles.default]\nkey = 3"],
)
def test_a_broken_file_is_named(written: str, capsys: Out) -> None:
    file = settings.path()
    file.parent.mkdir(parents=True)
    file.write_text(written)

    assert main(["models"], Seen()) == 2
    assert "config.toml" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.b", "a b", "../x", "x" * 65])
def test_what_is_no_name_of_a_profile_is_refused(name: str) -> None:
    seen = Seen()

    assert main(["--profile", name, "--key", "ak_x", "auth", "login"], seen) == 2
    assert seen.made == [] and not settings.path().exists()


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    file, other = settings.path(), tmp_path / "other"
    other.write_text("")
    file.parent.mkdir(parents=True)
    file.symlink_to(other)

    login()

    assert other.read_text() == "" and not file.is_symlink()
