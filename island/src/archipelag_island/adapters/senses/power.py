"""Whether this machine runs on battery, as the kernel tells."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MAINS: Final = ("Mains", "USB", "USB_C", "USB_PD")


def on_battery(sys: Path) -> bool | None:
    """None where the kernel does not tell. A machine without a battery is not on it."""
    try:
        supplies = sorted((sys / "class/power_supply").iterdir())
    except OSError:
        return None
    discharging = False
    for supply in supplies:
        kind = _word(supply, "type")
        if kind in MAINS and _word(supply, "online") == "1":
            return False
        # The battery of a mouse says nothing of the machine.
        if kind == "Battery" and _word(supply, "scope") != "Device":
            discharging = discharging or _word(supply, "status") == "Discharging"
    return discharging


def _word(supply: Path, name: str) -> str:
    try:
        return (supply / name).read_text().strip()
    except OSError:
        return ""
