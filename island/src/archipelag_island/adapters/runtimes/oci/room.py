"""A running anteroom, as the Island sees it: the process, what it says, and what the Cargo in it says."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from archipelag_island.adapters.runtimes.oci import anteroom, cgroups
from archipelag_island.adapters.runtimes.oci.plan import Plan
from archipelag_island.adapters.runtimes.words import LastWords
from archipelag_island.errors import StartFailed

SCRIPT: Final = str(Path(anteroom.__file__).resolve())


class Room:
    """A running anteroom: the process, what it says and what the Cargo in it says."""

    def __init__(self, process: Process, group: cgroups.Group, inside: int) -> None:
        self.process = process
        self.group = group
        self.inside = inside
        """Process id of one who sees what is mounted in there."""
        self.words = LastWords()
        self.ended: int | None = None
        assert process.stderr is not None and process.stdout is not None
        self._listening = asyncio.create_task(self.words.listen(process.stderr))

    @classmethod
    async def start(cls, plan: Plan) -> Room:
        """Raises StartFailed, OSError; then nothing is left."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            SCRIPT,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={},
            start_new_session=True,
        )
        room = cls(process, cgroups.of(plan.id), 0)
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(plan)).encode())
            with suppress(ConnectionError):
                await process.stdin.drain()
            process.stdin.close()
            while (said := await room.hear()) and "started" not in said:
                room.inside = said.get("inside", room.inside)
            if not said:
                raise StartFailed(f"no container could be made: {room.failure or room.words}")
        except BaseException:
            await room.close()
            room.group.remove()
            raise
        return room

    failure = ""

    async def hear(self) -> dict[str, Any]:
        """The next thing that the anteroom says; empty at its end."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line else {}
        if "failed" in said:
            self.failure = said["failed"]
            return {}
        self.ended = said.get("ended", self.ended)
        return said

    def ask(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Both processes of the anteroom, and by the second one's end all that is in its namespace."""
        if self.process.returncode is not None:
            return  # Its number may be somebody else's by now.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Kills, and returns when no process of it is left."""
        self.kill()
        await self.process.wait()
        await cgroups.empty(self.group)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.shield(self._listening)
        self._listening.cancel()
