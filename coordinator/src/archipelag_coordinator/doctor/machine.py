"""What this machine lets a Coordinator have: room in its folders, open files."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path
from typing import Final

from archipelag_contracts.findings import Finding, fail, ok, warn

from archipelag_coordinator.config import Settings
from archipelag_coordinator.open_files import ENOUGH

ROOM_WARN_BYTES: Final = 2 << 30
ROOM_FAIL_BYTES: Final = 100 << 20
STREAMS_FEW: Final = 4_096
"""Each stream takes a connection; with fewer, readers are refused before processors are busy."""


def examine(settings: Settings) -> list[Finding]:
    folders = [settings.state_dir, settings.releases_dir]
    found = [_room(folder) for folder in folders if folder is not None and folder.is_dir()]
    return [*found, _open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])]


def _room(folder: Path) -> Finding:
    what = f"disk {folder}"
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return fail(what, f"cannot be looked at: {error.strerror}", "see whether it is mounted")
    said = f"{free / 1e9:.1f} GB free"
    advice = "make room: where none is left, no key, no mail and no release can be written"
    if free < ROOM_FAIL_BYTES:
        return fail(what, said, advice)
    return warn(what, said, advice) if free < ROOM_WARN_BYTES else ok(what, said)


def _open_files(most: int) -> Finding:
    """`most`: the hard limit, to which `serve` raises its own."""
    if most == resource.RLIM_INFINITY or most >= ENOUGH:
        return ok("open files", f"{ENOUGH} and more may be open")
    said = f"{most} may be open, and each stream takes one"
    if most >= STREAMS_FEW:
        return ok("open files", said)
    advice = (
        f"raise the hard limit: `LimitNOFILE={ENOUGH}` of systemd, `ulimit -Hn`, `--ulimit nofile` of a container; "
        "this is the limit of who asks, and not of a Coordinator that runs as somebody else"
    )
    return warn("open files", said, advice)
