"""What a probe is: an attempt to get out, harmless when it succeeds. Standard library and ctypes only.

A probe returns what it got: it escaped. It raises Refused or OSError when it was kept in. Each runs in a process of its
own, so that it may kill itself, and whatever it changes (of its own) ends with it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PROBE_S = 20
SAID_MAX = 200
# What the kernel says when it will not, or has not, what was asked for.
REFUSALS = {
    errno.EPERM,
    errno.EACCES,
    errno.ENOSYS,
    errno.EAFNOSUPPORT,
    errno.EPROTONOSUPPORT,
    errno.ESOCKTNOSUPPORT,
    errno.EOPNOTSUPP,
    errno.ESRCH,
    errno.EROFS,
}


class Refused(Exception):
    """Kept in, without an error number to tell how."""


@dataclass(frozen=True)
class World:
    """What the attempts aim at: things of this test's on the host, so that a success proves itself and harms nobody."""

    token: str
    """Is in the secret file, in the host process's arguments and environment, and nowhere else."""
    secret: str
    """A file that any user of the host may read."""
    pid: int
    """A process on the host, of the user that runs the Island."""
    port: int
    """Listens on every address of the host, loopback too, and sends the token to whoever connects."""
    address: str
    abstract: str
    """A Unix socket without a file that does the same."""
    socket: str
    """One with a file, open to all."""
    call_back: int
    """A port that the host tries to connect to while the probe `listen` runs."""

    def has_token(self, data: bytes) -> bool:
        return self.token.encode() in data


Attempt = Callable[[World], str]


@dataclass(frozen=True)
class Probe:
    name: str
    what: str
    works: str
    """Where it must succeed outside a sandbox: for `anybody`, for `root`, or `maybe`, as that kernel and host allow."""
    attempt: Attempt
    may_kill: bool = False
    """It may take the Cargo with it: it gets one of its own."""


PROBES: dict[str, Probe] = {}


def probe(
    what: str, works: str = "maybe", *, may_kill: bool = False
) -> Callable[[Attempt], Attempt]:
    def add(attempt: Attempt) -> Attempt:
        name = attempt.__name__
        assert name not in PROBES and works in ("anybody", "root", "maybe")
        PROBES[name] = Probe(name, what, works, attempt, may_kill)
        return attempt

    return add


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(number: int, *arguments: Any) -> int:
    """A system call by its number (of x86-64), past whatever a library would check first. Raises OSError."""
    if os.uname().machine != "x86_64":
        raise Refused("numbers of system calls are known for x86-64 only")
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *given))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def reached(number: int, *arguments: Any) -> str:
    """For calls that are refused by who asks before what is asked is looked at: any other error is a success."""
    try:
        return f"gave {call(number, *arguments)}"
    except OSError as error:
        if error.errno in REFUSALS:
            raise
        return f"was let in as far as {os.strerror(error.errno or 0)}"


def run_one(probe: Probe, world: World, *, outside: bool) -> dict[str, Any]:
    """In a forked child, within PROBE_S."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.setpgid(0, 0)
        signal.alarm(PROBE_S)
        try:
            if outside:
                _spare_the_host()
            os.write(write, json.dumps(_attempt(probe, world)).encode())
        finally:
            os._exit(0)
    os.close(write)
    said = b""
    while part := os.read(read, 65536):
        said += part
    os.close(read)
    _, status = os.waitpid(child, 0)
    try:
        os.killpg(child, signal.SIGKILL)  # what it left running
    except OSError:
        pass
    if said:
        return dict(json.loads(said))
    how = os.waitstatus_to_exitcode(status)
    return {"probe": probe.name, "escaped": False, "said": f"its process ended with {how}"}


def _spare_the_host() -> None:
    """What a successful probe mounts or unmounts is seen by it alone."""
    if os.getuid() != 0:
        return
    private = ctypes.c_ulong(1 << 18 | 1 << 14)
    if _libc.unshare(0x00020000) != 0 or _libc.mount(b"none", b"/", None, private, None) != 0:
        os._exit(1)


def _attempt(probe: Probe, world: World) -> dict[str, Any]:
    escaped = False
    try:
        said, escaped = probe.attempt(world), True
    except Refused as refused:
        said = str(refused)
    except OSError as error:
        said = errno.errorcode.get(error.errno or 0, "") or str(error)
    except MemoryError:
        said = "MemoryError"
    return {"probe": probe.name, "escaped": escaped, "said": said[:SAID_MAX]}


def run_all(names: list[str], world: World, *, outside: bool) -> None:
    for name in names:
        sys.stdout.write(json.dumps(run_one(PROBES[name], world, outside=outside)) + "\n")
        sys.stdout.flush()


def within(seconds: float) -> Callable[[], bool]:
    """Whether that time is not over yet."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end
