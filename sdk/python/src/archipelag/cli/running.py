"""`archipelag batch`: a job for each line of a file, with a bar, taken up again where it was left."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from archipelag import Client, Job, JobFailedError, TooLargeError, ValidationError
from archipelag.cli import mistakes, printing

LINE_CHARACTERS_MAX: Final = 512 * 1024
BAR_WIDTH: Final = 30
LOOK_UP_S: Final = 1.0
"""How soon a reader of an answer sees that all shall stop."""
# What is wrong with one line; anything else would be wrong with the next one too.
OF_THE_LINE: Final = (ValidationError, TooLargeError)


@dataclass(frozen=True)
class Line:
    """One input, by the number of its line, from 1."""

    number: int
    given: dict[str, Any]


class Results:
    """What has been answered, a JSON object a line; `run` names this batch, so that a line is never paid twice."""

    def __init__(self, to: Path) -> None:
        self._to = to
        self._mark = to.with_name(to.name + ".run")
        self._lock = threading.Lock()
        self.completed: set[int] = set()
        self.tries: dict[int, int] = {}
        for told in self._told():
            number = told["line"]
            self.tries[number] = self.tries.get(number, 0) + 1
            if told.get("status") == "completed":
                self.completed.add(number)
        self.run = self._named()

    def _told(self) -> Iterator[dict[str, Any]]:
        """What stands in the file. A last line that was cut short when the power went is cut off."""
        if not self._to.exists():
            return
        with self._to.open("rb+") as file:
            whole = 0
            for raw in file:
                try:
                    told = json.loads(raw)
                    known = isinstance(told, dict) and isinstance(told.get("line"), int)
                except ValueError:
                    known = False
                if known and raw.endswith(b"\n"):
                    whole += len(raw)
                    yield told
                elif raw.endswith(b"\n"):
                    raise ValueError(f"{self._to} is no file of results; name another: --output")
            file.truncate(whole)

    def _named(self) -> str:
        if self._mark.exists():
            return self._mark.read_text(encoding="ascii").strip()
        run = secrets.token_hex(12)
        self._mark.write_text(run, encoding="ascii")
        return run

    def key(self, number: int) -> str:
        """The Idempotency-Key of a line: the same until it has an answer, another one to ask it anew."""
        return f"batch-{self.run}-{number}-{self.tries.get(number, 0)}"

    def note(self, told: dict[str, Any]) -> None:
        line = json.dumps(told, ensure_ascii=False, default=printing.plain) + "\n"
        with self._lock, self._to.open("a", encoding="utf-8") as out:
            out.write(line)
            out.flush()
            os.fsync(out.fileno())

    def finish(self) -> None:
        self._mark.unlink(missing_ok=True)


class Bar:
    """How far it is, on a terminal in one line that changes; elsewhere nothing."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done, self.failed = total, done, 0
        self._alive = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.show()

    def one(self, *, failed: bool) -> None:
        self.done, self.failed = self.done + 1, self.failed + failed
        self.show()

    def show(self) -> None:
        if not self._alive:
            return
        filled = BAR_WIDTH * self.done // max(1, self.total)
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        failed = f", {self.failed} failed" if self.failed else ""
        sys.stderr.write(f"\r{bar} {self.done} of {self.total}{failed} ")
        sys.stderr.flush()

    def end(self) -> None:
        if self._alive:
            sys.stderr.write("\n")


def batch(client: Client, arguments: argparse.Namespace) -> int:
    """0 when all have completed, 6 when some have not."""
    file = Path(arguments.file)
    lines = list(read(file))
    to = Path(arguments.output or f"{file.name}.results.jsonl")
    if to.resolve() == file.resolve():
        raise ValueError("--output is the file that is read")
    results = Results(to)
    left = [line for line in lines if line.number not in results.completed]
    if len(left) < len(lines):
        print(f"{len(lines) - len(left)} of {len(lines)} were done before.", file=sys.stderr)
    bar = Bar(len(lines), len(lines) - len(left))
    try:
        _all(client, arguments, left, results, bar)
    finally:
        bar.end()
    if not bar.failed:
        results.finish()
    if arguments.format == "json":
        shown = {"total": len(lines), "completed": len(lines) - bar.failed, "failed": bar.failed}
        printing.as_json(shown | {"results": str(to)})
    else:
        failed = f", {bar.failed} failed: the same command asks them anew" if bar.failed else ""
        print(f"{to}  {len(lines) - bar.failed} completed{failed}")
    return printing.JOB_FAILED if bar.failed else 0


def read(file: Path) -> Iterator[Line]:
    """Every line is read before anything is asked for. Raises ValueError that names the line."""
    try:
        with file.open(encoding="utf-8") as lines:
            for number, text in enumerate(lines, start=1):
                if not text.strip():
                    continue
                if len(text) > LINE_CHARACTERS_MAX:
                    raise ValueError(f"{file}: line {number} is too long")
                yield Line(number, _object(file, number, text))
    except OSError as error:
        raise ValueError(mistakes.of_file(error)) from None
    except UnicodeDecodeError:
        raise ValueError(f"{file}: not text in UTF-8") from None


def _object(file: Path, number: int, text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: line {number} is not JSON: {error}") from None
    if isinstance(given, str):
        return {"prompt": given}
    if not isinstance(given, dict):
        raise ValueError(f"{file}: line {number} must be an object, or a text to ask")
    return given


def _all(
    client: Client, arguments: argparse.Namespace, left: list[Line], results: Results, bar: Bar
) -> None:
    """So many at once as was said. What would stop every line stops here, and is raised."""
    waiting = iter(left)
    running: set[Future[bool]] = set()
    stop = threading.Event()
    with ThreadPoolExecutor(arguments.parallel) as pool:
        try:
            while True:
                for line in waiting:
                    running.add(pool.submit(_one, client, arguments, line, results, stop))
                    if len(running) >= arguments.parallel:
                        break
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    bar.one(failed=not one.result())
        except BaseException:
            # What runs goes on there, and is found again by its key; we only stop waiting for it.
            stop.set()
            raise


def _one(
    client: Client,
    arguments: argparse.Namespace,
    line: Line,
    results: Results,
    stop: threading.Event,
) -> bool:
    """Asks one line, waits, and notes what came of it. Whether it completed."""
    key = results.key(line.number)
    try:
        job = client.create_job(arguments.workload, line.given, idempotency_key=key)
    except OF_THE_LINE as error:
        results.note({"line": line.number, "status": "refused", "error": str(error)})
        return False
    while not job.finished and not stop.is_set():
        try:
            job = client.wait_for_job(job.id, timeout_s=LOOK_UP_S)
        except TimeoutError:
            continue
        except JobFailedError as error:
            job = error.job
    if job.finished:
        results.note(_told(line, job))
    return job.status == "completed"


def _told(line: Line, job: Job) -> dict[str, Any]:
    return {
        "line": line.number,
        "job_id": job.id,
        "status": job.status,
        "output": job.output,
        "error": job.error,
        "usage": job.usage,
    }
