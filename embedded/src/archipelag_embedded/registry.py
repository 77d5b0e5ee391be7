"""A registry of images on the loopback, for one embedded network or for tests: anybody on this machine may push."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from archipelag_embedded.api import Api
from archipelag_embedded.process import Process, kept_port

READY_S = 60.0
STOP_S = 10.0
POLL_S = 0.05


class Registry:
    """Its server; the port stays when it can."""

    def __init__(self, directory: Path, *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.store = directory.absolute()
        """Where it keeps what was pushed."""
        self._log = log
        self._env = env
        self._process: Process | None = None
        self.port = kept_port(self.store.with_name(f"{self.store.name}-port"))

    @property
    def address(self) -> str:
        """As it stands in the names of images."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> str:
        """Starts the server and returns its address."""
        process = self.spawn()
        deadline = time.monotonic() + READY_S
        while not self.answers():
            if not process.running:
                raise process.failed("did not start")
            if time.monotonic() > deadline:
                raise process.failed(f"did not answer within {READY_S:.0f} s")
            time.sleep(POLL_S)
        return self.address

    def spawn(self) -> Process:
        """Starts the program without waiting; from the main thread, whose end ends it too."""
        command = [sys.executable, "-m", "archipelag_oci.server", "--folder", str(self.store)]
        self._process = Process(
            "Registry", [*command, "--port", str(self.port)], log=self._log, env=self._env
        )
        return self._process

    def answers(self) -> bool:
        return Api(f"http://{self.address}").stands("/v2/")

    def stop(self) -> None:
        """Idempotent."""
        if self._process is not None:
            self._process.stop(STOP_S)
        self._process = None
