"""Becomes another program that ends with its parent and has no more rights than it needs.

Run as a script of its own (`python -I -S launch.py PARENT SIGNAL IDENTITY -- PROGRAM …`), so that
nothing happens between fork and exec in the parent, where other threads may hold locks.
IDENTITY is `same`, `namespace` or `UID:GID`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
UNPRIVILEGED_ID = 1000
"""What an unprivileged program inside the namespace believes it is; outside it stays its parent's user."""
EXIT_CANNOT_BECOME = 121


def enter_namespace() -> None:
    """Gives up root by a user namespace: files keep their owner, every capability is gone after exec."""
    if not sys.platform.startswith("linux"):
        raise OSError("this system knows no user namespaces")
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "no user namespace can be made")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{UNPRIVILEGED_ID} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{UNPRIVILEGED_ID} {gid} 1")


def become(identity: str) -> None:
    if identity == "same":
        return
    if identity == "namespace":
        enter_namespace()
        return
    uid, gid = (int(part) for part in identity.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def end_with(parent: int, signal_number: int) -> None:
    """Asks the kernel to signal us when the parent dies; must come after every change of identity."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the parent's death cannot be watched")
    if os.getppid() != parent:
        sys.exit(0)  # The parent died before we asked: nobody would ever signal us.


def main(arguments: list[str]) -> None:
    parent, signal_number, identity, separator, *program = arguments
    assert separator == "--" and program
    try:
        become(identity)
        end_with(int(parent), int(signal_number))
    except OSError as error:
        sys.stderr.write(f"cannot start {program[0]} as {identity}: {error}\n")
        sys.exit(EXIT_CANNOT_BECOME)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)  # Python ignores these, and exec would pass that on.
    try:
        os.execv(program[0], program)  # noqa: S606 - the whole point, by absolute path
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]}: {error}\n")
        sys.exit(EXIT_CANNOT_BECOME)


if __name__ == "__main__":
    main(sys.argv[1:])
