"""Real registries on free loopback ports: Debian's docker-registry, and our own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_embedded.process import free_port


@dataclass(frozen=True)
class Server:
    host: str
    kind: str
    folder: Path


@contextmanager
def running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    started = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert started.poll() is None, f"{command[0]} ended with {started.returncode}"
            assert time.monotonic() < end, f"{command[0]} does not listen"
            time.sleep(0.05)
        yield
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()


@contextmanager
def server(kind: str, folder: Path, environment: dict[str, str] | None = None) -> Iterator[Server]:
    port = free_port()
    if kind == "debian":
        program = shutil.which("docker-registry")
        if program is None:
            pytest.skip("needs docker-registry: apt install docker-registry")
        config = folder / "config.yml"
        config.write_text(
            "version: 0.1\n"
            f"storage:\n  filesystem:\n    rootdirectory: {folder}/data\n"
            f"http:\n  addr: 127.0.0.1:{port}\n"
            "log:\n  level: error\n"
        )
        command = [program, "serve", str(config)]
    else:
        command = [sys.executable, "-m", "archipelag_oci.server", "--folder", str(folder / "data")]
        command += ["--port", str(port), "--blob-bytes-max", str(64 << 20)]
    with running(command, port, environment or {}):
        yield Server(f"127.0.0.1:{port}", kind, folder / "data")
