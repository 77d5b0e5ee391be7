"""What a native Cargo runs as: the ways to confine one, strongest first, and what each leaves open."""

from __future__ import annotations

import os
import pwd
import sys
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from archipelag_island.adapters.runtimes.native.cgroups import CgroupParent
from archipelag_island.adapters.runtimes.native.inside import landlock_version
from archipelag_island.adapters.runtimes.native.launch import closed_above
from archipelag_island.adapters.runtimes.native.sandbox import Interpreter, find_bubblewraps
from archipelag_island.adapters.runtimes.seccomp.filters import UnknownMachine, machine_name
from archipelag_island.runtime import RuntimeInfo

# The range that systemd hands out for services without a user of their own.
UID_FIRST: Final = 61_184
UID_COUNT: Final = 4_096
NAME: Final = "native"


@dataclass(frozen=True)
class Rights:
    """What a Cargo runs as on this host; found out by trying."""

    uid: int = -1
    gid: int = -1
    own_network: bool = False
    own_user_namespace: bool = False
    drop_capabilities: bool = False
    show: tuple[str, ...] = ()
    """Folders of the interpreter that this user could not reach, shown in a mount namespace."""
    filtered: bool = False
    """The process sets our filter of system calls itself before it becomes the Cargo; a sandbox has one anyway."""
    bubblewrap: str = ""
    """The program that builds a sandbox; empty: none does, and only what stands above holds."""


def candidates(interpreter: Interpreter) -> list[Rights]:
    """The fewest rights first."""
    root = os.getuid() == 0
    uid = own_uid(b"probe")
    found = []
    for program in find_bubblewraps() if sys.platform == "linux" else []:
        if root:
            closed = tuple(p for p in (*interpreter.paths, program) if closed_above(p))
            found.append(Rights(uid, uid, drop_capabilities=True, show=closed, bubblewrap=program))
        else:
            found.append(Rights(own_user_namespace=True, bubblewrap=program))
    bare = _bare(interpreter, uid) if root else [Rights(own_user_namespace=True)]
    # The filter, be it alone, comes before giving it up: it is what stands behind a WASM module.
    filtered = [replace(one, filtered=True) for one in (*bare, Rights())] if _can_filter() else []
    return [*found, *filtered, *bare]


def _can_filter() -> bool:
    try:
        return sys.platform == "linux" and bool(machine_name())
    except UnknownMachine:
        return False


def _bare(interpreter: Interpreter, uid: int) -> list[Rights]:
    """As root, without a sandbox."""
    own = Rights(own_network=True, drop_capabilities=True)
    mine = replace(own, uid=uid, gid=uid)
    hidden = tuple(p for p in interpreter.closed if Path(p).is_dir())
    return [
        mine,
        *([replace(mine, show=hidden)] if hidden else []),
        Rights(uid, uid, drop_capabilities=True),
        own,
        Rights(drop_capabilities=True),
    ]


def own_uid(seed: bytes) -> int:
    """A user that nobody else is: `nobody` may own other things, and two Cargos shall not reach each other."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    start = zlib.crc32(seed) % UID_COUNT
    return next(
        UID_FIRST + (start + step) % UID_COUNT
        for step in range(UID_COUNT)
        if UID_FIRST + (start + step) % UID_COUNT not in taken
    )


def told(rights: Rights, groups: CgroupParent | None, executor: str) -> RuntimeInfo:
    """Honestly, for owners and for whoever decides what may run here."""
    isolation = ["own-process", "process-group", "no-new-privileges", "rlimits", "private-folder"]
    isolation += ["bare-environment", "dies-with-island", "memory-watch"]
    missing = []
    if rights.bubblewrap:
        isolation += ["user-namespace", "private-root", "read-only-root", "bounded-tmp"]
        isolation += ["pid-namespace", "mount-namespace", "system-call-filter"]
        missing.append("shares the kernel with the host, behind a filter of system calls")
        if landlock_version():
            isolation.append("landlock")
        else:
            missing.append("Landlock, which this kernel has not: nothing backs up the private root")
    elif rights.filtered:
        isolation.append("system-call-filter")
        missing.append("shares the kernel with the host, behind a filter of system calls")
    else:
        missing.append("shares the kernel with the host, without a system call filter")
    if rights.uid >= 0:
        isolation.append("user-of-its-own")
    if not rights.bubblewrap:
        missing.append(_reach(rights))
        if rights.show:
            isolation.append("mount-namespace")
    if rights.drop_capabilities or rights.uid >= 0 or os.getuid() != 0:
        isolation.append("no-capabilities")
    if rights.own_network or rights.own_user_namespace or rights.bubblewrap:
        isolation.append("no-network")
    else:
        missing.append("can reach the network")
    limited = groups.controllers if groups else ()
    isolation += [f"{name}-limit" for name in limited]
    if "memory" not in limited:
        missing.append(
            "its memory is watched and not limited: this Island may make no memory groups"
        )
    if "cpu" not in limited:
        missing.append("can take every processor that it is not kept from by the owner's caps")
    trust = 0 if rights.bubblewrap else 3
    return RuntimeInfo(NAME, tuple(isolation), tuple(missing), executor, trust)


def _reach(rights: Rights) -> str:
    if rights.uid >= 0:
        return "can read every file on this host that any user may read"
    return "can read and change the files of the user that runs the Island"
