"""The shared libraries that a set of files needs from this machine, and where an image must have them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from archipelag_oci import elf
from archipelag_oci.image import File

log = logging.getLogger(__name__)

HOME: Final = "usr/local/lib"
"""For libraries that lie where no loader looks by itself; an image's `LD_LIBRARY_PATH` names it."""

_TRIPLETS: Final = {62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu"}
_GLIBC: Final = "libc.so.6"
_OPENED_LATER: Final = ("libgcc_s.so.1",)
"""glibc opens it when a thread is cancelled; no header says so."""


def libraries(files: Mapping[str, Path], machine: int, known: Iterable[str] = ()) -> list[File]:
    """What these need and do not bring, each once; `files`: name in the image → where it is here.

    `known` are names of libraries that the image has already. One that is nowhere here is told in the log, and no
    error: many are optional, and the loader names it if it is missed.
    """
    here = _Here(machine)
    have = {Path(name).name for name in files} | set(known)
    found: list[File] = []
    queue = list(files.values())

    def take(name: str, path: Path | None, needed_by: str) -> None:
        if name in have:
            return
        have.add(name)
        if path is None:
            log.info("library_missing name=%s needed_by=%s", name, needed_by)
            return
        found.append(here.file(name, path))
        queue.append(path)

    for name in _OPENED_LATER:
        take(name, here.look(name), "threads")
    while queue:
        path = queue.pop()
        needed = elf.needs(path)
        if needed is None or needed.machine != machine:
            continue
        if needed.loader and Path(needed.loader).name not in have:
            have.add(Path(needed.loader).name)
            loader = Path(needed.loader)
            found.append(File(needed.loader.lstrip("/"), loader.resolve(), mode=0o755))
        for name in needed.libraries:
            take(name, here.look(name, needed.search, path), path.name)
    return found


class _Here:
    """Where this machine keeps its libraries."""

    def __init__(self, machine: int) -> None:
        self._machine = machine
        triplet = _TRIPLETS.get(machine, "")
        parts = (triplet, "") if triplet else ("",)
        places = [Path(base) / part for base in ("/lib", "/usr/lib") for part in parts]
        self._trusted = (*places, Path("/lib64"), Path("/usr/lib64"))
        # One folder for all of the loader's own, since /lib and /usr/lib are often the same.
        self._own = next(
            (str(place).lstrip("/") for place in self._trusted if (place / _GLIBC).exists()), HOME
        )
        self._configured = _configured()

    def file(self, name: str, path: Path) -> File:
        folder = self._own if path.parent in self._trusted else HOME
        return File(f"{folder}/{name}", path.resolve(), mode=0o755)

    def look(
        self, name: str, search: tuple[str, ...] = (), origin: Path | None = None
    ) -> Path | None:
        own: list[Path] = []
        if origin is not None:
            here = str(origin.resolve().parent)
            own = [
                Path(each.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", here))
                for each in search
            ]
        for folder in (*own, *self._trusted, *self._configured):
            path = folder / name
            found = elf.needs(path) if path.is_file() else None
            if found is not None and found.machine == self._machine:
                return path
        return None


def _configured() -> list[Path]:
    """What the loader's own settings name beside."""
    found: list[Path] = []
    for path in sorted(Path("/etc/ld.so.conf.d").glob("*.conf")):
        lines = path.read_text(errors="replace").splitlines()
        found += [Path(line.strip()) for line in lines if line.strip().startswith("/")]
    return found
