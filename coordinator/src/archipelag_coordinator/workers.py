"""Several Coordinators on one host behind one port: a parent that starts them, starts the dead anew and stops them all.

Each worker is a Coordinator of its own, with its own id, connections and streams; the system deals new connections out
among those that listen. The parent carries nothing and asks nothing: that it dies ends its workers as SIGTERM does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from typing import Final

log = logging.getLogger(__name__)

AGAIN_S: Final = (0.25, 10.0)
"""The wait before a worker that died is started anew, and the longest that this grows to."""
STEADY_S: Final = 60.0
"""A worker that lived so long did not die of how it was started."""
DRAIN_S: Final = 20.0
"""What workers may take to end after SIGTERM, before they are killed."""

Command = Callable[[int], Sequence[str]]
"""The command line of the worker with this number, from 1 on."""


def worker_command(number: int) -> list[str]:
    return [sys.executable, "-m", "archipelag_coordinator", "serve", "--worker", str(number)]


class Workers:
    """`run` serves until `stop`."""

    def __init__(
        self,
        count: int,
        command: Command = worker_command,
        *,
        steady_s: float = STEADY_S,
        drain_s: float = DRAIN_S,
    ) -> None:
        assert count >= 1
        self.running: dict[int, Process] = {}
        self._count = count
        self._command = command
        self._steady_s = steady_s
        self._drain_s = drain_s
        self._stopping = asyncio.Event()
        self._steady = False
        """Some worker has stood; from then on a death is an accident and no wrong setting."""
        self._status = 0

    async def run(self) -> int:
        """The exit status: 0 after `stop`, or that of the first worker, if none could begin."""
        async with asyncio.TaskGroup() as group:
            for number in range(1, self._count + 1):
                group.create_task(self._keep(number), name=f"worker {number}")
        return self._status

    def stop(self) -> None:
        """Every worker ends as it would by itself: no new requests, a while for open ones."""
        self._stopping.set()

    async def _keep(self, number: int) -> None:
        wait_s = AGAIN_S[0]
        clock = asyncio.get_running_loop()
        while not self._stopping.is_set():
            begun = clock.time()
            status = await self._one(number)
            if self._stopping.is_set():
                return
            lived_s = clock.time() - begun
            log.warning("worker_ended number=%d status=%d lived_s=%.1f", number, status, lived_s)
            if status > 0 and lived_s < self._steady_s and not self._steady:
                # It said why: what it lacks, the others lack, too.
                self._status = self._status or status
                self.stop()
                return
            if lived_s >= self._steady_s:
                wait_s = AGAIN_S[0]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
            wait_s = min(AGAIN_S[1], wait_s * 2)

    async def _one(self, number: int) -> int:
        """From its start to its end; its status, negative after a signal."""
        # Its input is a pipe from us, which ends when we do, however that comes about.
        process = await asyncio.create_subprocess_exec(*self._command(number), stdin=PIPE)
        self.running[number] = process
        log.info("worker_started number=%d pid=%d", number, process.pid)
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        steady = asyncio.get_running_loop().call_later(self._steady_s, self._stands)
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await _end(process, ended, self._drain_s)
            return await ended
        finally:
            steady.cancel()
            stopping.cancel()
            del self.running[number]
            if not ended.done():
                process.kill()
                await ended

    def _stands(self) -> None:
        self._steady = True


async def _end(process: Process, ended: asyncio.Future[int], drain_s: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    done, _ = await asyncio.wait({ended}, timeout=drain_s)
    if not done:
        log.warning("worker_killed pid=%d", process.pid)
        with contextlib.suppress(ProcessLookupError):
            process.kill()


async def supervise(count: int) -> int:
    """Runs workers until SIGTERM or SIGINT; the exit status."""
    workers = Workers(count)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, workers.stop)
    log.info("workers_starting count=%d", count)
    return await workers.run()


def end_with_parent(stdin: int = 0) -> None:
    """For a worker: SIGTERM to itself when its parent is gone."""

    def wait() -> None:
        # Not by sys.stdin, whose lock would be in the way of the interpreter's end.
        with contextlib.suppress(OSError):
            while os.read(stdin, 1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()
