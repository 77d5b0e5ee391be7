"""Control groups of native Cargos, in either version's layout: hard limits, and the kernel's own counters.

Nothing here raises for a host that has none: what can be had is used, and `CgroupParent.controllers` says what that is.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archipelag_contracts.tiers import Tier

from archipelag_island.runtime import Consumption

PREFIX: Final = "archipelag-"
PERIOD_US: Final = 100_000
# Bubblewrap's two and, before it, what opens the way.
SANDBOX_PIDS: Final = 2
WANTED: Final = ("memory", "pids", "cpu")
# Version 1 counts in groups of their own what version 2 counts anyway.
COUNTING: Final = ("cpuacct", "blkio")


@dataclass(frozen=True)
class CgroupParent:
    """Where this process may make groups."""

    folders: dict[str, Path]
    """By controller; several may share a folder. In version 2 all do."""
    unified: bool

    @property
    def controllers(self) -> tuple[str, ...]:
        return tuple(name for name in WANTED if name in self.folders)

    def make(self, name: str, tier: Tier) -> Cgroup | None:
        """None when the host does not let us after all: then nothing is left."""
        made = Cgroup({c: folder / name for c, folder in self.folders.items()}, self.unified)
        try:
            for folder in made.own_folders:
                folder.mkdir()
            made.limit(tier)
        except OSError:
            made.remove()
            return None
        return made

    def remove_leftovers(self) -> int:
        """Removes the groups of Islands that are gone, with whatever still lives in them."""
        names = {
            folder.name
            for parent in set(self.folders.values())
            for folder in parent.glob(f"{PREFIX}*-*")
            if not _alive(folder.name.removeprefix(PREFIX).split("-")[0])
        }
        for name in names:
            left = Cgroup({c: folder / name for c, folder in self.folders.items()}, self.unified)
            left.kill()
            left.remove()
        return len(names)


@dataclass(frozen=True)
class Cgroup:
    """One Cargo's."""

    folders: dict[str, Path]
    unified: bool

    @property
    def own_folders(self) -> list[Path]:
        return list(dict.fromkeys(self.folders.values()))

    @property
    def doors(self) -> list[str]:
        """Files into which a process writes itself to be inside."""
        return [str(folder / "cgroup.procs") for folder in self.own_folders]

    def limit(self, tier: Tier) -> None:
        quota = tier.cpus * PERIOD_US
        if self.unified:
            self._write("memory", "memory.max", tier.memory_bytes)
            self._write("memory", "memory.swap.max", 0, needed=False)
            self._write("memory", "memory.oom.group", 1, needed=False)
            self._write("cpu", "cpu.max", f"{quota} {PERIOD_US}")
        else:
            self._write("memory", "memory.limit_in_bytes", tier.memory_bytes)
            self._write("memory", "memory.memsw.limit_in_bytes", tier.memory_bytes, needed=False)
            self._write("memory", "memory.swappiness", 0, needed=False)
            self._write("cpu", "cpu.cfs_period_us", PERIOD_US)
            self._write("cpu", "cpu.cfs_quota_us", quota)
        self._write("pids", "pids.max", tier.pids + SANDBOX_PIDS)

    def _write(self, controller: str, file: str, value: object, *, needed: bool = True) -> None:
        folder = self.folders.get(controller)
        if folder is None:
            return
        try:
            (folder / file).write_text(str(value))
        except OSError:
            if needed:
                raise

    def usage(self, last: Consumption) -> Consumption:
        """Never less than `last`, but for what is used now. Raises OSError once it is removed."""
        read, written = self._bytes()
        peak, now, kills = self._memory()
        return Consumption(
            cpu_ms=max(last.cpu_ms, self._cpu_ms()),
            memory_bytes=now,
            memory_peak_bytes=max(last.memory_peak_bytes, peak, now),
            read_bytes=max(last.read_bytes, read),
            written_bytes=max(last.written_bytes, written),
            oom_kills=max(last.oom_kills, kills),
        )

    @property
    def counts_cpu(self) -> bool:
        return self.unified or "cpuacct" in self.folders

    @property
    def counts_memory(self) -> bool:
        return "memory" in self.folders

    @property
    def counts_bytes(self) -> bool:
        return self.unified or "blkio" in self.folders

    def _cpu_ms(self) -> int:
        if self.unified:
            return _table(self._any / "cpu.stat").get("usage_usec", 0) // 1000
        if "cpuacct" not in self.folders:
            return 0
        return int((self.folders["cpuacct"] / "cpuacct.usage").read_text()) // 1_000_000

    def _memory(self) -> tuple[int, int, int]:
        """Peak, now without what the kernel would drop, processes killed for want of it."""
        folder = self.folders.get("memory")
        if folder is None:
            return 0, 0, 0
        stat = _table(folder / "memory.stat")
        if self.unified:
            used = int((folder / "memory.current").read_text())
            peak = 0
            with suppress(OSError):  # Newer than the rest of version 2.
                peak = int((folder / "memory.peak").read_text())
            kills = _table(folder / "memory.events").get("oom_kill", 0)
            idle = stat.get("inactive_file", 0)
        else:
            used = int((folder / "memory.usage_in_bytes").read_text())
            peak = int((folder / "memory.max_usage_in_bytes").read_text())
            kills = _table(folder / "memory.oom_control").get("oom_kill", 0)
            idle = stat.get("total_inactive_file", 0)
        return peak, max(0, used - idle), kills

    def _bytes(self) -> tuple[int, int]:
        """Read from and written to disks."""
        read = written = 0
        if self.unified:
            with suppress(OSError):
                for line in (self._any / "io.stat").read_text().splitlines():
                    fields = dict(f.split("=", 1) for f in line.split()[1:] if "=" in f)
                    read += int(fields.get("rbytes", 0))
                    written += int(fields.get("wbytes", 0))
        elif "blkio" in self.folders:
            with suppress(OSError):
                text = (self.folders["blkio"] / "blkio.throttle.io_service_bytes").read_text()
                for line in text.splitlines():
                    match line.split():
                        case [_, "Read", count]:
                            read += int(count)
                        case [_, "Write", count]:
                            written += int(count)
        return read, written

    @property
    def _any(self) -> Path:
        return next(iter(self.folders.values()))

    def kill(self) -> None:
        """Everything in it, at once where the kernel can."""
        for folder in self.own_folders:
            door = folder / "cgroup.kill"
            if door.exists():
                with suppress(OSError):
                    door.write_text("1")
                continue
            with suppress(OSError, ValueError):
                for pid in (folder / "cgroup.procs").read_text().split():
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)

    def remove(self) -> bool:
        """Whether nothing is left: the kernel lets go of a group a moment after its last process."""
        for folder in self.own_folders:
            with suppress(OSError):
                folder.rmdir()
        return not any(folder.exists() for folder in self.own_folders)


def _table(path: Path) -> dict[str, int]:
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def _alive(pid: str) -> bool:
    return not pid.isdigit() or Path(f"/proc/{pid}").exists()
