"""The limits that one Cargo gets on this Island: its tier's, cut to what it asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from archipelag_contracts.manifest import Manifest
from archipelag_contracts.tiers import TIERS, Tier, permits

MEMORY_BYTES_MIN: Final = 32 << 20


def tier_of(manifest: Manifest, trust: int) -> Tier | None:
    """None: a Cargo of this trust level may not run in the tier that it names."""
    if not permits(trust, manifest.limits.tier):
        return None
    tier = TIERS[manifest.limits.tier]
    memory = min(tier.memory_bytes, max(MEMORY_BYTES_MIN, manifest.needs.memory_mb << 20))
    return replace(
        tier,
        memory_bytes=memory,
        # What lies in /tmp is memory, and counts as such.
        tmp_bytes=min(tier.tmp_bytes, memory // 2),
        seconds=min(tier.seconds, manifest.limits.seconds),
        syscalls=_syscalls(manifest, tier),
    )


def _syscalls(manifest: Manifest, tier: Tier) -> str:
    if "gpu" in manifest.devices:
        return "gpu"
    return "network" if manifest.egress else tier.syscalls
