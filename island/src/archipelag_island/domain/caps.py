"""Caps: how much of the machine an owner lends at most; zero means no cap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WAIT_MIN_S: Final = 0.001


@dataclass(frozen=True)
class Caps:
    cores: int = 0
    """Processors that all Cargos together run on."""
    memory_bytes: int = 0
    """What all Cargos together may take."""
    send_bytes_per_s: int = 0
    disk_bytes: int = 0
    """Models and the Island's own folder."""


@dataclass(frozen=True)
class Taken:
    """What is used of each now, as far as it was measured."""

    cores: float = 0.0
    memory_bytes: int = 0
    send_bytes_per_s: float = 0.0
    disk_bytes: int | None = None
    """None: not measured yet."""


class Bucket:
    """A token bucket over what we send: whoever may wait asks `wait_s` first; what may not is sent and owed.

    Debt instead of sizes: a wait does not depend on what will be sent, so output that has to wait can still grow, and
    a large report is not asked for more than the bucket holds.
    """

    def __init__(self, bytes_per_s: int = 0) -> None:
        self._rate = bytes_per_s
        self._left = float(bytes_per_s)
        self._at: float | None = None
        self._sent = 0

    @property
    def sent_bytes(self) -> int:
        """Since the start."""
        return self._sent

    def wait_s(self, now: float) -> float:
        """Until something may be sent; 0: now."""
        if not self._rate:
            return 0.0
        self._fill(now)
        wait_s = -self._left / self._rate
        # A wait that is lost in the rounding of a clock would never end.
        return wait_s if wait_s > WAIT_MIN_S else 0.0

    def spend(self, size_bytes: int, now: float) -> None:
        self._sent += size_bytes
        if self._rate:
            self._fill(now)
            self._left -= size_bytes

    def _fill(self, now: float) -> None:
        """At most a second's worth is saved up."""
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._left = min(float(self._rate), self._left + passed * self._rate)


def memory_refusal(caps: Caps, claimed_bytes: int, needed_bytes: int) -> str | None:
    """Why a Cargo that needs so much may not start beside those that already claimed theirs."""
    left = max(0, caps.memory_bytes - claimed_bytes)
    if not caps.memory_bytes or needed_bytes <= left:
        return None
    return (
        f"needs {needed_bytes >> 20} MB of memory; {left >> 20} MB are left of the "
        f"{caps.memory_bytes >> 20} MB that the owner lends"
    )


def host_refusal(host_bytes: int, claimed_bytes: int, needed_bytes: int) -> str | None:
    """Why a Cargo may not start on a machine that has only so much memory, whatever its owner lends."""
    left = max(0, host_bytes - claimed_bytes)
    if needed_bytes <= left:
        return None
    return (
        f"needs {needed_bytes >> 20} MB of memory; {left >> 20} MB are left of the "
        f"{host_bytes >> 20} MB of this machine"
    )


def disk_refusal(caps: Caps, taken_bytes: int, needed_bytes: int) -> str | None:
    """Why so much more may not be put on the disk."""
    if not caps.disk_bytes or taken_bytes + needed_bytes <= caps.disk_bytes:
        return None
    more = f"{needed_bytes >> 20} MB more would not fit: " if needed_bytes else ""
    return (
        f"{more}{taken_bytes >> 20} MB are used of the {caps.disk_bytes >> 20} MB of disk that the owner lends; "
        "raise ARCHIPELAG_ISLAND_DISK_MB_MAX or remove models that are not used"
    )
