"""Where this process may make control groups: found by trying, in either version's layout.

They are made below the Island's own groups, so that a limit of the Island's is one of its Cargos too; in version 2,
where the Island shares its group with others, in the nearest group above.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from archipelag_island.adapters.runtimes.native.cgroups import (
    COUNTING,
    PREFIX,
    WANTED,
    CgroupParent,
)
from archipelag_island.adapters.runtimes.native.meter import tree

OWN: Final = "archipelag.island"
"""Below the group that it was started in: there the Island itself lives where its Cargos have groups beside it."""


def find_parent(root: Path = Path("/")) -> CgroupParent | None:
    """Where this process may make groups; tried by making one. `root` is another than / in tests only."""
    try:
        own = dict(_own_groups((root / "proc/self/cgroup").read_text()))
        mounts = list(_mounts((root / "proc/self/mountinfo").read_text()))
    except OSError:
        return None
    folders: dict[str, Path] = {}
    for point, inside, names in mounts:
        for name in names & {*WANTED, *COUNTING} & set(own):
            at = own[name].removeprefix("" if inside == "/" else inside).lstrip("/")
            folder = root / point.lstrip("/") / at
            if _can_make_groups(folder):
                folders[name] = folder
    if any(name in folders for name in WANTED):
        return CgroupParent(folders, unified=False)
    for point, inside, names in mounts:
        if "cgroup2" in names and "" in own:
            at = own[""].removeprefix("" if inside == "/" else inside).lstrip("/")
            if found := _unified(root / point.lstrip("/"), at):
                return found
    return None


def _unified(point: Path, at: str) -> CgroupParent | None:
    """Below the group at this path, else beside it: in the nearest one above that we may use and that limits memory."""
    folder = point / at
    if folder.name == OWN:
        folder = folder.parent
    names = _turned_on(folder)
    while folder != point and not (names and _can_make_groups(folder)):
        folder = folder.parent
        names = _on(folder) if "memory" in _on(folder) else []
    if not names or not _can_make_groups(folder):
        return None
    return CgroupParent(dict.fromkeys(names, folder), unified=True)


def _turned_on(folder: Path) -> list[str]:
    """Turns on what we want for groups below this one, and says what is on.

    Nothing while processes live in the group itself: version 2 then refuses memory, and with the rest on it takes
    no process into a group below (https://docs.kernel.org/admin-guide/cgroup-v2.html, "Threads").
    """
    with suppress(OSError):
        there = (folder / "cgroup.controllers").read_text().split()
        if living := _living(folder):
            _step_down(folder, living)
        for name in WANTED:
            if name in there and name not in _on(folder):
                with suppress(OSError):
                    (folder / "cgroup.subtree_control").write_text(f"+{name}")
        return _on(folder)
    return []


def _living(folder: Path) -> set[int]:
    """Processes in this very group; 0 is one that is not seen from here. The root of all may have some."""
    if not (folder / "cgroup.type").exists():
        return set()
    return {int(pid) for pid in (folder / "cgroup.procs").read_text().split()}


def _on(folder: Path) -> list[str]:
    with suppress(OSError):
        on = (folder / "cgroup.subtree_control").read_text().replace("+", "").split()
        return [name for name in WANTED if name in on]
    return []


def _step_down(folder: Path, living: set[int]) -> None:
    """Into a group of our own below, with our children. Raises OSError; others who live there are left in peace."""
    if not living <= {os.getpid(), *tree(os.getpid())}:
        raise OSError(errno.EBUSY, "others live in this group", str(folder))
    (folder / OWN).mkdir(exist_ok=True)
    for pid in living:
        with suppress(ProcessLookupError):
            (folder / OWN / "cgroup.procs").write_text(str(pid))


def _can_make_groups(folder: Path) -> bool:
    tried = folder / f"{PREFIX}{os.getpid()}-probe"
    try:
        tried.mkdir()
        tried.rmdir()
    except OSError:
        return False
    return True


def _own_groups(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            yield name, path


def _mounts(text: str) -> Iterator[tuple[str, str, set[str]]]:
    """Mount point, which part of the tree it shows, and its controllers (`cgroup2` for the unified tree)."""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        inside, point = left.split()[3:5]
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup":
            yield point, inside, set(options.split(","))
        elif kind == "cgroup2":
            yield point, inside, {"cgroup2"}
