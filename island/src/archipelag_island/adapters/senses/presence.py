"""Whether a person is here: terminals that were read, and interrupts and transfers of keyboards and mice.

Counters and times only, readable by anybody; what was typed is never seen. Not seen are Bluetooth keyboards and
touchpads on buses that do not name themselves.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from archipelag_island.clock import Clock

if TYPE_CHECKING:
    from archipelag_island.adapters.senses import Roots

TERMINAL: Final = re.compile(r"tty[0-9]+")
# The controller of built-in keyboards and mice, and touchpads by the names that their makers give them.
INPUT_LINE: Final = re.compile(
    r"\bi8042|\bi2c[-_]hid|\bELAN|\bSYNA|\bWACF|touchpad|trackpad|keyboard|mouse", re.I
)
# A line has a count for each processor, thousands of bytes on a large machine; the name is at its end.
NAME_CHARS: Final = 60
HID: Final = "03"
KEYBOARD_AND_MOUSE: Final = ("01", "02")
# USB devices come and go; looking for them costs more than reading their counters.
LOOK_AGAIN_READS: Final = 20


class Presence:
    """Sees changes, not times: a clock that jumps is nobody's keystroke."""

    def __init__(self, roots: Roots, clock: Clock) -> None:
        self._roots = roots
        self._clock = clock
        self._reads = 0
        self._usb: list[Path] = []
        self._seen: dict[str, int] | None = None
        self._last = 0.0

    def read(self) -> float | None:
        """Seconds since the last input; None where nothing can be watched."""
        now = self._clock.monotonic()
        found = self._terminals() | self._interrupts() | self._transfers()
        if self._seen is None:
            self._last = now - self._oldest_guess(found)
        elif any(self._seen.get(name) != value for name, value in found.items()):
            self._last = now
        self._seen = found
        return max(0.0, now - self._last) if found else None

    def _oldest_guess(self, found: dict[str, int]) -> float:
        """At the first look only the terminals' times say how long it has been quiet."""
        read_ns = [value for name, value in found.items() if name.startswith("terminal ")]
        if not read_ns:
            return 0.0
        return max(0.0, self._clock.now().timestamp() - max(read_ns) / 1e9)

    def _terminals(self) -> dict[str, int]:
        """When each was last read; the kernel tells in steps of eight seconds. A new terminal is somebody's too."""
        found = {}
        for folder, name in ((self._roots.dev / "pts", re.compile("[0-9]+")), (self._roots.dev, TERMINAL)):  # fmt: skip
            try:
                paths = [path for path in folder.iterdir() if name.fullmatch(path.name)]
            except OSError:
                continue
            for path in paths:
                try:
                    found[f"terminal {path}"] = path.stat().st_atime_ns
                except OSError:
                    continue
        return found

    def _interrupts(self) -> dict[str, int]:
        try:
            lines = (self._roots.proc / "interrupts").read_text().splitlines()
        except OSError:
            return {}
        found = {}
        for line in lines:
            if INPUT_LINE.search(line[-NAME_CHARS:]):
                number, _, rest = line.partition(":")
                counts = [int(count) for count in rest.split() if count.isdigit()]
                found[f"interrupt {number.strip()}"] = sum(counts)
        return found

    def _transfers(self) -> dict[str, int]:
        """Of USB keyboards and mice: they answer only when there is something to say."""
        if self._reads % LOOK_AGAIN_READS == 0:
            self._usb = self._find_usb()
        self._reads += 1
        found = {}
        for device in self._usb:
            try:
                found[f"usb {device.name}"] = int((device / "urbnum").read_text())
            except (OSError, ValueError):
                continue
        return found

    def _find_usb(self) -> list[Path]:
        folder = self._roots.sys / "bus/usb/devices"
        devices = set()
        try:
            for interface in folder.glob("*:*"):
                kind = (interface / "bInterfaceClass").read_text().strip()
                protocol = (interface / "bInterfaceProtocol").read_text().strip()
                if kind == HID and protocol in KEYBOARD_AND_MOUSE:
                    devices.add(folder / interface.name.partition(":")[0])
        except OSError:
            return []
        return sorted(devices)
