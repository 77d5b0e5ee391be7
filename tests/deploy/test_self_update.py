"""A real Island under its launcher takes a release from a real network, and gives up one that does not work."""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from archipelag_coordinator.__main__ import main
from archipelag_embedded.process import Process

from .topology import Topology, standing

pytestmark = pytest.mark.timeout(400)
LAUNCH = Path(__file__).parents[2] / "deploy" / "island" / "launch.sh"
WORKS = f'exec {sys.executable} -m archipelag_island "$@"'
ENDS_S = 90.0


class Host:
    """A machine with an installed Island, whose unit starts the launcher again whenever it ends."""

    def __init__(self, network: Topology) -> None:
        self.network = network
        self.software = network.folder / "software"
        (self.software / "versions").mkdir(parents=True)
        first = self.lay("first", WORKS)
        (self.software / "current").symlink_to(f"versions/{first}")
        self.key = network.folder / "release.key"
        assert main(["release", "key", "--to", str(self.key)]) == 0
        self.log = network.folder / "launcher.log"

    def file(self, name: str, does: str) -> Path:
        path = self.network.folder / name
        path.write_text(f"#!/bin/sh\n# {name}\necho started {name}\n{does}\n")
        path.chmod(0o755)
        return path

    def lay(self, name: str, does: str) -> str:
        path = self.file(name, does)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, self.software / "versions" / digest)
        return digest

    def publish(self, number: int, name: str, does: str) -> str:
        path = self.file(name, does)
        given = ["--number", str(number), "--release", f"0.{number}.0", "--at-once"]
        given += ["--key", str(self.key), "--to", str(self.network.folder / "releases")]
        given += ["--file", f"linux-{platform.machine()}={path}"]
        assert main(["release", "publish", *given]) == 0
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def start(self) -> Process:
        environment = self.network.of_island() | {
            "ARCHIPELAG_ISLAND_SOFTWARE": str(self.software),
            "ARCHIPELAG_ISLAND_UPDATE_URL": f"{self.network.base}/releases",
            "ARCHIPELAG_ISLAND_UPDATE_KEY": f"{self.key}.pub",
        }
        return Process("Island", ["/bin/sh", LAUNCH, "run"], log=self.log, env=environment)

    def once(self) -> None:
        """From one start to the end that it makes itself."""
        process = self.start()
        try:
            assert process.wait(ENDS_S), process.log_tail()
        finally:
            process.stop(15)

    @property
    def current(self) -> str:
        return (self.software / "current").readlink().name

    @property
    def armed(self) -> bool:
        return (self.software / "trial").is_symlink()


@pytest.fixture
def host(postgres_dsn: str) -> Iterator[Host]:
    with standing("updated", postgres_dsn, island=False) as network:
        yield Host(network)


def test_an_island_takes_what_works_and_gives_up_what_does_not(host: Host) -> None:
    second = host.publish(2, "second", WORKS)
    host.once()  # the first one fetches it, drains and ends
    assert host.armed and host.current != second, host.log.read_text()[-3000:]

    running = host.start()
    try:
        deadline = time.monotonic() + ENDS_S
        while host.armed:
            assert running.running and time.monotonic() < deadline, running.log_tail()
            time.sleep(0.1)
    finally:
        running.stop(30)
    assert host.current == second, "a Coordinator answered it, and it confirmed itself"

    third = host.publish(3, "third", "exit 3")
    host.once()
    assert host.armed
    for _ in range(3):
        host.once()
    assert host.current == second

    back = host.start()
    try:
        deadline = time.monotonic() + ENDS_S
        while not (host.software / "refused").exists() or not host.network.warm():
            assert back.running and time.monotonic() < deadline, back.log_tail()
            time.sleep(0.1)
    finally:
        back.stop(30)
    assert (host.software / "refused").read_text() == f"{third}\n" and host.current == second
