"""Sandbox tiers: what a Cargo may take and do while it runs, and which trust level permits which tier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from archipelag_contracts.manifest import Manifest

TRUST_MAX: Final = 3
"""Levels go from 0, an unknown publisher, to 3, the network's own."""
_MIB: Final = 1 << 20


@dataclass(frozen=True)
class Tier:
    """Hard limits of a sandbox. In every tier: read-only root, no capabilities or new privileges, not root, no swap."""

    name: str
    memory_bytes: int
    """Of the whole sandbox, its `/tmp` included."""
    cpus: int
    seconds: int
    """Of one run."""
    pids: int
    """Processes and threads at once."""
    tmp_bytes: int
    tmp_files: int
    network: bool
    """Whether hosts may be granted by name; else there is no network at all."""
    syscalls: str
    """Name of the profile of system calls: minimal, default, gpu or network."""


TIERS: Final[dict[str, Tier]] = {
    "restricted": Tier(
        "restricted", 256 * _MIB, 1, 60, 64, 64 * _MIB, 4_096, network=False, syscalls="minimal"
    ),
    "standard": Tier(
        "standard", 1024 * _MIB, 2, 300, 256, 256 * _MIB, 16_384, network=False, syscalls="default"
    ),
    "elevated": Tier(
        "elevated", 8192 * _MIB, 4, 600, 1024, 2048 * _MIB, 65_536, network=True, syscalls="default"
    ),
}

TIERS_OF_TRUST: Final[tuple[frozenset[str], ...]] = (
    frozenset({"restricted"}),
    frozenset({"restricted", "standard"}),
    frozenset({"restricted", "standard"}),
    frozenset({"restricted", "standard", "elevated"}),
)
"""By trust level. Levels 1 and 2 may do the same; 2 says that a person has read the source."""


def permits(trust: int, tier: str) -> bool:
    """Whether a Cargo of this trust level may run in this tier."""
    return 0 <= trust <= TRUST_MAX and tier in TIERS_OF_TRUST[trust]


def exceeds(manifest: Manifest) -> list[str]:
    """Every way in which a manifest asks for more than its own tier has: it could not run as it says."""
    tier, needs, limits = TIERS[manifest.limits.tier], manifest.needs, manifest.limits
    found = []
    if needs.memory_mb << 20 > tier.memory_bytes:
        found.append(
            f"needs.memory_mb is {needs.memory_mb}, tier {tier.name} has {tier.memory_bytes >> 20}"
        )
    if limits.seconds > tier.seconds:
        found.append(f"limits.seconds is {limits.seconds}, tier {tier.name} has {tier.seconds}")
    if manifest.egress and not tier.network:
        found.append(f"egress is for the elevated tier, not for {tier.name}")
    if manifest.devices and tier.name != "elevated":
        found.append(f"devices are for the elevated tier, not for {tier.name}")
    return found
