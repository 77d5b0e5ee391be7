"""What the parts of a network take of the machine, sampled while they run, and whether it grows."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from tests.chaos.network import Network

APART_S: Final = 60.0
"""Two samples nearer than this tell of noise, not of growth."""
LOOKED_S: Final = 240.0
"""How long a part must have been looked at after its warm-up before anything is said of its growth."""
OWN_MEMORY: Final = re.compile(r"^Pss_Anon: +(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """One part at one moment."""

    part: str
    life: int
    """The process; another one after a restart."""
    at_s: float
    """Since the soak began."""
    age_s: float
    """Of the process."""
    memory_mb: float
    """Its own, and that of all that it started, what is shared by several counted once; without files and shared
    memory, whose size is a setting."""
    open_files: int
    """Sockets included."""
    cpu_s: float = 0.0
    """That it and all that it started have had of the processor since it began."""


def kind_of(part: str) -> str:
    """`i7` → `Island`."""
    return {"c": "Coordinator", "i": "Island"}.get(part[0], part)


def roots(network: Network) -> Mapping[str, int]:
    """Which process each part is."""
    found = {
        part.name: part.process.pid
        for part in (*network.coordinators, *network.islands)
        if part.process is not None and part.running
    }
    for name, process in (
        ("NATS", network.brokers[0].process),
        ("PostgreSQL", network.postgres.process),
    ):
        if process is not None:
            found[name] = process.pid
    return found


def samples(parts: Mapping[str, int], began: float) -> list[Sample]:
    """Of each part that still runs. `began`: of the soak, by the monotonic clock."""
    found = []
    for part, pid in parts.items():
        try:
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
            age_s = time.time() - root.create_time()
        except psutil.Error:
            continue
        taken = [_taken(one) for one in tree]
        at_s = time.monotonic() - began
        memory = sum(kilobytes for kilobytes, _ in taken) / 1024
        files = sum(files for _, files in taken)
        cpu_s = sum(_cpu_s(one) for one in tree)
        found.append(Sample(part, pid, at_s, age_s, memory, files, cpu_s))
    return found


def _cpu_s(process: psutil.Process) -> float:
    """Its own, and that of those of its children that have ended; 0 once it is gone."""
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.Error:
        return 0.0


class Processor:
    """Who has it, from now on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._own_s = time.process_time()
        self._machine = psutil.cpu_times()

    def cores(self, taken: Sequence[Sample]) -> dict[str, float]:
        """On average until now: each kind of part, this process with the crowd in it, all else, and what was idle."""
        took_s = time.monotonic() - self._began
        found = {kind: spent_s / took_s for kind, spent_s in spent(taken).items()}
        found["crowd"] = (time.process_time() - self._own_s) / took_s
        now, then = psutil.cpu_times(), self._machine
        waited = getattr(now, "iowait", 0.0) - getattr(then, "iowait", 0.0)
        idle = (now.idle - then.idle + waited) / took_s
        total = (sum(now[:8]) - sum(then[:8])) / took_s
        found["all else"] = max(0.0, total - idle - sum(found.values()))
        return found | {"idle": idle}


def spent(taken: Sequence[Sample]) -> dict[str, float]:
    """Seconds of a processor that each kind of part had while it was looked at, or since it began."""
    lives: dict[tuple[str, int], list[Sample]] = {}
    for sample in taken:
        lives.setdefault((sample.part, sample.life), []).append(sample)
    found: dict[str, float] = {}
    for (part, _), life in lives.items():
        began_before = life[0].age_s > life[0].at_s
        cpu_s = life[-1].cpu_s - (life[0].cpu_s if began_before else 0.0)
        found[kind_of(part)] = found.get(kind_of(part), 0.0) + cpu_s
    return found


def _taken(process: psutil.Process) -> tuple[int, int]:
    """Memory in kB and open files; nothing of one that is gone."""
    try:
        told = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        found = OWN_MEMORY.search(told)
        return int(found[1]) if found else 0, process.num_fds()
    except (OSError, psutil.Error):
        return 0, 0


@dataclass(frozen=True)
class Growth:
    """Of one part, over all its lives. `mb_per_h` is None where it was not looked at for long enough."""

    part: str
    first_mb: float
    last_mb: float
    looked_s: float
    mb_per_h: float | None


def growth(part: str, taken: Sequence[Sample], warm_s: float) -> Growth:
    """The median of the slopes between all samples of one life: a few outliers do not move it. What is younger than
    `warm_s` is left out, since pools and caches fill then."""
    warm = [sample for sample in taken if sample.age_s >= warm_s]
    lives: dict[int, list[Sample]] = {}
    for sample in warm:
        lives.setdefault(sample.life, []).append(sample)
    looked_s = sum(life[-1].at_s - life[0].at_s for life in lives.values())
    slopes = [
        (b.memory_mb - a.memory_mb) / (b.at_s - a.at_s) * 3600
        for life in lives.values()
        for a, b in combinations(life, 2)
        if b.at_s - a.at_s >= APART_S
    ]
    known = slopes and looked_s >= LOOKED_S
    shown = warm or taken
    return Growth(
        part, shown[0].memory_mb, shown[-1].memory_mb, looked_s, median(slopes) if known else None
    )
