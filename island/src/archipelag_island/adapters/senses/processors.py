"""How much of the processors others use: what the kernel counted as busy, without this agent and its descendants.

In a container /proc/stat mostly shows the whole machine, and our own tree is what we see of it: the difference is still
the others'. A program that a Cargo starts and then leaves to itself (its parent gone) counts as another's.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Final

# user, nice, system, irq, softirq. Guests are in user and nice already; stolen time is another machine's.
BUSY: Final = (0, 1, 2, 5, 6)
COUNTED: Final = 8
# The share is that of this many looks, so that one short burst is not yet the owner's work.
LOOKS: Final = 3


class Others:
    def __init__(self, proc: Path, pid: int) -> None:
        self._proc = proc
        self._pid = pid
        self._last: tuple[int, int, int] | None = None
        self._steps: deque[tuple[int, int]] = deque(maxlen=LOOKS)

    def read(self) -> float | None:
        """0 to 1, over the newest looks; None before there are enough, or where the kernel does not tell."""
        try:
            total, busy = self._machine()
            ours = self._ours()
        except (OSError, ValueError, IndexError):
            self._last = None
            self._steps.clear()
            return None
        if self._last is not None and total > self._last[0]:
            before_total, before_busy, before_ours = self._last
            # A child whose end nobody waited for takes its time with it: then ours shrinks, and counts as nothing.
            others = max(0, busy - before_busy) - max(0, ours - before_ours)
            self._steps.append((total - before_total, others))
        self._last = (total, busy, ours)
        if len(self._steps) < LOOKS:
            return None
        passed = sum(step for step, _ in self._steps)
        return min(1.0, max(0.0, sum(others for _, others in self._steps) / passed))

    def _machine(self) -> tuple[int, int]:
        """Ticks of all processors since the start: all, and busy."""
        line = (self._proc / "stat").read_text().split("\n", 1)[0].split()
        if line[0] != "cpu":
            raise ValueError("no line of all processors")
        fields = [int(field) for field in line[1 : COUNTED + 1]]
        return sum(fields), sum(fields[place] for place in BUSY)

    def _ours(self) -> int:
        """Ticks of this agent and all its descendants, the ended ones that were waited for included."""
        found, waiting, seen = 0, [self._pid], set[int]()
        while waiting:
            pid = waiting.pop()
            if pid in seen:
                continue
            seen.add(pid)
            try:
                found += _ticks((self._proc / str(pid) / "stat").read_text())
                waiting += self._children(pid)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                if pid == self._pid:
                    raise
        return found

    def _children(self, pid: int) -> list[int]:
        """A child is listed with the thread that started it."""
        found: list[int] = []
        for task in (self._proc / str(pid) / "task").iterdir():
            try:
                found += [int(child) for child in (task / "children").read_text().split()]
            except FileNotFoundError:
                if not task.exists():
                    continue  # A thread that just ended.
                raise ValueError("this kernel does not list children") from None
        return found


def _ticks(stat: str) -> int:
    # The name in parentheses may itself contain spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])
