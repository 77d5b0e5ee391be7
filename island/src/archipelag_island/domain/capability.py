"""What this host can do, as it tells the Coordinator."""

from __future__ import annotations

from dataclasses import dataclass

from archipelag_island.runtime import RuntimeInfo


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_bytes: int
    driver: str


@dataclass(frozen=True)
class Capabilities:
    agent_version: str
    os: str
    arch: str
    cores: int
    cpu_features: tuple[str, ...]
    memory_bytes: int
    disk_free_bytes: int
    gpus: tuple[Gpu, ...]
    runtimes: tuple[RuntimeInfo, ...]
    engines: tuple[str, ...]
    region: str = ""
    takes_orders: bool = False
    """Does what its owner asks for on the network's pages, too."""
