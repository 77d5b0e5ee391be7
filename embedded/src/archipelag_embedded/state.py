"""The state directory: where everything of one embedded network lies, who holds it, and how to reach it."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from archipelag_embedded.errors import AlreadyRunning, NotRunning
from archipelag_embedded.files import write_private


@dataclass(frozen=True)
class Facts:
    """What others need to know of a network that runs."""

    api_url: str
    database_url: str
    nats_url: str
    started_at: str
    sign_in_as: str = ""
    """The first user's mail address; empty where mail does not come into the local mailbox."""
    processes: dict[str, int] = field(default_factory=dict)

    @property
    def mailbox_url(self) -> str:
        return f"{self.api_url}/mailbox"

    @property
    def docs_url(self) -> str:
        return f"{self.api_url}/api/v1/docs"


@dataclass(frozen=True)
class State:
    """The paths of one network; several networks live side by side in several directories."""

    directory: Path

    @property
    def postgres(self) -> Path:
        return self.directory / "postgres"

    @property
    def nats(self) -> Path:
        return self.directory / "nats"

    @property
    def coordinator(self) -> Path:
        return self.directory / "coordinator"

    @property
    def island(self) -> Path:
        return self.directory / "island"

    @property
    def models(self) -> Path:
        return self.directory / "models"

    @property
    def api_key(self) -> Path:
        return self.directory / "api-key"

    def log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"

    @property
    def _facts(self) -> Path:
        return self.directory / "network.json"

    @property
    def _lock(self) -> Path:
        return self.directory / "lock"

    def make(self) -> None:
        """Makes the folders; open to others only for passing through, as an unprivileged server must."""
        self.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        for private in (self.coordinator, self.island):
            private.mkdir(mode=0o700, exist_ok=True)
        (self.directory / "logs").mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the directory for this process; the kernel lets go of it however the process ends."""
        self.make()
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(f"a network already runs with {self.directory}") from None
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            self.forget_facts()  # Left by a supervisor that was killed.
            yield
            self.forget_facts()
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """The process that holds the directory, if any does."""
        try:
            descriptor = os.open(self._lock, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            # A shared lock is refused only while somebody holds the exclusive one.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(descriptor, 32).decode().strip()
            return int(text) if text.isdigit() else 0
        finally:
            os.close(descriptor)
        return None

    def publish(self, facts: Facts) -> None:
        """Tells others that the network is ready, and where."""
        write_private(self._facts, json.dumps(dataclasses.asdict(facts), indent=2))

    def forget_facts(self) -> None:
        self._facts.unlink(missing_ok=True)

    def facts(self) -> Facts | None:
        """How to reach the network; nothing while none is ready."""
        if self.holder() is None:
            return None
        try:
            return Facts(**json.loads(self._facts.read_text()))
        except FileNotFoundError:
            return None

    def running(self) -> tuple[Facts, str]:
        """The facts and the API key of the network that runs here."""
        facts, key = self.facts(), self.read_api_key()
        if facts is None or key is None:
            if self.holder() is not None:
                raise NotRunning(f"the network in {self.directory} is not ready yet: wait for it")
            raise NotRunning(
                f"no network runs with {self.directory}: start one with `make up` in another terminal"
            )
        return facts, key

    def read_api_key(self) -> str | None:
        try:
            return self.api_key.read_text().strip() or None
        except FileNotFoundError:
            return None
