"""One whole network for the session: real PostgreSQL, real NATS, a Coordinator, an Island, the real model."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from archipelag_coordinator import commands, config
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_embedded.process import free_port

from .raw_island import RawIsland

ROOT = Path(__file__).resolve().parents[2]
START_S = 300.0
STOP_S = 60.0
CHAT_MODEL = "smollm2-135m-instruct"
EXPORT = re.compile(r"export (\w+)='?([^'\n]*)'?")


@dataclass(frozen=True)
class Network:
    """A running network and how to reach it."""

    home: Path
    process: subprocess.Popen[bytes]
    api_url: str
    api_key: str
    database_url: str
    nats_url: str

    @property
    def openai_url(self) -> str:
        return self.api_url.removesuffix("/api/v1") + "/v1"

    def http(self, key: str | None = None) -> httpx.Client:
        """A client of `/api/v1` with this key, or the administrator's."""
        base = self.api_url.removesuffix("/api/v1") + "/api/v1"
        headers = {"Authorization": f"Bearer {key or self.api_key}"}
        return httpx.Client(base_url=base, headers=headers, timeout=60)

    @property
    def operators(self) -> dict[str, str]:
        """The environment in which an operator's commands mean this network."""
        return os.environ | {
            "ARCHIPELAG_DATABASE_URL": self.database_url,
            "ARCHIPELAG_NATS_URL": self.nats_url,
            "ARCHIPELAG_STATE_DIR": str(self.home / "coordinator"),
        }

    def coordinator(self, *arguments: str) -> str:
        """Runs an operator's command against this network and returns what it prints."""
        program = [sys.executable, "-m", "archipelag_coordinator", *arguments]
        done = subprocess.run(
            program, env=self.operators, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def user(self, email: str, credit: str, rate: int = 1000) -> str:
        """A new user with so many credits and requests a minute; returns an API key.

        What `user add` does, but in this process: to start that program takes 2 s of a processor, and every test wants
        somebody. In a thread, since a loop may run here.
        """
        adding = commands.add_user(config.read(self.operators), email, credit, rate)
        with ThreadPoolExecutor(max_workers=1) as beside:
            return beside.submit(asyncio.run, adding).result()["api_key"]

    def processes(self, word: str) -> list[psutil.Process]:
        """Processes of this network whose command line has this word."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if any(word in part for part in child.cmdline()):
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found


@dataclass(frozen=True)
class Second:
    """Another Coordinator on a network's database and broker, started by settings alone."""

    process: subprocess.Popen[bytes]
    base: str
    log: Path

    def http(self, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=f"{self.base}/api/v1", headers=headers, timeout=60)


@contextlib.contextmanager
def second_coordinator(network: Network, **settings: str) -> Iterator[Second]:
    """`archipelag-coordinator serve` against the network's servers as external ones."""
    port, grpc = free_port(), free_port()
    env = environment(network.home) | {
        "ARCHIPELAG_DATABASE_URL": network.database_url,
        "ARCHIPELAG_NATS_URL": network.nats_url,
        "ARCHIPELAG_STATE_DIR": str(network.home / "coordinator"),
        "ARCHIPELAG_HTTP_PORT": str(port),
        "ARCHIPELAG_GRPC_PORT": str(grpc),
        **settings,
    }
    log = network.home / "logs" / f"second-{port}.log"
    program = [sys.executable, "-m", "archipelag_coordinator", "serve"]
    with log.open("ab") as out:
        process = subprocess.Popen(program, env=env, stdout=out, stderr=out, cwd=network.home)
    second = Second(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_for(lambda: process.poll() is not None or ready(second.base), "it is ready")
        assert process.poll() is None, log.read_text()[-2000:]
        yield second
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ready(base: str) -> bool:
    try:
        return httpx.get(f"{base}/api/v1/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def environment(home: Path) -> dict[str, str]:
    echo = "archipelag_island.testing.echo_engine"
    kept = home / "ports-of-the-test"
    if not kept.exists():
        # The usual ones may be free now, and somebody else's when they are taken.
        kept.write_text(f"{free_port()} {free_port()}")
    http_port, grpc_port = kept.read_text().split()
    return os.environ | {
        "ARCHIPELAG_HTTP_PORT": http_port,
        "ARCHIPELAG_GRPC_PORT": grpc_port,
        "ARCHIPELAG_HOME": str(home),
        "ARCHIPELAG_ISLAND_EXTRA_ENGINES": f"echo={echo}",
        "ARCHIPELAG_ISLAND_NAME": "test-island",
        "ARCHIPELAG_POLICY_QUEUE_WAIT_INTERACTIVE_S": "6",
        "ARCHIPELAG_POLICY_READER_GRACE_S": "1",
        "ARCHIPELAG_POLICY_HEARTBEAT_S": "2",
    }


def start(home: Path, **settings: str) -> Network:
    """`make up` without make: the same program, in a folder of its own."""
    env = environment(home) | settings
    with (home / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "archipelag_embedded", "up"],
            env=env,
            stdout=log,
            stderr=log,
            cwd=home,
        )
    deadline = time.monotonic() + START_S
    published = home / "network.json"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        # To ask the program each time would keep the network from the processor while it starts.
        if not published.exists():
            time.sleep(0.1)
            continue
        told = subprocess.run(
            [sys.executable, "-m", "archipelag_embedded", "env"],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        if told.returncode == 0:
            values = dict(EXPORT.findall(told.stdout))
            return Network(
                home=home,
                process=process,
                api_url=values["ARCHIPELAG_API_URL"],
                api_key=values["ARCHIPELAG_API_KEY"],
                database_url=values["ARCHIPELAG_DATABASE_URL"],
                nats_url=values["ARCHIPELAG_NATS_URL"],
            )
        time.sleep(0.5)
    process.kill()
    raise AssertionError(f"no network after {START_S} s:\n{(home / 'up.log').read_text()[-4000:]}")


def stop(network: Network) -> None:
    network.process.send_signal(signal.SIGTERM)
    network.process.wait(STOP_S)


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    home = Path(tempfile.mkdtemp(prefix="archipelag-acceptance-"))
    home.chmod(0o755)
    running = start(home)
    try:
        running.coordinator("cargo", "publish", str(echo_manifest()))
        wait_for(lambda: "echo" in warm(running), "the echo Cargo is warm")
        yield running
    finally:
        stop(running)
        shutil.rmtree(home, ignore_errors=True)


def echo_manifest() -> Path:
    import archipelag_island.testing.echo_engine as echo

    assert echo.__file__ is not None
    return Path(echo.__file__).parent / "manifest.toml"


def warm(network: Network) -> list[str]:
    with network.http() as client:
        hosts = client.get("/hosts").json()["data"]
    return [offer["slug"] for host in hosts for offer in host["cargos"] if offer["state"] == "warm"]


def wait_for(holds: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Returns what `holds` returns as soon as it is true."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := holds():
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {timeout_s} s: {what}")


TRAP = """
slug = "trap"
version = "1.0.0"
name = "Trap"
description = "Runs nowhere but on the Island of a test."
license = "Apache-2.0"
kind = "chat"
runtime = "native"
engine = "trap"
resumable = false

[model]
name = "trap-model"
file = "none.gguf"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
source = "none"
context_tokens = 2048

[needs]
memory_mb = 1

[limits]
tier = "standard"
seconds = 60
output_items_max = 256
output_bytes_max = 65536
progress_s = 5

[price]
job_ucredits = 0
prompt_token_ucredits = 20
output_item_ucredits = 100
"""


@pytest.fixture(scope="session")
def trap(network: Network) -> tuple[str, str]:
    """A Cargo that only a test's Island offers: slug and digest."""
    manifest = network.home / "trap.toml"
    manifest.write_text(TRAP)
    network.coordinator("cargo", "publish", str(manifest))

    def listed() -> tuple[str, str] | None:
        with network.http() as http:
            for cargo in http.get("/workloads").json()["data"]:
                if cargo["slug"] == "trap":
                    return "trap", str(cargo["digest"])
        return None

    found: tuple[str, str] = wait_for(listed, "the trap is listed")
    return found


@pytest.fixture
async def hostile(network: Network) -> AsyncIterator[RawIsland]:
    """A second Island, enrolled as anybody's would be, by a user of its own."""
    owner = network.user("hostile-host@example.org", "0")
    with network.http(owner) as http:
        code = http.post("/pairing-codes").json()["data"]["code"]
    island = await (await RawIsland.enrol(address(network), code, "hostile")).connect()
    try:
        yield island
    finally:
        await island.close()


def address(network: Network) -> str:
    return (network.home / "island" / "coordinator").read_text().strip()


def assignment_key(network: Network) -> bytes:
    raw = json.loads((network.home / "island" / "identity.json").read_text())
    return base64.b64decode(raw["assignment_keys"][0])
