"""Child processes that end when we end, log to a bounded file and are stopped in a known time."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from archipelag_embedded.errors import CannotStart

LAUNCHER = Path(__file__).with_name("launch.py")
LOG_BYTES_MAX = 5_000_000
TAIL_LINES = 15
TAIL_BYTES_MAX = 8_000
PORTS = range(20_000, 32_000)
"""Below those that the system gives to outgoing connections, so that none takes a port before its server does."""
PORT_TRIES = 100
# Each process begins elsewhere and none asks twice for the same, so that those who start together do not meet.
_numbers = itertools.count(os.getpid() * 131)
STATE_MARK = "ARCHIPELAG_EMBEDDED_STATE"
"""Every child's environment names the state directory it works for; so its orphans can be found."""


def launched(
    program: Sequence[str | Path],
    *,
    identity: str = "same",
    dying_signal: signal.Signals = signal.SIGTERM,
) -> list[str]:
    """The command line that runs `program` so that the kernel signals it when this process dies.

    The kernel watches the *thread* that started it: start long-lived programs from the main thread.
    """
    return [
        sys.executable,
        "-I",
        "-S",
        str(LAUNCHER),
        str(os.getpid()),
        str(int(dying_signal)),
        identity,
        "--",
        *map(str, program),
    ]


class Process:
    """One running program, its log and the way it is asked to stop."""

    def __init__(
        self,
        name: str,
        program: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        identity: str = "same",
        stop_signal: signal.Signals = signal.SIGTERM,
        output: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        log.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as files:
            # Appending, so that the file may be cut while the program writes to it.
            written = files.enter_context(log.open("ab"))
            self._log_start = written.tell()
            printed = written
            if output is not None:
                output.touch(mode=0o600)
                printed = files.enter_context(output.open("ab"))
            self._popen = subprocess.Popen(
                launched(program, identity=identity, dying_signal=stop_signal),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=written,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,  # Ctrl-C at the terminal reaches us alone; we stop in order.
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.exit_code is None

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            self._popen.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """True once it has ended."""
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ask_to_stop(self) -> None:
        self.signal(self._stop_signal)

    def kill(self) -> None:
        """Ends it at once, and whatever of its session it left behind; idempotent."""
        kill_group(self.pid)
        self._popen.wait()

    def stop(self, grace_s: float = 10.0) -> None:
        """Asks, waits, then insists; idempotent."""
        self.ask_to_stop()
        self.wait(grace_s)
        self.kill()

    def log_tail(self) -> str:
        """The newest lines it wrote since this start."""
        return tail(self.log, since=self._log_start)

    def failed(self, what: str) -> CannotStart:
        """The error to raise when it did not do `what`; shows why in its own words."""
        code = self.exit_code
        ending = "it is still running" if code is None else f"it ended with code {code}"
        return CannotStart(
            f"{self.name} {what}: {ending}. Its log {self.log} says:\n{self.log_tail()}"
        )


def kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # Gone already; macOS says "not permitted" of a group of zombies.


def tail(log: Path, *, since: int = 0) -> str:
    try:
        with log.open("rb") as lines:
            size = lines.seek(0, os.SEEK_END)
            start = since if since <= size else 0
            lines.seek(max(start, size - TAIL_BYTES_MAX))
            text = lines.read().decode(errors="replace")
    except FileNotFoundError:
        text = ""
    kept = text.splitlines()[-TAIL_LINES:]
    return "\n".join(f"    {line}" for line in kept) or "    (nothing)"


def bound_log(log: Path, *, bytes_max: int = LOG_BYTES_MAX) -> bool:
    """Keeps one older copy and cuts the file once it is too long; true when it was cut."""
    try:
        if log.stat().st_size <= bytes_max:
            return False
    except FileNotFoundError:
        return False
    shutil.copyfile(log, log.with_suffix(log.suffix + ".1"))
    os.truncate(log, 0)
    return True


def free_port(preferred: int | None = None) -> int:
    """A TCP port of the loopback nobody listens on: the preferred one when it is still free."""
    if preferred is not None and _is_free(preferred):
        return preferred
    for number in itertools.islice(_numbers, PORT_TRIES):
        candidate = PORTS[number % len(PORTS)]
        if _is_free(candidate):
            return candidate
    raise CannotStart("no TCP port of 127.0.0.1 is free: close programs that hold many ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def kept_port(file: Path) -> int:
    """The port written in `file` when it is still free, else another, which is then written there."""
    try:
        preferred = int(file.read_text())
    except (FileNotFoundError, ValueError):
        preferred = None
    port = free_port(preferred)
    if port != preferred:
        file.write_text(f"{port}\n")
    return port


def end_all(orphans: Sequence[psutil.Process], *, asking: signal.Signals, grace_s: float) -> None:
    """Asks each, waits together, then kills what stayed."""
    for orphan in orphans:
        _signal(orphan, asking)
    _, alive = psutil.wait_procs(orphans, timeout=grace_s)
    for orphan in alive:
        _signal(orphan, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=grace_s)


def _signal(target: psutil.Process, number: signal.Signals) -> None:
    try:
        target.send_signal(number)
    except psutil.NoSuchProcess:
        return
