"""A confined child process of this Island: started, watched, metered and ended as a whole group."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from archipelag_island.adapters.runtimes.ended import how_it_ended
from archipelag_island.adapters.runtimes.native import launch
from archipelag_island.adapters.runtimes.native.cgroups import Cgroup
from archipelag_island.adapters.runtimes.native.launch import Confinement
from archipelag_island.adapters.runtimes.native.meter import Meter, children
from archipelag_island.adapters.runtimes.words import LastWords
from archipelag_island.runtime import Consumption, Exit

SCRIPT: Final = str(Path(launch.__file__).resolve())
READ_BYTES_MAX: Final = 64 << 10
_SIGNAL_MAX: Final = 64
REMOVALS_MAX: Final = 20
REMOVAL_S: Final = 0.02


class ConfinedProcess:
    """One process group. Any number of tasks may wait for its end."""

    def __init__(
        self, process: Process, cgroup: Cgroup | None, *, nested: bool, memory_bytes: int
    ) -> None:
        self.outer = process.pid
        """What we started; with a sandbox, bubblewrap, which stays outside and only waits."""
        self._process = process
        self._cgroup = cgroup
        self._nested = nested
        self._memory_bytes = memory_bytes
        self._stopped = False
        self.words = LastWords()
        self._meter = Meter(process.pid, cgroup)
        assert process.stderr is not None
        self._reading = asyncio.create_task(self.words.listen(process.stderr))
        self._ending = asyncio.create_task(self._wait_end())

    @classmethod
    async def start(
        cls,
        confinement: Confinement,
        *,
        pass_fds: Sequence[int] = (),
        cgroup: Cgroup | None = None,
        nested: bool = False,
        memory_bytes: int = 0,
    ) -> ConfinedProcess:
        """`cgroup` becomes this process's and is removed with it. Raises OSError.

        `memory_bytes` is what it may have, for the words that say so.
        """
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
            limit=READ_BYTES_MAX,
        )
        return cls(process, cgroup, nested=nested, memory_bytes=memory_bytes)

    @property
    def pid(self) -> int:
        """The Cargo's own process, as the host numbers it."""
        first = self._first()
        return next(iter(children(first)), self.outer) if first else self.outer

    def _first(self) -> int:
        """The first process of the sandbox: with it the kernel ends all the others. 0: there is none."""
        return next(iter(children(self.outer)), 0) if self._nested else 0

    @property
    def ended(self) -> bool:
        return self._ending.done()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._ending)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM to the Cargo, then SIGKILL to all. Nothing of it is left when this returns."""
        if not self.ended:
            self._stopped = True
            self._ask()
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.wait()
        self.kill()
        await self.wait()

    def usage(self) -> Consumption:
        """The last figures once it has ended."""
        return self._meter.read()

    def _ask(self) -> None:
        if self._nested and self.pid != self.outer:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGTERM)
        else:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Everything of it; `wait` tells when it is gone."""
        if first := self._first():
            # Bubblewrap waits for it, so that its end is the end of everything.
            with suppress(ProcessLookupError, PermissionError):
                os.kill(first, signal.SIGKILL)
        else:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # The group outlives its leader while children live, and its number is not reused until they are gone.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.outer, number)

    async def _wait_end(self) -> Exit:
        status = await self._process.wait()
        self._signal(signal.SIGKILL)
        used = self._meter.read()
        if self._cgroup is not None:
            await _remove(self._cgroup)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.shield(self._reading)
        if self._nested and 128 < status <= 128 + _SIGNAL_MAX:
            status = 128 - status  # As shells and bubblewrap tell of a signal.
        return how_it_ended(
            status, str(self.words), used, self._memory_bytes, stopped=self._stopped
        )


async def _remove(cgroup: Cgroup) -> None:
    """What is left after all is removed when the Island starts again."""
    for _ in range(REMOVALS_MAX):
        cgroup.kill()
        if await asyncio.to_thread(cgroup.remove):
            return
        await asyncio.sleep(REMOVAL_S)
