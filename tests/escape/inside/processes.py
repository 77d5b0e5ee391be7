"""Attempts on other processes, and on limits of its own."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import termios
from pathlib import Path

from probe import Refused, World, call, probe


@probe("see the host's processes", "anybody")
def see_processes(world: World) -> str:
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if world.has_token(Path(f"/proc/{entry}/cmdline").read_bytes()):
                return f"sees process {entry} of the host"
        except OSError:
            continue
    raise Refused("sees its own only")


@probe("read the environment of the Island or of others", "anybody")
def environment(world: World) -> str:
    for entry in ("self", *filter(str.isdigit, os.listdir("/proc"))):
        try:
            if world.has_token(Path(f"/proc/{entry}/environ").read_bytes()):
                return f"read it in process {entry}"
        except OSError:
            continue
    raise Refused("nothing of the Island's is there")


@probe("send a signal to a process of the host", "anybody")
def signal_host(world: World) -> str:
    os.kill(world.pid, 0)
    return "could have"


@probe("send a signal by its file descriptor (pidfd)", "maybe")
def signal_by_pidfd(world: World) -> str:
    call(424, call(434, world.pid, 0), 0, 0, 0)
    return "could have"


@probe("take over a process of the host (ptrace)", "maybe")
def trace(world: World) -> str:
    call(101, 0x4206, world.pid, 0, 0)  # PTRACE_SEIZE: it goes on undisturbed
    return "took it"


@probe("trace a process of its own", "maybe")
def trace_own(world: World) -> str:
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        call(101, 0x4206, child, 0, 0)
        return "took its child"
    finally:
        os.kill(child, signal.SIGKILL)


def _place(pid: int) -> int:
    """Where something can be read in a process."""
    return int(Path(f"/proc/{pid}/maps").read_text().split("-")[0], 16)


@probe("read the memory of a process of the host (process_vm_readv)", "root")
def read_memory(world: World) -> str:
    place, buffer = _place(world.pid), ctypes.create_string_buffer(4)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 4)
    remote = (ctypes.c_size_t * 2)(place, 4)
    call(310, world.pid, local, 1, remote, 1, 0)
    return f"read {buffer.raw!r}"


@probe("write to its memory by /proc", "root")
def write_memory(world: World) -> str:
    os.close(os.open(f"/proc/{world.pid}/mem", os.O_WRONLY))
    return "opened it"


@probe("take an open file of a process of the host (pidfd_getfd)", "root")
def take_file(world: World) -> str:
    call(438, call(434, world.pid, 0), 1, 0)
    return "took its standard output"


@probe("open another's file by /proc", "root")
def open_others_file(world: World) -> str:
    os.close(os.open(f"/proc/{world.pid}/fd/1", os.O_WRONLY))
    return "opened it"


@probe("use a file that the Island left open")
def left_open(world: World) -> str:
    for process in ("self", str(os.getppid())):
        for handle in os.listdir(f"/proc/{process}/fd"):
            try:
                target = os.readlink(f"/proc/{process}/fd/{handle}")
            except OSError:
                continue
            if any(word in target for word in ("island", "journal", "nats", ".key", "docker.sock")):
                return f"has {target} open"
    raise Refused("nothing of the Island's is open")


@probe("push keystrokes into the Island's terminal (TIOCSTI)", "maybe")
def keystrokes(world: World) -> str:
    for path in ("/dev/tty", "/dev/console", "/dev/pts/0"):
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError as error:
            last = error
            continue
        fcntl.ioctl(handle, termios.TIOCSTI, b"")
        return f"pushed into {path}"
    raise last


@probe("take more processor than others (nice)", "maybe")
def nicer(world: World) -> str:
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    return "has it"


@probe("run in real time", "maybe")
def real_time(world: World) -> str:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return "does"


@probe("raise its limits (setrlimit)", "maybe")
def limits(world: World) -> str:
    for name in ("RLIMIT_CORE", "RLIMIT_NPROC", "RLIMIT_MEMLOCK", "RLIMIT_RTPRIO"):
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        if hard == resource.RLIM_INFINITY:
            continue
        try:
            resource.setrlimit(number, (hard + 1, hard + 1))
            return f"raised {name}"
        except (OSError, ValueError):
            continue
    raise Refused("EPERM")


@probe("write a core dump of itself to the host's disk", "maybe")
def core_dump(world: World) -> str:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        raise Refused("its limit is 0")
    return "may"
