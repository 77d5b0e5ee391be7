"""The state directory: one holder at a time, facts for others, secrets for one."""

from __future__ import annotations

import shlex
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from archipelag_embedded.banner import banner, exports
from archipelag_embedded.errors import AlreadyRunning, EmbeddedError, NotRunning
from archipelag_embedded.files import write_private
from archipelag_embedded.settings import read_settings
from archipelag_embedded.state import Facts, State

FACTS = Facts(
    api_url="http://127.0.0.1:8420",
    database_url="postgresql://archipelag:it's secret@127.0.0.1:5/archipelag",
    nats_url="nats://127.0.0.1:6",
    started_at="2026-01-01T00:00:00+00:00",
    sign_in_as="admin@archipelag.local",
    processes={"NATS": 42},
)


def test_a_held_directory_cannot_be_held_again(tmp_path: Path) -> None:
    state = State(tmp_path / "var")

    with state.held():
        with pytest.raises(AlreadyRunning), state.held():
            pass
        assert state.holder() is not None

    assert state.holder() is None
    with state.held():
        pass


def test_facts_count_only_while_the_directory_is_held(tmp_path: Path) -> None:
    state = State(tmp_path / "var")

    with state.held():
        state.publish(FACTS)
        write_private(state.api_key, "ak_1")
        assert state.running() == (FACTS, "ak_1")

    with pytest.raises(NotRunning, match="make up"):
        state.running()


def test_facts_of_a_killed_supervisor_do_not_count(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib; from archipelag_embedded.state import Facts, State\n"
        "state = State(pathlib.Path(sys.argv[1]))\n"
        "with state.held():\n"
        "    state.publish(Facts('a', 'b', 'c', 'd'))\n"
        "    os._exit(9)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)

    assert killed.returncode == 9
    assert (tmp_path / "network.json").exists()
    assert State(tmp_path).facts() is None
    with State(tmp_path).held():
        assert State(tmp_path).facts() is None


def test_a_starting_network_is_told_from_none(tmp_path: Path) -> None:
    state = State(tmp_path / "var")

    with state.held(), pytest.raises(NotRunning, match="not ready yet"):
        state.running()


def test_a_secret_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o666)

    write_private(file, "new")

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == "new\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_a_shell_reads_back_what_env_prints() -> None:
    printed = exports(FACTS, "ak_1")
    names = ["API_URL", "API_KEY", "DATABASE_URL", "NATS_URL"]
    script = printed + "\nprintf '%s\\n' " + " ".join(f'"$ARCHIPELAG_{name}"' for name in names)

    shell = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)

    assert shell.stdout.splitlines() == [
        FACTS.api_url,
        "ak_1",
        FACTS.database_url,
        FACTS.nats_url,
    ]


def test_the_banner_has_everything_to_begin_with() -> None:
    text = banner(FACTS, "ak_1", model="some-model")

    for wanted in (
        "http://127.0.0.1:8420/api/v1/docs",
        "curl -N http://127.0.0.1:8420/v1/chat/completions",
        "Bearer ak_1",
        "as admin@archipelag.local: the link comes into http://127.0.0.1:8420/mailbox",
        '"model": "some-model"',
        '"stream": true',
        'base_url="http://127.0.0.1:8420/v1"',
    ):
        assert wanted in text


def test_the_banner_has_a_command_that_a_shell_takes_apart_as_meant() -> None:
    text = banner(FACTS, "ak_1", model="some-model", command="a folder/archipelag")
    line = next(line for line in text.splitlines() if "archipelag'" in line)

    typed = ["--url", "http://127.0.0.1:8420", "--key", "ak_1", "chat", "Why is the sky blue?"]
    assert shlex.split(line) == ["a folder/archipelag", *typed]


def test_the_banner_names_no_mailbox_where_mail_is_sent() -> None:
    text = banner(replace(FACTS, sign_in_as=""), "ak_1", model="some-model")

    assert "Sign in" not in text and "mailbox" not in text
    assert "Open      http://127.0.0.1:8420\n" in text


def test_the_python_lines_of_the_banner_are_python() -> None:
    text = banner(FACTS, "ak_1", model="some-model")
    lines = text[text.index("from openai") : text.index("\n  Ctrl-C")]

    compile(lines, "banner", "exec")


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_wrong_port_is_refused(port: str) -> None:
    with pytest.raises(EmbeddedError, match="ARCHIPELAG_HTTP_PORT"):
        read_settings({"ARCHIPELAG_HTTP_PORT": port})


def test_the_option_names_the_state_directory_before_the_environment(tmp_path: Path) -> None:
    environ = {"ARCHIPELAG_HOME": "/somewhere"}

    assert read_settings(environ).home == Path("/somewhere")
    assert read_settings(environ, home=str(tmp_path)).home == tmp_path
