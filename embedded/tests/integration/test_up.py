"""A whole network with stand-ins for the Coordinator and the Island: it starts, heals, stops, recovers."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from archipelag_embedded.postgres import servers_in
from archipelag_embedded.process import STATE_MARK, free_port
from archipelag_embedded.state import State

STANDINS = Path(__file__).resolve().parents[1] / "standins"
LIMIT_S = 60
# Ctrl-C works in a terminal, whatever ran these tests in its background. Nothing of ours runs between fork and exec.
INTERRUPTIBLE = """import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, "-m", "archipelag_embedded", sys.argv[1]])
"""


class Terminal:
    """One person's terminal: a state directory and commands in it."""

    def __init__(self, directory: Path) -> None:
        self.state = State(directory)
        self.fails = ""
        self._ups: list[subprocess.Popen[str]] = []
        self._ports = {"ARCHIPELAG_HTTP_PORT": str(free_port())}
        self._ports["ARCHIPELAG_GRPC_PORT"] = str(free_port())

    def _start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, command],
            env={
                **os.environ,
                **self._ports,
                "PYTHONPATH": str(STANDINS),
                "ARCHIPELAG_HOME": str(self.state.directory),
                "STANDIN_FAILS": self.fails,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        done = self._start(command)
        printed, _ = done.communicate(timeout=LIMIT_S)
        return done.returncode, printed

    def up(self) -> subprocess.Popen[str]:
        """Starts a network in the background and returns once it is ready."""
        running = self._start("up")
        self._ups.append(running)
        wait_until(lambda: self.state.facts() is not None or running.poll() is not None)
        assert running.poll() is None, running.communicate()[0]
        return running

    def left(self) -> list[str]:
        """Everything that still runs for this directory."""
        found = []
        for process in psutil.process_iter():
            try:
                mark = process.environ().get(STATE_MARK, "")
                if mark.startswith(str(self.state.directory)):
                    found.append(" ".join(process.cmdline()))
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        servers = servers_in(self.state.postgres / "data")
        return found + [f"postgres {server.pid}" for server in servers]

    def processes(self) -> dict[str, int]:
        facts = self.state.facts()
        assert facts is not None
        return facts.processes

    def leave(self) -> None:
        for running in self._ups:
            if running.poll() is None:
                running.terminate()
                running.communicate(timeout=LIMIT_S)


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not met():
        assert time.monotonic() < deadline, "what was awaited did not happen"
        time.sleep(0.05)


@pytest.fixture
def terminal(embedded_directory: Path) -> Iterator[Terminal]:
    # Not `tmp_path`: it is private, and `nobody`, where the server must be that, would keep its files elsewhere.
    directory = Path(tempfile.mkdtemp(dir=embedded_directory))
    directory.chmod(0o711)
    terminal = Terminal(directory / "var")
    yield terminal
    terminal.leave()
    assert terminal.left() == []


def test_ctrl_c_stops_everything_and_the_key_is_kept(terminal: Terminal) -> None:
    running = terminal.up()
    code, shell = terminal.run("env")
    key = terminal.state.read_api_key()
    running.send_signal(signal.SIGINT)
    printed, _ = running.communicate(timeout=LIMIT_S)

    assert code == 0
    assert f"export ARCHIPELAG_API_KEY={key}" in shell
    assert running.returncode == 0
    assert "stand-in-model" in printed
    assert f"Authorization: Bearer {key}" in printed
    order = ["Stopping Island", "Stopping Coordinator", "Stopping NATS", "Stopping PostgreSQL"]
    positions = [printed.index(line) for line in order]
    assert positions == sorted(positions)

    terminal.up()

    assert terminal.state.read_api_key() == key
    assert stat.S_IMODE(terminal.state.api_key.stat().st_mode) == 0o600


def test_a_second_up_shows_the_running_network(terminal: Terminal) -> None:
    terminal.up()
    before = terminal.processes()

    code, printed = terminal.run("up")

    assert code == 0
    assert "already runs" in printed
    assert f"Authorization: Bearer {terminal.state.read_api_key()}" in printed
    assert terminal.processes() == before


def test_down_stops_a_network_of_another_terminal(terminal: Terminal) -> None:
    running = terminal.up()

    code, _ = terminal.run("down")
    again, printed = terminal.run("down")

    assert (code, again) == (0, 0)
    assert "No network runs" in printed
    assert running.wait(timeout=1) == 0
    running.communicate()
    assert terminal.left() == []


@pytest.mark.parametrize("command", ["env", "status", "demo-wait"])
def test_without_a_network_commands_fail_and_say_what_to_do(
    terminal: Terminal, command: str
) -> None:
    code, printed = terminal.run(command)

    assert code == 1
    assert "make up" in printed
    assert "export" not in printed


def test_nothing_survives_the_killing_of_the_supervisor_once_it_starts_anew(
    terminal: Terminal,
) -> None:
    running = terminal.up()
    key, first = terminal.state.read_api_key(), terminal.processes()
    running.kill()
    running.communicate()

    code, _ = terminal.run("env")
    children = [psutil.Process(pid) for pid in first.values() if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(children, timeout=LIMIT_S)
    terminal.up()

    assert code == 1
    assert alive == []
    assert terminal.state.read_api_key() == key
    engines = [command for command in terminal.left() if "time.sleep(600)" in command]
    assert len(engines) == 1


def test_a_network_recovers_from_the_killing_of_everything(terminal: Terminal) -> None:
    running = terminal.up()
    key = terminal.state.read_api_key()
    victims = [running.pid, *terminal.processes().values()]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    running.communicate()

    terminal.up()

    assert terminal.state.read_api_key() == key
    assert terminal.run("status")[0] == 0


def test_what_ends_is_started_again_at_the_same_address(terminal: Terminal) -> None:
    terminal.up()
    first = terminal.state.facts()
    assert first is not None

    for name in ("PostgreSQL", "NATS", "Coordinator", "Island with a warm model"):
        before = terminal.processes()
        os.kill(before[name], signal.SIGKILL)
        wait_until(lambda name=name, pid=before[name]: terminal.processes()[name] != pid)
        after = terminal.processes()
        assert {other for other in after if after[other] != before[other]} == {name}

    last = terminal.state.facts()
    assert last is not None
    assert (last.database_url, last.nats_url) == (first.database_url, first.nats_url)


@pytest.mark.parametrize("step", ["bootstrap", "island"])
def test_a_start_that_fails_shows_why_and_leaves_nothing(terminal: Terminal, step: str) -> None:
    terminal.fails = step

    code, printed = terminal.run("up")

    assert code == 1
    assert f"{step}: the stand-in was told to fail" in printed
    assert "Stopping PostgreSQL" in printed
    assert terminal.left() == []


def test_a_lost_database_gets_a_new_key(terminal: Terminal) -> None:
    terminal.state.make()
    terminal.state.api_key.write_text("ak_of_a_database_that_is_gone\n")

    terminal.up()

    assert terminal.state.read_api_key() != "ak_of_a_database_that_is_gone"
    assert json.loads((terminal.state.directory / "network.json").read_text())["processes"]
