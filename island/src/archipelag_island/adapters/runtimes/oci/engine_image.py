"""The tiny image that an engine gets: mount points, links and /etc; all else of the root is mounted over it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Final

from archipelag_island.adapters.runtimes.oci.api import EngineApi
from archipelag_island.errors import StartFailed

# A name that no registry has, so that no engine would ever look for it outside.
REPOSITORY: Final = "localhost/archipelag-"
# Made by the engine itself.
OWN: Final = frozenset({"proc", "dev", "sys", "tmp", "run"})
# Engines put their own hosts and resolv.conf into it, so it cannot be a read-only mount.
COPIED: Final = "etc"
COPIED_BYTES_MAX: Final = 32 << 20
# With their modes: runc gives a tmpfs the mode of what it lies on.
POINTS: Final = {
    "proc": 0o755,
    "dev": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "run/archipelag/sock": 0o1777,
    "run/archipelag/in": 0o755,
}


def mounted(root: Path) -> list[str]:
    """Names at the top of the root that are mounted rather than copied."""
    return sorted(
        entry.name
        for entry in root.iterdir()
        if entry.name not in OWN and entry.name != COPIED and not entry.is_symlink()
    )


async def image_of(api: EngineApi, root: Path) -> str:
    """The image's name in the engine, by its content; made once. Raises StartFailed, OSError."""
    tar = await asyncio.to_thread(skeleton, root)
    name = f"{REPOSITORY}{hashlib.sha256(tar).hexdigest()[:32]}"
    if not await api.has_image(name):
        await api.import_root(name, tar)
    return name


def skeleton(root: Path) -> bytes:
    """A tar of what is not mounted. Raises StartFailed, OSError."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, mode in POINTS.items():
            _folder(tar, name, mode)
        for entry in sorted(root.iterdir()):
            if entry.name in OWN or entry.name == COPIED:
                continue
            if entry.is_symlink():
                tar.add(entry, entry.name, recursive=False, filter=_plain)
            elif entry.is_dir():
                _folder(tar, entry.name)
            else:
                _add(tar, tarfile.TarInfo(entry.name), b"")
        if (root / COPIED).is_dir() and not (root / COPIED).is_symlink():
            _bounded(root / COPIED)
            tar.add(root / COPIED, COPIED, filter=_plain)
    return out.getvalue()


def _bounded(folder: Path) -> None:
    size = sum(p.lstat().st_size for p in folder.rglob("*") if not p.is_dir())
    if size > COPIED_BYTES_MAX:
        raise StartFailed(f"the image's /{COPIED} has more than {COPIED_BYTES_MAX >> 20} MB")


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Root's, without rights at execution; no devices."""
    if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = (entry.mode & 0o755) | 0o444
    return entry


def _folder(tar: tarfile.TarFile, name: str, mode: int = 0o755) -> None:
    made = tarfile.TarInfo(name)
    made.type = tarfile.DIRTYPE
    made.mode = mode
    tar.addfile(made)


def _add(tar: tarfile.TarFile, entry: tarfile.TarInfo, data: bytes) -> None:
    entry.size = len(data)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(data))
