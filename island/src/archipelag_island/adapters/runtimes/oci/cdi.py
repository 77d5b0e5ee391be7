"""Devices by the Container Device Interface: what a vendor's file says a container needs to use a GPU.

Its hooks are not run: they would be programs of the host's, run as root beside a stranger's files. Instead libraries
are found by LD_LIBRARY_PATH and the names that drivers' libraries are loaded by.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from archipelag_island.adapters.runtimes.oci.bundle import Device
from archipelag_island.errors import StartFailed

FOLDERS: Final = (Path("/etc/cdi"), Path("/var/run/cdi"))
GPU_KINDS: Final = ("nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu")
FILE_BYTES_MAX: Final = 4 << 20
_LIBRARY: Final = re.compile(r"(lib[\w+-]+\.so)\.\d[\d.]*")


@dataclass(frozen=True)
class Shown:
    source: str
    target: str


@dataclass(frozen=True)
class Edits:
    """What is added to a container."""

    devices: tuple[Device, ...] = ()
    shown: tuple[Shown, ...] = ()
    """Of the host, read-only."""
    environment: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """Path in the container → what it points to."""


def gpu(folders: Sequence[Path] = FOLDERS) -> Edits:
    """All GPUs of this host. Raises StartFailed when no file describes one."""
    for folder in folders:
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            spec = _read(path)
            if spec.get("kind") in GPU_KINDS:
                return _edits(spec)
    where = " or ".join(map(str, folders))
    raise StartFailed(
        f"no GPU is described in {where}: make a file there, as JSON, with nvidia-ctk"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            return {}
        spec = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return spec if isinstance(spec, dict) else {}


def _edits(spec: Mapping[str, Any]) -> Edits:
    """`all` where the file has it, else every device that it names."""
    devices = [d for d in spec.get("devices", ()) if isinstance(d, dict)]
    chosen = [d for d in devices if d.get("name") == "all"] or devices
    edits = [spec.get("containerEdits") or {}, *(d.get("containerEdits") or {} for d in chosen)]
    nodes = {
        node["path"]: _device(node) for edit in edits for node in edit.get("deviceNodes") or ()
    }
    shown = {
        mount["containerPath"]: Shown(mount["hostPath"], mount["containerPath"])
        for edit in edits
        for mount in edit.get("mounts") or ()
    }
    said = [entry.partition("=") for edit in edits for entry in edit.get("env") or ()]
    folders = sorted({posixpath.dirname(target) for target in shown if ".so" in target})
    environment = [(name, value) for name, _, value in said]
    if folders:
        environment.append(("LD_LIBRARY_PATH", ":".join(folders)))
    return Edits(
        devices=tuple(nodes.values()),
        shown=tuple(shown.values()),
        environment=tuple(environment),
        links=tuple(_links(shown)),
    )


def _device(node: Mapping[str, Any]) -> Device:
    """Raises StartFailed when the node is not there: the driver is gone since the file was made."""
    path = node["path"]
    if node.get("hostPath", path) != path:
        raise StartFailed(f"the GPU's device {path} has another name on the host: not supported")
    try:
        found = Path(path).stat()
    except OSError as error:
        raise StartFailed(f"the GPU's device {path} is not there: {error.strerror}") from None
    kind = "b" if stat.S_ISBLK(found.st_mode) else "c"
    return Device(path, os.major(found.st_rdev), os.minor(found.st_rdev), kind)


def _links(targets: Mapping[str, Shown]) -> list[tuple[str, str]]:
    """`libcuda.so.1` and `libcuda.so` for `libcuda.so.550.54`: what ldconfig would make."""
    links: list[tuple[str, str]] = []
    for target in targets:
        folder, name = posixpath.split(target)
        if match := _LIBRARY.fullmatch(name):
            for link in (f"{match[1]}.1", match[1]):
                path = posixpath.join(folder, link)
                if path not in targets:
                    links.append((path, name))
    return links
