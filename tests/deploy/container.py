"""Runs an image by runc as a strict container engine would: its own user, nothing writable but what is given."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from archipelag_oci.image import ImageFile
from archipelag_oci.layout import read_layout
from archipelag_oci.manifests import parse_config
from archipelag_oci.pull import Layer
from archipelag_oci.unpack import unpack

SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
STOP_S = 20.0


def runc() -> str:
    found = shutil.which("runc", path=SYSTEM_PATH)
    if os.geteuid() != 0:
        pytest.skip("needs root: runs containers directly")
    if found is None:
        pytest.skip("needs runc: apt install runc")
    return found


def image_in(archive: Path, folder: Path) -> ImageFile:
    """Read from an archive as it is handed out, every blob checked."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return read_layout(folder)


def unpacked(image: ImageFile, folder: Path) -> Path:
    layers = [Layer(layer.path, "gzip", layer.diff_id) for layer in image.layers]
    return unpack(layers, folder).folder


@dataclass
class Container:
    """One image, unpacked; each command runs in a container of its own, on this machine's loopback."""

    root: Path
    image: ImageFile
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    writable: Mapping[str, Path] = field(default_factory=dict)
    """Folder inside → folder here."""
    started: int = 0

    def start(self, command: Sequence[str] = (), *, entrypoint: Sequence[str] = ()) -> Running:
        self.started += 1
        name = f"archipelag-test-{os.getpid()}-{self.folder.name}-{self.started}"
        bundle = self.folder / name
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(self._document(command, entrypoint)))
        log = bundle / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [runc(), "--root", str(self.folder / "state"), "run", "-b", str(bundle), name],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        return Running(name, process, log, self.folder / "state")

    def run(
        self, command: Sequence[str] = (), *, entrypoint: Sequence[str] = (), within_s: float = 60
    ) -> tuple[int, str]:
        running = self.start(command, entrypoint=entrypoint)
        try:
            return running.process.wait(within_s), running.said()
        finally:
            running.stop()

    def _document(self, command: Sequence[str], entrypoint: Sequence[str]) -> dict[str, Any]:
        config = json.loads(self.image.config)["config"]
        uid, gid = (int(part) for part in config["User"].split(":"))
        variables = dict(parse_config(self.image.config).environment) | dict(self.environment)
        empty: list[str] = []
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
        ]
        for inside, here in self.writable.items():
            mounts.append(
                {"destination": inside, "type": "bind", "source": str(here), "options": ["bind"]}  # type: ignore[dict-item]
            )
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self.root), "readonly": True},
            "process": {
                "user": {"uid": uid, "gid": gid},
                "args": [
                    *(entrypoint or config["Entrypoint"]),
                    *(command or ([] if entrypoint else config.get("Cmd", []))),
                ],
                "env": [f"{name}={value}" for name, value in variables.items()],
                "cwd": config["WorkingDir"],
                "noNewPrivileges": True,
                "capabilities": dict.fromkeys(
                    ("bounding", "effective", "inheritable", "permitted"), empty
                ),
            },
            "mounts": mounts,
            "linux": {
                # The network stays this machine's: the servers of the test listen there.
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
                "maskedPaths": ["/proc/kcore", "/proc/keys"],
                "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
            },
        }


@dataclass
class Running:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    state: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def inside(self, *command: str) -> tuple[int, str]:
        """A command more in the same container, as a health check is run."""
        done = subprocess.run(
            [runc(), "--root", str(self.state), "exec", self.name, *command],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def pid(self) -> int:
        """Of its first process, on this machine."""
        told = subprocess.run(
            [runc(), "--root", str(self.state), "state", self.name],
            capture_output=True, check=True, timeout=20,
        )  # fmt: skip
        return int(json.loads(told.stdout)["pid"])

    def stop(self) -> int:
        """Asks it to stop, as engines do; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + STOP_S
            while self.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
        subprocess.run(
            [runc(), "--root", str(self.state), "delete", "--force", self.name],
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        return self.process.wait(10)
