"""The Compose file's topology as processes: its own configuration files and values, on free ports of the loopback."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from archipelag_embedded.nats import server_binary
from archipelag_embedded.process import Process, free_port

from . import composed

CHAT = Path(__file__).parents[1] / "trouble" / "chat.toml"
ECHO = "echo=archipelag_island.testing.echo_engine"
BROKERS = ("nats-1", "nats-2", "nats-3")
WAIT_S = 90.0
# Short, so that the loss of a Coordinator takes seconds here; the order of them is the real one.
PACE = {
    "ARCHIPELAG_POLICY_LEASE_S": "6",
    "ARCHIPELAG_POLICY_HEARTBEAT_S": "1",
    "ARCHIPELAG_POLICY_ISLAND_SILENT_S": "4",
    "ARCHIPELAG_POLICY_ISLAND_LOST_S": "8",
}


def nginx() -> str:
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        assert not os.environ.get("CI"), "no nginx here: `make .venv/sandboxes.stamp` installs it"
        pytest.skip("needs nginx: as root on Debian, apt install nginx-light")
    return found


class Topology:
    """Starts in the order of `depends_on`; what a service would find under a name is found on a port instead.

    `over`: the file that makes a region of it. `first`: the region that it joins, whose keys and database it has.
    """

    def __init__(
        self, folder: Path, dsn: str, *, over: str = "", first: Topology | None = None
    ) -> None:
        self.folder = folder
        self.dsn = dsn
        self.first = first
        self.services = composed.services(over=over)
        self.processes: dict[str, Process] = {}
        self.ports: dict[str, int] = {}
        self.key = ""
        self.pairing_code = ""

    def place(self, name: str, port: int) -> str:
        """`nats-1:4222` → where that is here."""
        return f"127.0.0.1:{self.ports.setdefault(f'{name}:{port}', free_port())}"

    def here(self, text: str, service: str = "") -> str:
        """Every address of a service in it, and every folder that a container would have of its own."""
        names = "|".join(map(re.escape, self.services))
        text = re.sub(rf"(?<![\w.-])({names}):(\d+)", lambda m: self.place(m[1], int(m[2])), text)
        if self.first is not None:
            text = re.sub(r"\bfirst:(742\d)", lambda m: self.first_links()[m[1]], text)
        own = self.folder / service
        folders = {
            "/var/lib/archipelag/keys": (self.first or self).folder / "keys",
            "/var/lib/archipelag/island": own / "home",
            "/var/lib/trust": own / "trust",
            "/var/lib/releases": self.folder / "releases",
            "/etc/nats": own,
            "/data": own / "data",
            "/tmp": own / "tmp",
        }
        inside = "|".join(folders)
        # All at once, since what stands instead may have such a name in it.
        return re.sub(rf"(?<![\w/.-])({inside})(?![\w.-])", lambda m: str(folders[m[1]]), text)

    def first_links(self) -> dict[str, str]:
        """Where the first region's brokers are joined here, by the port that each has at its machine's address."""
        assert self.first is not None
        brokers = {name: self.first.services[name]["ports"] for name in BROKERS}
        return {
            str(port).split(":")[-2]: self.first.place(name, 7422)
            for name, ports in brokers.items()
            for port in ports
            if str(port).endswith(":7422")
        }

    def start(
        self,
        *,
        island: bool = True,
        coordinators: Sequence[str] = ("coordinator-1", "coordinator-2"),
    ) -> None:
        if self.first is None:
            self._run("keys", self.services["keys"]["command"])
        for name in BROKERS:
            self._start_broker(name)
        self._run("migrate", ["migrate"])
        if self.first is None:
            made = self._run(
                "coordinator-1",
                ["bootstrap", "--json", "--new-key", "--pairing-code", "--cargo", str(CHAT)],
            )
            bootstrapped = json.loads(made.splitlines()[-1])
            self.key, self.pairing_code = bootstrapped["api_key"], bootstrapped["pairing_code"]
        else:
            self.key = self.first.key
        for name in coordinators:
            self.start_coordinator(name)
        for name in coordinators:
            # The proxy does not ask one again for a while that was not there yet, each of its processes for itself.
            self.until(partial(self.ready, name), f"{name} answers")
        self._start_proxy()
        self.until(self.ready, "a Coordinator answers through the proxy")
        if island:
            program = [sys.executable, "-m", "archipelag_island", "run"]
            self._start("island-1", program, self.of_island())
            self.until(self.warm, "the Island is warm")

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.ask_to_stop()
        for process in reversed(self.processes.values()):
            process.stop(15)

    @property
    def base(self) -> str:
        return f"http://{self.place('proxy', 8420)}/api/v1"

    # --- Parts -----------------------------------------------------------------------------------------------------

    def environment(self, name: str) -> dict[str, str]:
        given = {k: self.here(str(v), name) for k, v in self.services[name]["environment"].items()}
        own = {
            "ARCHIPELAG_DATABASE_URL": self.dsn,
            "ARCHIPELAG_HTTP_HOST": "127.0.0.1",
            "ARCHIPELAG_GRPC_HOST": "127.0.0.1",
            "ARCHIPELAG_HTTP_PORT": self.place(name, 8420).split(":")[1],
            "ARCHIPELAG_GRPC_PORT": self.place(name, 8421).split(":")[1],
        }
        path = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        return path | given | (own | PACE if "DATABASE" in str(given) else {})

    def _run(self, name: str, arguments: list[str]) -> str:
        """A service that ends; what it printed."""
        settings = "coordinator-1" if name in ("keys", "trust") or "nats" in name else name
        done = subprocess.run(
            [sys.executable, "-m", "archipelag_coordinator", *[self.here(a, name) for a in arguments]],
            env=self.environment(settings), capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {done.stderr}"
        return done.stdout

    def _start_broker(self, name: str) -> None:
        own = self.folder / name
        (own / "trust").mkdir(parents=True)
        if self.first is not None:
            # One volume for all of them, elsewhere; here each finds its own.
            self._run(name, self.services["keys"]["command"])
        self._run(name, self.services["trust"]["command"])
        trust = own / "trust" / "archipelag.conf"
        links = self.place(name, 7422).split(":")[1]
        trust.write_text(trust.read_text().replace("port: 7422", f"port: {links}"))
        text = (composed.COMPOSE / "nats.conf").read_text()
        for port in (4222, 6222, 8222):
            text = text.replace(f"0.0.0.0:{port}", self.place(name, port))
        (own / "nats.conf").write_text(self.here(text, name))
        self._start(
            name,
            [server_binary(), *(self.here(part, name) for part in self.services[name]["command"])],
            {"PATH": os.environ["PATH"], **self.services[name]["environment"]},
        )

    def start_coordinator(self, name: str) -> None:
        program = [sys.executable, "-m", "archipelag_coordinator", "serve"]
        self._start(name, program, self.environment(name))

    def _start_proxy(self) -> None:
        own = self.folder / "proxy"
        (own / "tmp").mkdir(parents=True)
        own.chmod(0o755)
        text = (composed.COMPOSE / "proxy.conf").read_text()
        for port in (8420, 8421):
            text = text.replace(f"listen {port}", f"listen {self.place('proxy', port)}")
        text = self.here(text, "proxy").replace("/dev/stderr", str(own / "error.log"))
        (own / "nginx.conf").write_text(text)
        command = [nginx(), "-c", own / "nginx.conf", "-p", own, "-g", "daemon off;"]
        self._start("proxy", command, {"PATH": os.environ["PATH"]})

    def of_island(self) -> dict[str, str]:
        return self.environment("island-1") | {
            "ARCHIPELAG_PAIRING_CODE": self.pairing_code,
            # The echo engine stands in for Cargos from a registry.
            "ARCHIPELAG_ISLAND_RUNTIMES": "native",
            "ARCHIPELAG_ISLAND_EXTRA_ENGINES": ECHO,
            "ARCHIPELAG_ISLAND_SLOTS": "16",
        }

    def _start(self, name: str, command: list[Any], env: dict[str, str]) -> None:
        log = self.folder / f"{name}.log"
        self.processes[name] = Process(name, command, log=log, env=env, cwd=self.folder)

    # --- Questions -------------------------------------------------------------------------------------------------

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not holds():
            for name, process in self.processes.items():
                if not process.running:
                    raise process.failed(f"{name} ended")
            assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
            time.sleep(0.1)

    def ready(self, name: str = "proxy") -> bool:
        try:
            address = f"http://{self.place(name, 8420)}/api/v1/ready"
            return httpx.get(address, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def warm(self) -> bool:
        told = httpx.get(f"{self.base}/models", headers=self.headers, timeout=10).json()
        return any(one["id"] == "slow-chat" for one in told.get("data", ())) and self._served()

    def _served(self) -> bool:
        try:
            told = (self.folder / "island-1" / "home" / "status.json").read_text()
        except OSError:
            return False
        return '"warm"' in told

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def homes(self) -> set[str]:
        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute("SELECT DISTINCT home FROM jobs WHERE status = 'running'")
            return {home for (home,) in rows}


@contextmanager
def standing(
    name: str,
    postgres_dsn: str,
    *,
    over: str = "",
    first: Topology | None = None,
    **start: Any,
) -> Iterator[Topology]:
    """A topology in a folder of its own, which is gone afterwards; `start` is what `Topology.start` takes."""
    nginx()
    folder = Path(tempfile.mkdtemp(prefix=f"archipelag-{name}-"))
    folder.chmod(0o755)
    one = Topology(folder, postgres_dsn, over=over, first=first)
    try:
        one.start(**start)
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder, ignore_errors=True)
