"""The processes that a network of the chaos is made of: each may be killed, frozen and started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
from archipelag_embedded.process import Process

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 15.0


class Part:
    """A process that may be killed, frozen and started again."""

    def __init__(self, name: str, program: list[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._program = program
        self._env = env
        self.process: Process | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running

    def start(self) -> None:
        """From the main thread, whose end ends it too."""
        assert not self.running, f"{self.name} runs already"
        self.process = Process(
            self.name, [sys.executable, *self._program], log=self.log, env=self._env, cwd=ROOT
        )

    async def kill(self) -> None:
        """As by a power cut; what it had started goes with it."""
        assert self.process is not None
        self.process.signal(signal.SIGKILL)
        await asyncio.to_thread(self.process.wait, STOP_S)

    async def stop(self) -> bool:
        """Asks politely. False: it had to be killed."""
        if self.process is None:
            return True
        self.process.ask_to_stop()
        well = await asyncio.to_thread(self.process.wait, STOP_S)
        self.process.kill()
        return well

    def tree(self) -> list[psutil.Process]:
        assert self.process is not None
        try:
            whole = psutil.Process(self.process.pid)
            return [whole, *whole.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def signal_all(self, number: signal.Signals) -> None:
        """To it and all that it started, as if the machine under them stood still."""
        for one in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def said(self, pattern: str) -> list[str]:
        """Lines of its log with this in them."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return [line for line in text.splitlines() if re.search(pattern, line)]


class Coordinator(Part):
    def __init__(self, index: int, env: Mapping[str, str], log: Path) -> None:
        super().__init__(f"c{index}", ["-m", "archipelag_coordinator", "serve"], env, log)
        self.port = int(env["ARCHIPELAG_HTTP_PORT"])
        self.grpc_port = int(env["ARCHIPELAG_GRPC_PORT"])

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def leads(self) -> bool:
        """Its newest word on that."""
        told = self.said("leader_elected|leader_stepped_down|coordinator_starting")
        return bool(told) and "leader_elected" in told[-1]


class Island(Part):
    def __init__(
        self, name: str, island_id: str, owner: str, slug: str, env: Mapping[str, str], log: Path
    ) -> None:
        super().__init__(name, ["-m", "archipelag_island", "run"], env, log)
        self.id = island_id
        self.owner = owner
        """The user who is paid for what it does."""
        self.slug = slug
        self.home = Path(env["ARCHIPELAG_ISLAND_HOME"])

    def ready(self) -> bool:
        """It says itself that its Cargo is warm and that a Coordinator answers it."""
        try:
            told = json.loads((self.home / "status.json").read_text())
        except (OSError, ValueError):
            return False
        warm = {cargo["slug"] for cargo in told["cargos"] if cargo["state"] == "warm"}
        mine = self.process is not None and told["pid"] == self.process.pid
        return bool(mine and self.slug in warm and told["coordinator_answers"])

    def cargo(self) -> psutil.Process | None:
        """The process of its Cargo."""
        for one in self.tree()[1:]:
            with contextlib.suppress(psutil.Error):
                if "--socket" in one.cmdline():
                    return one
        return None
