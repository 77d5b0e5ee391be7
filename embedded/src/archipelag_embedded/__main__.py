"""`archipelag-embedded up | down | env | status | demo-wait`: one network on this machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from archipelag_contracts.commands import Parser

from archipelag_embedded.api import Api
from archipelag_embedded.banner import banner, exports
from archipelag_embedded.bell import Bell, StopAsked
from archipelag_embedded.errors import AlreadyRunning, EmbeddedError, NotRunning
from archipelag_embedded.letters import Letters
from archipelag_embedded.network import Network
from archipelag_embedded.process import bound_log
from archipelag_embedded.progress import Progress
from archipelag_embedded.settings import Settings, read_settings
from archipelag_embedded.state import Facts, State
from archipelag_embedded.supervisor import Supervisor, end_orphans

POLL_S = 0.2
DOWN_S = 90.0
WAIT_S = 900.0


def up(settings: Settings, state: State) -> int:
    """Starts a network and stays until it is asked to stop."""
    progress = Progress(sys.stdout)
    try:
        with state.held(), Bell() as bell:
            return _run(settings, state, bell, progress)
    except AlreadyRunning as running:
        print(f"{running} (process {state.holder()}).", flush=True)
        return demo_wait(state)


def _run(settings: Settings, state: State, bell: Bell, progress: Progress) -> int:
    began = time.monotonic()
    progress.say(f"Starting an Archipelag network in {state.directory}")
    if orphans := end_orphans(state.directory):
        progress.say(f"  Ended {orphans} processes that an earlier start had left running")
    for log in (state.directory / "logs").glob("*.log"):
        bound_log(log)
    network = Network(settings, state)
    for note in network.notes:
        progress.say(f"  {note}")
    supervisor = Supervisor(network.parts(), bell=bell, progress=progress)
    try:
        supervisor.start()
        facts = network.facts(supervisor.processes)
        state.publish(facts)
        progress.say(f"  Ready after {time.monotonic() - began:.1f} s")
        progress.say(_banner(state, facts))
        letters = Letters(state.coordinator / "mailbox")
        supervisor.watch(
            lambda: state.publish(network.facts(supervisor.processes)),
            lambda: _tell(letters, progress),
        )
    except StopAsked:
        pass
    finally:
        state.forget_facts()
        supervisor.stop()
        end_orphans(state.directory)  # An engine that left its Island's session, for one.
    progress.say("Stopped. Everything is kept for the next start.")
    return 0


def _tell(letters: Letters, progress: Progress) -> None:
    for line in letters.look():
        progress.say(line)


def _banner(state: State, facts: Facts) -> str:
    key = state.read_api_key() or ""
    models = Api(facts.api_url, key).chat_models()
    model = models[0] if models else "MODEL"
    return banner(facts, key, model=model, command=_beside("archipelag"))


def _beside(program: str) -> str:
    """A program that was installed with this one, as one calls it from here."""
    path = Path(sys.executable).with_name(program)
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def down(state: State) -> int:
    """Stops a network that was started elsewhere, and waits until it is gone."""
    holder = state.holder()
    if holder is None:
        print(f"No network runs with {state.directory}.")
        return 0
    progress = Progress(sys.stdout)
    progress.begin("Stopping the network")
    deadline = time.monotonic() + DOWN_S
    if holder:
        _terminate(holder)
    while state.holder() is not None:
        if time.monotonic() > deadline:
            progress.failed()
            raise EmbeddedError(
                f"process {holder} did not end within {DOWN_S:.0f} s: end it with `kill -9 {holder}`; "
                "the next start cleans up"
            )
        progress.tick()
        time.sleep(POLL_S)
    progress.done()
    return 0


def _terminate(holder: int) -> None:
    try:
        psutil.Process(holder).terminate()
    except psutil.NoSuchProcess:
        return  # It ended by itself just now.


def env(state: State) -> int:
    facts, key = state.running()
    print(exports(facts, key))
    return 0


def status(state: State, *, as_json: bool = False) -> int:
    facts, _ = state.running()
    if as_json:
        told = {"state": str(state.directory), "url": facts.api_url, "since": facts.started_at}
        print(json.dumps(told | {"processes": facts.processes}, indent=2))
        return 0
    print(f"A network runs with {state.directory} since {facts.started_at}.")
    print(f"  Address      {facts.api_url}")
    print(f"  Supervisor   process {state.holder()}")
    for name, pid in facts.processes.items():
        note = "" if psutil.pid_exists(pid) else " ended; it is started again soon"
        print(f"  {name:<26} process {pid}{note}")
    return 0


def demo_wait(state: State) -> int:
    """Waits until the network that is starting is ready, then shows how to use it."""
    progress = Progress(sys.stdout)
    progress.begin("Waiting for the network")
    deadline = time.monotonic() + WAIT_S
    while (facts := state.facts()) is None:
        if state.holder() is None or time.monotonic() > deadline:
            progress.failed()
            state.running()
            raise NotRunning("the network did not become ready: see the terminal that started it")
        progress.tick()
        time.sleep(POLL_S)
    progress.done()
    print(_banner(state, facts), flush=True)
    return 0


def parser() -> argparse.ArgumentParser:
    made = Parser(prog="archipelag-embedded", description=__doc__)
    made.add_argument("--state", help="the state directory (else ARCHIPELAG_HOME, else var)")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    start = commands.add_parser("up", help="start a network and stay until Ctrl-C")
    start.add_argument(
        "--log-format",
        choices=("text", "json"),
        help="of the Coordinator's and the Islands' logs (else ARCHIPELAG_LOG_FORMAT, else text)",
    )
    for name, text in {
        "down": "stop a network that was started elsewhere",
        "env": "print shell exports for the running network",
        "status": "say what runs, and where",
        "demo-wait": "wait until the network that is starting is ready",
    }.items():
        one = commands.add_parser(name, help=text)
        if name == "status":
            one.add_argument("--json", action="store_true", help="the same for programs")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    try:
        settings = read_settings(os.environ, home=chosen.state)
        state = State(settings.home)
        match chosen.command:
            case "up":
                return up(settings.logging_as(chosen.log_format), state)
            case "down":
                return down(state)
            case "env":
                return env(state)
            case "status":
                return status(state, as_json=chosen.json)
            case _:
                return demo_wait(state)
    except EmbeddedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
