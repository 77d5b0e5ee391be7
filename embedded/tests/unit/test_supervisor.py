"""The supervisor's rules: order, bounded restarts with backoff, an ending that always ends."""

from __future__ import annotations

import io
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from archipelag_embedded.bell import Bell, StopAsked
from archipelag_embedded.errors import CannotStart, StepFailed
from archipelag_embedded.process import Process
from archipelag_embedded.progress import Progress
from archipelag_embedded.supervisor import FAILURES_MAX, Service, Step, Supervisor

RUNS = "import time; time.sleep(600)"
ENDS = "import sys; sys.exit('no luck')"


class JumpingBell(Bell):
    """Jumps over time in which nothing runs that could end; while it runs, real time passes."""

    now = 0.0
    runs: Callable[[], bool] = staticmethod(lambda: True)

    def clock(self) -> float:
        return self.now

    def wait(self, timeout_s: float) -> None:
        if self.runs():
            super().wait(0.05)
        else:
            self.now += timeout_s


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def service(name: str, program: str, folder: Path) -> Service:
    def spawn() -> Process:
        return Process(name, [sys.executable, "-c", program], log=folder / f"{name}.log")

    return Service(name, spawn, ready=lambda: True)


def step(program: str, folder: Path, taken: list[str]) -> Step:
    return Step(
        "Step",
        program=lambda: [sys.executable, "-c", program],
        env=lambda: dict(os.environ),
        output=folder / "printed",
        log=folder / "step.log",
        take=taken.append,
    )


def test_a_step_hands_over_what_it_printed_and_keeps_it_out_of_the_log(tmp_path: Path) -> None:
    taken: list[str] = []
    program = "import sys; print('ak_secret'); print('a warning', file=sys.stderr)"
    with Bell() as bell:
        supervisor = Supervisor(
            [step(program, tmp_path, taken)], bell=bell, progress=Progress(io.StringIO())
        )

        supervisor.start()

    assert taken == ["ak_secret\n"]
    assert (tmp_path / "step.log").read_text() == "a warning\n"
    assert not (tmp_path / "printed").exists()


def test_a_failing_step_stops_the_start_and_shows_its_log(tmp_path: Path) -> None:
    out = io.StringIO()
    parts = [step(ENDS, tmp_path, []), service("Never", RUNS, tmp_path)]
    with Bell() as bell:
        supervisor = Supervisor(parts, bell=bell, progress=Progress(out))

        with pytest.raises(StepFailed, match="no luck"):
            supervisor.start()

    assert supervisor.processes == {}
    assert "Never" not in out.getvalue()


def test_a_service_that_keeps_ending_is_given_up_after_a_bounded_number_of_tries(
    tmp_path: Path,
) -> None:
    out = io.StringIO()
    restarts: list[float] = []
    with JumpingBell() as bell:
        programs = itertools.chain([RUNS], itertools.repeat(ENDS))
        fragile = Service(
            "Fragile", lambda: service("Fragile", next(programs), tmp_path).spawn(), lambda: True
        )
        parts = [service("Steady", RUNS, tmp_path), fragile]
        supervisor = Supervisor(parts, bell=bell, progress=Progress(out), clock=bell.clock)
        supervisor.start()
        bell.runs = lambda: alive(supervisor.processes.get("Fragile", 0))
        os.kill(supervisor.processes["Fragile"], signal.SIGKILL)

        with pytest.raises(CannotStart, match="no luck"):
            supervisor.watch(lambda: restarts.append(bell.now))
        supervisor.stop()

    gaps = [later - earlier for earlier, later in itertools.pairwise(restarts)]
    assert len(restarts) == FAILURES_MAX
    assert gaps == sorted(gaps)
    assert supervisor.processes == {}


def test_asking_to_stop_ends_a_step_that_hangs(tmp_path: Path) -> None:
    with Bell() as bell:
        supervisor = Supervisor(
            [step(RUNS, tmp_path, [])], bell=bell, progress=Progress(io.StringIO())
        )
        os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(StopAsked):
            supervisor.start()


def test_services_stop_in_reverse_order_of_their_start(tmp_path: Path) -> None:
    out = io.StringIO()
    with Bell() as bell:
        parts = [service(name, RUNS, tmp_path) for name in ("First", "Second", "Third")]
        supervisor = Supervisor(parts, bell=bell, progress=Progress(out))
        supervisor.start()

        supervisor.stop()
        supervisor.stop()

    stopped = [line.split()[1] for line in out.getvalue().splitlines() if "Stopping" in line]
    assert stopped == ["Third", "Second", "First"]


def test_asking_twice_does_not_wait_for_a_deaf_service(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); " + RUNS
    with Bell() as bell:
        parts = [service("Deaf", deaf, tmp_path)]
        supervisor = Supervisor(parts, bell=bell, progress=Progress(io.StringIO()))
        supervisor.start()
        while not (tmp_path / "Deaf.log").read_text():
            bell.wait(0.01)
        pid = supervisor.processes["Deaf"]
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

        supervisor.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
