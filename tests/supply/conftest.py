"""One registry and one publisher for all of these tests, and an Island's store of images that outlasts each."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .publisher import Publisher

START_S = 60.0
READY = "http://{}/v2/"


@pytest.fixture(scope="session")
def publisher() -> Iterator[Publisher]:
    work = Path(tempfile.mkdtemp(prefix="archipelag-supply-"))
    command = [sys.executable, "-m", "archipelag_oci.server", "--folder", str(work / "store")]
    port = free_port()
    process = subprocess.Popen([*command, "--port", str(port)])
    try:
        wait_ready(process, f"127.0.0.1:{port}")
        yield Publisher(f"127.0.0.1:{port}", work / "store", work)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(work, ignore_errors=True)


@pytest.fixture(scope="session")
def island() -> Iterator[Path]:
    """Where an Island keeps images: what one test has fetched is warm for the next, as it would be there."""
    folder = Path(tempfile.mkdtemp(prefix="archipelag-supply-island-"))
    # A sandbox's user is not ours, and must reach what is mounted.
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_ready(process: subprocess.Popen[bytes], address: str) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            if httpx.get(READY.format(address)).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < until and process.poll() is None, "the registry did not start"
        time.sleep(0.05)
