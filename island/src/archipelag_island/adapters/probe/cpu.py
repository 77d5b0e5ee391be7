"""Processors: how many this process may use, by affinity and by quota, and what they can do."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
# What engines choose their kernels by; the full list is long and tells nobody anything.
TOLD: Final = (
    "sse4_2", "avx", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "amx_int8", "amx_bf16", "fma", "f16c", "bmi2", "asimd", "asimddp", "asimdhp", "i8mm", "sve", "sve2", "bf16",
)  # fmt: skip


def cores(root: Path = CGROUP) -> int:
    """Whole cores, at least one."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:
        allowed = os.cpu_count() or 1
    quota = _quota(root)
    return max(1, min(allowed, math.floor(quota + 0.01)) if quota else allowed)


def lent(cap: int) -> tuple[int, ...]:
    """The processors that Cargos run on under a cap, the last ones; empty: no cap, or this system binds nobody."""
    try:
        allowed = sorted(os.sched_getaffinity(0))
    except AttributeError:
        return ()
    return tuple(allowed[-cap:]) if 0 < cap < len(allowed) else ()


def _quota(root: Path) -> float:
    """Cores by cgroup quota; 0: no limit."""
    limits = []
    for folder in cgroup_folders(root, "cpu"):
        try:
            if (folder / "cpu.max").exists():  # v2
                quota, period = (folder / "cpu.max").read_text().split()[:2]
            else:  # v1
                quota = (folder / "cpu.cfs_quota_us").read_text().strip()
                period = (folder / "cpu.cfs_period_us").read_text().strip()
            if quota not in ("max", "-1") and int(period) > 0:
                limits.append(int(quota) / int(period))
        except (OSError, ValueError):
            continue
    return min(limits, default=0.0)


def cgroup_folders(root: Path, controller: str) -> list[Path]:
    """Our own cgroup and those above it, for a v1 controller or the unified (v2) hierarchy."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        base = root / controller if names else root
        own = base / path.lstrip("/")
        # In a container our path may not be visible; then the mount itself is our cgroup.
        start = own if own.is_dir() else base
        while start.is_dir():
            found.append(start)
            if start == base or base not in start.parents:
                break
            start = start.parent
    return found


def features(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    try:
        text = cpuinfo.read_text()
    except OSError:
        return ()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            have = set(value.split())
            return tuple(flag for flag in TOLD if flag in have)
    return ()
