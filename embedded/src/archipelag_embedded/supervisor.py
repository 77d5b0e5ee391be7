"""Starts what a network is made of in order, keeps it running, and stops it in reverse order."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from archipelag_embedded.bell import Bell
from archipelag_embedded.errors import CannotStart, StepFailed
from archipelag_embedded.process import STATE_MARK, Process, bound_log, end_all, tail
from archipelag_embedded.progress import Progress

POLL_S = 0.05
WATCH_S = 2.0
"""How often logs are bounded and the running time of a service is looked at."""
STOP_GRACE_S = 15.0
BACKOFF_FIRST_S = 0.5
BACKOFF_S_MAX = 30.0
STEADY_S = 60.0
"""A service that ran this long has recovered: its failures are forgotten."""
FAILURES_MAX = 8


@dataclass(frozen=True)
class Step:
    """A command that prepares something and ends; what it prints goes to `take`."""

    name: str
    program: Callable[[], Sequence[str | Path]]
    env: Callable[[], dict[str, str]]
    output: Path
    log: Path
    take: Callable[[str], None] = lambda _: None
    step_s: float = 120.0


@dataclass(frozen=True)
class Service:
    """A program that must run all the time."""

    name: str
    spawn: Callable[[], Process]
    ready: Callable[[], bool]
    ready_s: float = 60.0
    poll_s: float = POLL_S
    """How often to ask whether it is ready; seldom where asking takes time from what it does."""


@dataclass
class Watched:
    """A service as the supervisor knows it."""

    service: Service
    process: Process
    started: float
    failures: int = 0
    next_try: float | None = field(default=None)


class Supervisor:
    """Runs one list of steps and services; `start`, then `watch`, and always `stop`."""

    def __init__(
        self,
        parts: Sequence[Step | Service],
        *,
        bell: Bell,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._bell = bell
        self._progress = progress
        self._clock = clock
        self._watched: list[Watched] = []

    @property
    def processes(self) -> dict[str, int]:
        return {watched.service.name: watched.process.pid for watched in self._watched}

    def start(self) -> None:
        """Goes through the list; raises `StopAsked`, `CannotStart` or `StepFailed`."""
        try:
            for part in self._parts:
                match part:
                    case Step():
                        self._run(part)
                    case Service():
                        self._start(part)
        except BaseException:
            self._progress.failed()
            raise

    def watch(
        self, restarted: Callable[[], None], each_round: Callable[[], None] = lambda: None
    ) -> None:
        """Restarts what ends until somebody asks to stop or a service fails for good."""
        while not self._bell.stop_asked:
            for watched in self._watched:
                if self._look_at(watched):
                    restarted()
            each_round()
            self._bell.wait(self._patience())

    def stop(self) -> None:
        """Ends everything, the last started first; idempotent, and faster when asked twice."""
        while self._watched:
            watched = self._watched.pop()
            self._progress.begin(f"Stopping {watched.service.name}")
            self._end(watched.process, grace_s=STOP_GRACE_S)
            self._progress.done()

    def _run(self, step: Step) -> None:
        self._progress.begin(step.name)
        step.output.parent.mkdir(parents=True, exist_ok=True)
        step.output.unlink(missing_ok=True)
        command = Process(
            step.name, step.program(), log=step.log, env=step.env(), output=step.output
        )
        try:
            self._await(command, lambda: False, step.step_s, step.name)
            printed = step.output.read_text()
        finally:
            self._end(command, grace_s=2.0)
            step.output.unlink(missing_ok=True)  # It may hold a key.
        if command.exit_code != 0:
            raise StepFailed(
                f"{step.name} failed with code {command.exit_code}. "
                f"Its log {step.log} says:\n{command.log_tail()}"
            )
        step.take(printed)
        self._progress.done()

    def _start(self, service: Service) -> None:
        self._progress.begin(service.name)
        process = service.spawn()
        self._watched.append(Watched(service, process, self._clock()))
        self._await(process, service.ready, service.ready_s, service.name, poll_s=service.poll_s)
        if not process.running:
            raise process.failed("did not start")
        self._progress.done()

    def _await(
        self,
        process: Process,
        met: Callable[[], bool],
        limit_s: float,
        name: str,
        *,
        poll_s: float = POLL_S,
    ) -> None:
        """Returns once the condition is met, or the process has ended."""
        deadline = self._clock() + limit_s
        next_look = self._clock()
        while process.running:
            if self._clock() >= next_look:
                if met():
                    return
                next_look = self._clock() + poll_s
            if self._clock() > deadline:
                raise CannotStart(
                    f"{name} took more than {limit_s:.0f} s. Its log {process.log} says:\n"
                    f"{process.log_tail()}"
                )
            self._progress.tick()
            self._bell.pause(POLL_S)

    def _look_at(self, watched: Watched) -> bool:
        """True when it had to be started again."""
        bound_log(watched.process.log)
        now = self._clock()
        if watched.process.running:
            if watched.failures and now - watched.started > STEADY_S:
                watched.failures = 0
        elif watched.next_try is None:
            self._note_failure(watched, now)
        elif now >= watched.next_try:
            watched.next_try = None
            watched.started = now
            watched.process = watched.service.spawn()
            return True
        return False

    def _note_failure(self, watched: Watched, now: float) -> None:
        name, process = watched.service.name, watched.process
        watched.failures += 1
        if watched.failures > FAILURES_MAX:
            raise process.failed(f"ended {watched.failures} times in a row, so the network stops")
        wait_s = min(BACKOFF_FIRST_S * 2 ** (watched.failures - 1), BACKOFF_S_MAX)
        watched.next_try = now + wait_s
        self._progress.say(
            f"  {name} ended with code {process.exit_code}; starting it again in {wait_s:.1f} s "
            f"({watched.failures} of {FAILURES_MAX}). Its log {process.log} says:\n"
            f"{tail(process.log)}"
        )

    def _patience(self) -> float:
        now = self._clock()
        tries = [w.next_try - now for w in self._watched if w.next_try is not None]
        return max(0.0, min([WATCH_S, *tries]))

    def _end(self, process: Process, *, grace_s: float) -> None:
        process.ask_to_stop()
        deadline = self._clock() + grace_s
        while process.running and self._clock() < deadline and not self._bell.insisted:
            self._progress.tick()
            self._bell.wait(POLL_S)
        process.kill()


def end_orphans(directory: Path) -> int:
    """Ends what an earlier supervisor of this directory left running; returns how many there were.

    PostgreSQL is left out: it wants another signal, and finds its own orphans.
    """
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    ours = str(directory)
    orphans = []
    for process in psutil.process_iter(["pid", "name"]):
        if process.pid in spared or process.info["name"] == "postgres":
            continue
        try:
            mark = process.environ().get(STATE_MARK, "")
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            continue
        if mark == ours or mark.startswith(f"{ours}/"):
            orphans.append(process)
    end_all(orphans, asking=signal.SIGTERM, grace_s=STOP_GRACE_S)
    return len(orphans)
