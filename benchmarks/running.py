"""Helper of the benchmarks: one of them as a process of its own, which leaves nothing behind however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import figures
import telling
from archipelag_embedded.process import kill_group, launched
from figures import Figure

HERE: Final = Path(__file__).parent
LOOK_S: Final = 0.2
STOP_S: Final = 60.0
"""For stopping servers in order and removing their folders."""
PATIENCE: Final = 6.0
"""How many times as long as it should a benchmark may take, on a machine that others use."""
PATIENCE_S: Final = 120.0


@dataclass(frozen=True)
class Benchmark:
    """A file beside this one: how long it takes on two quiet cores, and what makes a short run of it."""

    name: str
    seconds: int
    quick_s: int
    quick: str = ""
    whole: str = ""
    states: bool = True
    """Gives figures for the table; else what it prints is kept, and no more."""

    def arguments(self, quick: bool) -> list[str]:
        return (self.quick if quick else self.whole).split()

    def expected_s(self, quick: bool) -> int:
        return self.quick_s if quick else self.seconds


@dataclass(frozen=True)
class Ended:
    """What became of one: `done`, `failed`, or `left out` where it cannot run here."""

    name: str
    ended: str
    seconds: float
    why: str = ""
    figures: list[Figure] = field(default_factory=list)


def run(
    benchmark: Benchmark,
    *,
    quick: bool,
    said: Path | None,
    folder: Path = HERE,
    tick: Callable[[float], None] = lambda _: None,
) -> Ended:
    """`said`: where its words go; None: to the terminal. `tick` is told how many seconds it has run."""
    begun = time.monotonic()
    limit_s = PATIENCE * benchmark.expected_s(quick) + PATIENCE_S
    with _scratch() as scratch, _output(said) as output:
        stated = scratch / "figures.jsonl"
        stated.touch()
        program = [
            sys.executable,
            str(folder / f"{benchmark.name}.py"),
            *benchmark.arguments(quick),
        ]
        # All temporary files of it lie in one folder, which is removed even where it had to be killed.
        env = os.environ | {telling.FILE: str(stated), "TMPDIR": str(scratch)}
        # A session of its own: Ctrl-C reaches us alone, and whatever is left of it can be ended.
        child = subprocess.Popen(
            launched(program, dying_signal=signal.SIGINT),
            stdout=output,
            stderr=output,
            env=env,
            start_new_session=True,
        )
        late = False
        try:
            while child.poll() is None and not late:
                time.sleep(LOOK_S)
                tick(time.monotonic() - begun)
                late = time.monotonic() - begun > limit_s
        finally:
            _end(child)
        found = [figures.read(json.loads(line)) for line in stated.read_text().splitlines()]
    took = time.monotonic() - begun
    ended, why = _judged(benchmark, child.returncode, found, said)
    if late:
        ended, why = "failed", f"it took longer than {limit_s:.0f} s"
    return Ended(benchmark.name, ended, took, why, found)


def _judged(
    benchmark: Benchmark, code: int, found: list[Figure], said: Path | None
) -> tuple[str, str]:
    last = _last_line(said)
    if code == telling.CANNOT_RUN:
        return "left out", last.removeprefix("cannot run: ")
    if code != 0:
        return "failed", f"it ended with {code}: {last}"
    if benchmark.states and not found:
        return "failed", "it stated no figure"
    return "done", ""


def _last_line(said: Path | None) -> str:
    lines = said.read_text(errors="replace").split("\n") if said else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "see above")


def _end(child: subprocess.Popen[Any]) -> None:
    """Asks it to tidy up as Ctrl-C would, then ends what is left of its session."""
    try:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        return
    finally:
        kill_group(child.pid)
        child.wait()


@contextmanager
def _scratch() -> Iterator[Path]:
    """Open to all: servers that give root up have their folders in it."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _output(said: Path | None) -> Iterator[Any]:
    if said is None:
        yield None
        return
    said.parent.mkdir(parents=True, exist_ok=True)
    with said.open("wb") as file:
        yield file
