"""What the Island tells an anteroom to make."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

# Where the room is made: any folder that every host has, and that nothing used in here lies in.
PLACES: Final = ("/mnt", "/media", "/srv", "/opt")


@dataclass(frozen=True)
class Plan:
    parent: int
    """The Island's process id: when it is gone, so are we."""
    place: str
    """Folder that becomes the room: one of PLACES."""
    runtime: list[str]
    """The OCI runtime and its global options."""
    id: str
    root: str
    """The image's unpacked root, on the host."""
    config: dict[str, Any]
    shown: dict[str, str] = field(default_factory=dict)
    """Name in the room → file or folder of the host to show there, read-only."""
    links: dict[str, str] = field(default_factory=dict)
    """Path in the container → what it points to, over what the image has there."""
    files: dict[str, str] = field(default_factory=dict)
    """Name in the room → text."""
    folders: dict[str, int] = field(default_factory=dict)
    """Name in the room → host's user id: small writable folders in memory, owned by that user."""
    folder_bytes: int = 1 << 20
    loopback: bool = False


def choose_place() -> str:
    """Raises OSError where the host has none."""
    for place in PLACES:
        if Path(place).is_dir() and not Path(place).is_symlink():
            return place
    raise OSError(2, f"none of {', '.join(PLACES)} is there")
