"""What a Cargo uses, by the kernel's counters: of its control group, or of every process that it started."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from archipelag_island.adapters.runtimes.native.cgroups import Cgroup
from archipelag_island.runtime import Consumption

_TICK_MS: Final = 1000 // os.sysconf("SC_CLK_TCK")
PROCESSES_MAX: Final = 4_096


@dataclass
class _Seen:
    """A process as it was when last looked at."""

    cpu_ms: int = 0
    read_bytes: int = 0
    written_bytes: int = 0


class Meter:
    """Remembers: what a process has used still counts when it is gone."""

    def __init__(self, pid: int, cgroup: Cgroup | None = None) -> None:
        self._pid = pid
        self._cgroup = cgroup
        self._seen: dict[tuple[int, str], _Seen] = {}
        self._last = Consumption()

    def read(self) -> Consumption:
        """Never raises; the last figures once all is gone."""
        group = self._cgroup
        if group is None or not (group.counts_cpu and group.counts_memory and group.counts_bytes):
            with suppress(OSError, ValueError, IndexError):
                self._last = self._walk()
        if group is not None:
            with suppress(OSError, ValueError):
                self._last = self._counted(group)
        return self._last

    def _counted(self, group: Cgroup) -> Consumption:
        walked, counted = self._last, group.usage(self._last)
        if not group.counts_memory:
            counted = replace(counted, memory_bytes=walked.memory_bytes)
        return counted

    def _walk(self) -> Consumption:
        last, resident, reaped_ms = self._last, 0, 0
        for pid in tree(self._pid):
            try:
                resident += self._look(pid)
                reaped_ms += _reaped_ms(pid)
            except (OSError, ValueError, IndexError):
                continue  # Gone in the meantime: what was seen of it stays.
        alive_ms = sum(seen.cpu_ms for seen in self._seen.values())
        return Consumption(
            # Two views of what has ended, each a lower bound: what was seen of it, and what its parent was told.
            cpu_ms=max(last.cpu_ms, alive_ms, self._living_ms + reaped_ms),
            memory_bytes=resident,
            memory_peak_bytes=max(last.memory_peak_bytes, resident),
            read_bytes=max(last.read_bytes, sum(s.read_bytes for s in self._seen.values())),
            written_bytes=max(
                last.written_bytes, sum(s.written_bytes for s in self._seen.values())
            ),
        )

    @property
    def _living_ms(self) -> int:
        living = {pid for pid, _ in self._seen if Path(f"/proc/{pid}").exists()}
        return sum(seen.cpu_ms for (pid, _), seen in self._seen.items() if pid in living)

    def _look(self, pid: int) -> int:
        """Notes what a process has used; returns what memory it holds."""
        fields = _stat(pid)
        key = (pid, fields[19])  # A number is used again, but not with the same start.
        if key not in self._seen and len(self._seen) >= PROCESSES_MAX:
            del self._seen[next(iter(self._seen))]
        seen = self._seen.setdefault(key, _Seen())
        seen.cpu_ms = (int(fields[11]) + int(fields[12])) * _TICK_MS
        with suppress(OSError):
            counters = dict(
                line.split(": ", 1) for line in Path(f"/proc/{pid}/io").read_text().splitlines()
            )
            seen.read_bytes = int(counters.get("read_bytes", 0))
            seen.written_bytes = int(counters.get("write_bytes", 0))
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tree(pid: int) -> list[int]:
    """A process and all below it, parents first, PROCESSES_MAX at most."""
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < PROCESSES_MAX:
        at = waiting.pop()
        found.append(at)
        waiting += children(at)
    return found


def children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += [int(n) for n in (task / "children").read_text().split()]
    return found


def _stat(pid: int) -> list[str]:
    # The name in parentheses may itself contain spaces and parentheses.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _reaped_ms(pid: int) -> int:
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) * _TICK_MS
