"""Gives up every right that a Cargo does not need, then becomes it. Run as a script, before anything else is loaded.

The one argument is JSON: see `Confinement`. Order matters: namespaces and the bounding set need rights that are given
up last, and the wish to die with the Island is forgotten by the kernel when the user changes.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import stat
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAP_LAST = 63
CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
MS_REC_PRIVATE = 16384 | (1 << 18)
INSTRUCTION_BYTES = 8
FILTER_BYTES_MAX = 4096 * INSTRUCTION_BYTES
# Exit status that says: the confinement failed, the Cargo never began.
NOT_CONFINED = 125


@dataclass(frozen=True)
class Confinement:
    command: list[str]
    environment: dict[str, str]
    folder: str
    parent: int
    """The Island's process id: when it is gone, so are we."""
    uid: int = -1
    """-1: stay who we are."""
    gid: int = -1
    own_network: bool = False
    own_user_namespace: bool = False
    """How to get a network of our own without being root."""
    drop_capabilities: bool = False
    show: list[str] = field(default_factory=list)
    """Files and folders to show read-only where a folder above is closed to others; the rest of that one is hidden."""
    small: dict[str, str] = field(default_factory=dict)
    """Folder → mount options of the memory file system that is put over it, seen by us and our children only."""
    doors: list[str] = field(default_factory=list)
    """Files of control groups to be in."""
    cpus: list[int] = field(default_factory=list)
    """Processors to run on; empty: any. A Cargo that means harm can choose others again: only a cpuset binds it."""
    limits: dict[str, int] = field(default_factory=dict)
    """Name of a resource limit → soft and hard value."""
    seccomp_fd: int = -1
    """An open file with a filter of system calls for us and all that we become; -1: none, or a sandbox sets it."""

    def encode(self) -> str:
        return json.dumps(asdict(self))


def confine(c: Confinement) -> None:
    """Raises OSError when a right could not be given up: then nothing may be started."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int, what: str) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")

    if c.cpus:
        os.sched_setaffinity(0, c.cpus)
    for door in c.doors:
        _write(door, "0")
    if (c.show or c.small) and not c.own_user_namespace:
        check(libc.unshare(CLONE_NEWNS), "own mount namespace")
        _mount(libc, "none", "/", None, MS_REC_PRIVATE)
        _show(libc, c.show)
        _cover(libc, c.small)
    if c.own_user_namespace:
        uid, gid = os.getuid(), os.getgid()
        # A sandbox makes its own network; it only needs us to mount first.
        others = CLONE_NEWNS if c.small else CLONE_NEWNET | CLONE_NEWIPC
        check(libc.unshare(CLONE_NEWUSER | others), "own user namespace")
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
        if c.small:
            _mount(libc, "none", "/", None, MS_REC_PRIVATE)
            _cover(libc, c.small)
    elif c.own_network:
        check(libc.unshare(CLONE_NEWNET | CLONE_NEWIPC), "own network namespace")
    os.umask(0o077)
    os.chdir(c.folder)
    for name, value in c.limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bounded, bounded))
    if c.drop_capabilities:
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        for capability in range(CAP_LAST + 1):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                number = ctypes.get_errno()
                if number != 22:  # EINVAL: the kernel knows no capability of this number
                    raise OSError(number, f"drop capability {capability}: {os.strerror(number)}")
    if c.uid >= 0:
        os.setgroups([])
        os.setresgid(c.gid, c.gid, c.gid)
        os.setresuid(c.uid, c.uid, c.uid)
    if c.drop_capabilities:
        _clear_capabilities(libc)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    check(libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "die with the Island")
    if os.getppid() != c.parent:
        raise OSError(3, "the Island is gone already")
    if c.seccomp_fd >= 0:
        _filter_calls(libc, os.read(c.seccomp_fd, FILTER_BYTES_MAX))
        os.close(c.seccomp_fd)


class _Program(ctypes.Structure):
    """The kernel's `struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter_calls(libc: ctypes.CDLL, program: bytes) -> None:
    """From here on, and for good. It needs no right, since no new ones can be had."""
    given = _Program(len(program) // INSTRUCTION_BYTES, program)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(given), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"filter of system calls: {os.strerror(number)}")


def _show(libc: ctypes.CDLL, paths: list[str]) -> None:
    """Puts an empty folder over each closed one, and into it only what must be seen."""
    shown = [(path, closed) for path in paths if (closed := closed_above(path))]
    # Opened before they are covered.
    handles = {path: os.open(path, os.O_PATH) for path, _ in shown}
    for closed in {closed for _, closed in shown}:
        options = "mode=0755,size=1m"
        _mount(libc, "none", closed, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for path, _ in shown:
        source = f"/proc/self/fd/{handles[path]}"
        if stat.S_ISDIR(os.fstat(handles[path]).st_mode):
            Path(path).mkdir(mode=0o755, parents=True, exist_ok=True)
        else:
            Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            Path(path).touch()
        _mount(libc, source, path, None, MS_BIND)
        _mount(libc, "none", path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
        os.close(handles[path])


def _cover(libc: ctypes.CDLL, folders: dict[str, str]) -> None:
    for folder, options in folders.items():
        _mount(libc, "none", folder, "tmpfs", MS_NOSUID | MS_NODEV, options)


def _mount(
    libc: ctypes.CDLL,
    source: str,
    target: str,
    kind: str | None,
    flags: int,
    options: str | None = None,
) -> None:
    texts = [None if t is None else t.encode() for t in (source, target, kind, options)]
    if libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {target}: {os.strerror(number)}")


def closed_above(path: str) -> str | None:
    """The first folder on the way down to `path` that others may not pass; None when all is open."""
    at = ""
    for part in path.strip("/").split("/")[:-1]:
        at += "/" + part
        if not Path(at).stat().st_mode & 0o001:
            return at
    return None


def _clear_capabilities(libc: ctypes.CDLL) -> None:
    """Permitted, effective and inheritable: none. The bounding set keeps them from coming back at exec."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    data = (ctypes.c_uint32 * 6)()
    if libc.capset(header, data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"clear capabilities: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def main() -> None:
    c = Confinement(**json.loads(sys.argv[1]))
    try:
        confine(c)
        os.execve(c.command[0], c.command, c.environment)  # noqa: S606 - this is the point
    except OSError as error:
        sys.stderr.write(f"could not be confined: {error}\n")
        sys.stderr.flush()
        os._exit(NOT_CONFINED)


if __name__ == "__main__":
    main()
