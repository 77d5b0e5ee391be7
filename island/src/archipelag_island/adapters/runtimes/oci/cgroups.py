"""Control groups of both versions: what a container has used by the kernel's own count, and its end where one is left.

A container's groups stay after its processes have gone, so that the last figures can still be read; we take them away.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

ROOT: Final = Path("/sys/fs/cgroup")
PARENT: Final = "archipelag"
EMPTY_TRIES: Final = 1_000
EMPTY_PAUSE_S: Final = 0.005
NEEDED: Final = ("memory", "pids", "cpu")


@dataclass(frozen=True)
class Figures:
    cpu_ns: int = 0
    memory_bytes: int = 0
    memory_peak_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    oom_kills: int = 0


def version(root: Path = ROOT) -> int:
    """2 where the unified hierarchy is the only one, 1 with controllers each in their own, 0: none."""
    if (root / "cgroup.controllers").exists():
        return 2
    return 1 if (root / "memory" / "cgroup.procs").exists() else 0


def missing(root: Path = ROOT) -> list[str]:
    """The controllers without which limits cannot be set."""
    if version(root) == 2:
        there = (root / "cgroup.controllers").read_text().split()
    else:
        there = [name for name in NEEDED if (root / name / "cgroup.procs").exists()]
    return [name for name in NEEDED if name not in there]


def limits_swap(root: Path = ROOT) -> bool:
    if version(root) == 2:
        # The root group has no files of its own: what the kernel would offer is seen one below.
        return any(root.glob("*/memory.swap.max"))
    return (root / "memory" / "memory.memsw.limit_in_bytes").exists()


def names(root: Path = ROOT) -> list[str]:
    """Of every container of ours that has a group, of any Island's."""
    found = {
        child.name for parent in _parents(root) for child in parent.iterdir() if child.is_dir()
    }
    return sorted(found)


@dataclass(frozen=True)
class Group:
    """The groups of one container, one for each hierarchy, by its path below them."""

    path: str
    root: Path = ROOT

    def figures(self) -> Figures | None:
        """None when it is gone."""
        try:
            return self._second() if version(self.root) == 2 else self._first()
        except (OSError, ValueError):
            return None

    def processes(self) -> set[int]:
        found: set[int] = set()
        for folder in self._all():
            with suppress(OSError, ValueError):
                found |= {int(pid) for pid in (folder / "cgroup.procs").read_text().split()}
        return found

    def kill(self) -> int:
        """SIGKILL to everything in it; returns how many there were."""
        found = self.processes()
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(found)

    def remove(self) -> bool:
        """Whether nothing is left of it; processes that are still ending hold it for a moment."""
        for folder in self._all():
            with suppress(OSError):
                folder.rmdir()
        return not any(True for _ in self._all())

    def _all(self) -> Iterator[Path]:
        """Deepest first."""
        for top in _hierarchies(self.root):
            at = top / self.path
            if at.is_dir():
                inside = [p for p in at.rglob("*") if p.is_dir()]
                yield from sorted(inside, key=lambda p: len(p.parts), reverse=True)
                yield at

    def _first(self) -> Figures:
        memory = self.root / "memory" / self.path
        control = _table(memory / "memory.oom_control")
        cpu = self.root / "cpuacct" / self.path / "cpuacct.usage"
        if not cpu.exists():
            cpu = self.root / "cpu,cpuacct" / self.path / "cpuacct.usage"
        blocks = self.root / "blkio" / self.path / "blkio.throttle.io_service_bytes_recursive"
        read, written = 0, 0
        with suppress(OSError):
            for line in blocks.read_text().splitlines():
                match line.split():
                    case [_, "Read", count]:
                        read += int(count)
                    case [_, "Write", count]:
                        written += int(count)
        return Figures(
            cpu_ns=_number(cpu),
            memory_bytes=_number(memory / "memory.usage_in_bytes"),
            memory_peak_bytes=_number(memory / "memory.max_usage_in_bytes"),
            read_bytes=read,
            written_bytes=written,
            oom_kills=control.get("oom_kill", 0),
        )

    def _second(self) -> Figures:
        at = self.root / self.path
        now = _number(at / "memory.current")
        peak = at / "memory.peak"  # since Linux 5.19
        read, written = 0, 0
        with suppress(OSError):
            for line in (at / "io.stat").read_text().splitlines():
                pairs = dict(word.split("=", 1) for word in line.split()[1:] if "=" in word)
                read += int(pairs.get("rbytes", 0))
                written += int(pairs.get("wbytes", 0))
        return Figures(
            cpu_ns=_table(at / "cpu.stat").get("usage_usec", 0) * 1000,
            memory_bytes=now,
            memory_peak_bytes=_number(peak) if peak.exists() else now,
            read_bytes=read,
            written_bytes=written,
            oom_kills=_table(at / "memory.events").get("oom_kill", 0),
        )


async def empty(group: Group) -> None:
    """Kills what is in it until nothing is: a killed process is there for a moment more."""
    for _ in range(EMPTY_TRIES):
        if not group.kill():
            return
        await asyncio.sleep(EMPTY_PAUSE_S)
    log.error("processes_do_not_end group=%s", group.path)


def of(name: str, root: Path = ROOT) -> Group:
    """The groups of a container that we started by this name."""
    return Group(f"{PARENT}/{name}", root)


def of_process(pid: int, root: Path = ROOT) -> Group | None:
    """The groups of a container that an engine started, by a process in it; None where they are not to be seen."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    wanted = "" if version(root) == 2 else "memory"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if wanted in controllers.split(",") and path.strip("/"):
            group = Group(path.strip("/"), root)
            return group if group.figures() is not None else None
    return None


def _hierarchies(root: Path) -> list[Path]:
    if version(root) == 2:
        return [root]
    return [p for p in root.iterdir() if p.is_dir() and not p.is_symlink()] if root.is_dir() else []


def _parents(root: Path) -> list[Path]:
    return [p for top in _hierarchies(root) if (p := top / PARENT).is_dir()]


def _number(path: Path) -> int:
    return int(path.read_text())


def _table(path: Path) -> dict[str, int]:
    return {name: int(value) for name, value in map(str.split, path.read_text().splitlines())}
