"""Probes: what this host has, as this process may use it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from archipelag_island.adapters.probe import cpu, gpu, memory
from archipelag_island.domain.capability import Capabilities
from archipelag_island.domain.caps import Caps
from archipelag_island.runtime import RuntimeInfo

_OS = {"linux": "linux", "darwin": "darwin", "win32": "windows"}
# Told in steps, so that a heartbeat does not carry capabilities because a log file grew.
DISK_STEP_BYTES = 1 << 30


def capabilities(
    home: Path,
    runtimes: tuple[RuntimeInfo, ...],
    engines: tuple[str, ...],
    region: str,
    caps: Caps,
    *,
    takes_orders: bool = False,
) -> Capabilities:
    """What the owner lends of this host."""
    cores, memory_bytes = cpu.cores(), memory.usable_bytes()
    return Capabilities(
        agent_version=agent_version(),
        os=_OS.get(sys.platform, sys.platform),
        arch=platform.machine() or "unknown",
        cores=min(cores, caps.cores or cores),
        cpu_features=cpu.features(),
        memory_bytes=min(memory_bytes, caps.memory_bytes or memory_bytes),
        disk_free_bytes=disk_free_bytes(home),
        gpus=gpu.gpus(),
        runtimes=runtimes,
        engines=tuple(sorted(engines)),
        region=region,
        takes_orders=takes_orders,
    )


def agent_version() -> str:
    try:
        return version("archipelag-island")
    except PackageNotFoundError:
        return "0.1.0"


def disk_free_bytes(home: Path) -> int:
    free = shutil.disk_usage(home).free
    return free if free < DISK_STEP_BYTES else free // DISK_STEP_BYTES * DISK_STEP_BYTES


def load(cores: int) -> float:
    """Share of the usable cores that was busy in the last minute, 0 to 1."""
    try:
        return min(1.0, os.getloadavg()[0] / max(1, cores))
    except OSError:
        return 0.0
