"""A confined child process of this Island: started, watched, metered and ended as a whole group."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from archipelag_island.adapters.runtimes import launch
from archipelag_island.adapters.runtimes.launch import Confinement
from archipelag_island.runtime import Consumption, Exit

SCRIPT: Final = str(Path(launch.__file__).resolve())
LAST_LINES: Final = 20
LINE_BYTES_MAX: Final = 2_000
_TICK_MS: Final = 1000 // os.sysconf("SC_CLK_TCK")


class ConfinedProcess:
    """One process group. Any number of tasks may wait for its end."""

    def __init__(self, process: Process) -> None:
        self.pid = process.pid
        self._process = process
        self._stopped = False
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._last = Consumption()
        self._reading = asyncio.create_task(self._read_errors())
        self._ending = asyncio.create_task(self._wait_end())

    @classmethod
    async def start(
        cls, confinement: Confinement, *, pass_fds: Sequence[int] = ()
    ) -> ConfinedProcess:
        """Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            SCRIPT,
            confinement.encode(),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            env={},
            start_new_session=True,
            pass_fds=pass_fds,
            limit=LINE_BYTES_MAX,
        )
        return cls(process)

    @property
    def ended(self) -> bool:
        return self._ending.done()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._ending)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM to the group, then SIGKILL. Nothing of it is left when this returns."""
        if not self.ended:
            self._stopped = True
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.wait()
        self._signal(signal.SIGKILL)
        await self.wait()

    def usage(self) -> Consumption:
        """From /proc; the last figures once it has ended."""
        with suppress(OSError, ValueError, IndexError):
            self._last = self._measure()
        return self._last

    def _measure(self) -> Consumption:
        # The name in parentheses may itself contain spaces and parentheses.
        stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        user, system, child_user, child_system = (int(n) for n in stat[11:15])
        memory = dict(
            line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines()
        )
        now = _kib(memory, "VmRSS")
        return Consumption(
            cpu_ms=max(self._last.cpu_ms, (user + system + child_user + child_system) * _TICK_MS),
            memory_bytes=now,
            memory_peak_bytes=max(self._last.memory_peak_bytes, _kib(memory, "VmHWM"), now),
        )

    def _signal(self, number: signal.Signals) -> None:
        # The group outlives its leader while children live, and its number is not reused until they are gone.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _wait_end(self) -> Exit:
        status = await self._process.wait()
        self._signal(signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.shield(self._reading)
        return Exit(status, stopped=self._stopped, last_words=" | ".join(self._lines)[-1000:])

    async def _read_errors(self) -> None:
        """Always read, so that a Cargo that writes much never blocks; only the end is kept."""
        stream = self._process.stderr
        assert stream is not None
        while True:
            data = await stream.read(LINE_BYTES_MAX)
            if not data:
                return
            for line in data.decode(errors="replace").splitlines():
                if line.strip():
                    self._lines.append("".join(c for c in line if c.isprintable())[:300])


def _kib(memory: dict[str, str], name: str) -> int:
    return int(memory.get(name, "0 kB").split()[0]) * 1024
