"""The anteroom of a container: run as a script, it makes private namespaces, starts an OCI runtime there and waits.

Two processes. The outer one is the Island's child and dies with it. The inner one is the first of a process namespace,
so whatever the container starts, its own escapes included, ends when the inner one ends, and every mount goes with it:
nothing of a Cargo can outlive the Island, and there is nothing to clean up by name.

Reads one JSON object from standard input (see `plan`), writes JSON lines to standard output. Knows nothing of our
packages, since it must start fast.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys

# Neither typing nor pathlib, dataclasses or subprocess: they would take longer than the container.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

    from archipelag_island.adapters.runtimes.oci.plan import Plan

PR_SET_PDEATHSIG = 1
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
MNT_DETACH = 2
CLOSED = MS_NOSUID | MS_NODEV | MS_NOEXEC
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
# Exit status that says: the container never began.
NOT_STARTED = 125
# What an image need not have and a container must.
MOUNT_POINTS = ("proc", "dev", "sys/devices/system/cpu", "tmp")


def say(**words: object) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


class Kernel:
    """System calls that Python has no name for."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def die_with_parent(self) -> None:
        self._check(self._libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl")

    def unshare(self, flags: int) -> None:
        self._check(self._libc.unshare(flags), "own namespaces")

    def mount(self, source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
        texts = [None if t is None else t.encode() for t in (source, target, kind, data)]
        result = self._libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
        self._check(result, f"mount {target}")

    def bind(self, source: str, target: str, flags: int) -> None:
        self.mount(source, target, None, MS_BIND)
        self.mount("none", target, None, MS_REMOUNT | MS_BIND | flags)

    def leave(self, target: str) -> None:
        """Takes a mount away, if it is one."""
        self._libc.umount2(target.encode(), MNT_DETACH)

    def _check(self, result: int, what: str) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")


def build(kernel: Kernel, plan: Plan, opened: dict[str, int], root: int) -> None:
    """The room: everything that the container's configuration names, and nothing of it by the host's names."""
    kernel.mount("none", "/", None, MS_REC | MS_PRIVATE)
    kernel.mount("proc", "/proc", "proc", CLOSED)
    # Where both cgroup versions are mounted, crun takes the second one for the only one.
    kernel.leave("/sys/fs/cgroup/unified")
    room = plan.place
    kernel.mount("tmpfs", room, "tmpfs", CLOSED & ~MS_NOEXEC, "mode=0755,size=4m")
    for name in ("low", "skeleton", "root", "state", "bundle"):
        os.mkdir(f"{room}/{name}", 0o755)
    for name, handle in opened.items():
        source = f"/proc/self/fd/{handle}"
        _like(source, f"{room}/{name}")
        # Whether anything in it may be run is for the container's own mount to say.
        kernel.bind(source, f"{room}/{name}", MS_RDONLY | MS_NOSUID | MS_NODEV)
    for name, owner in plan.folders.items():
        os.mkdir(f"{room}/{name}")
        options = f"mode=0700,uid={owner},gid={owner},size={plan.folder_bytes},nr_inodes=64"
        kernel.mount("tmpfs", f"{room}/{name}", "tmpfs", CLOSED, options)
    kernel.bind(f"/proc/self/fd/{root}", f"{room}/low", MS_RDONLY | MS_NOSUID | MS_NODEV)
    _skeleton(plan, f"{room}/skeleton")
    # Two read-only layers: the image as it is, and above it the mount points it lacks. It is never written to.
    layers = f"lowerdir={room}/skeleton:{room}/low"
    kernel.mount("overlay", f"{room}/root", "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, layers)
    with open(f"{room}/bundle/config.json", "w") as file:
        json.dump(plan.config, file)


def _skeleton(plan: Plan, top: str) -> None:
    for name in MOUNT_POINTS:
        os.makedirs(f"{top}/{name}", 0o755, exist_ok=True)
    # runc gives a tmpfs the mode of what it lies on.
    os.chmod(f"{top}/tmp", 0o1777)  # noqa: S103, S108 - the Cargo's, not ours
    for mount in plan.config["mounts"]:
        if mount["type"] == "bind" and mount["source"].startswith(plan.place):
            _like(mount["source"], top + mount["destination"])
    for path, aim in plan.links.items():
        os.makedirs(os.path.dirname(top + path), 0o755, exist_ok=True)
        os.symlink(aim, top + path)


def _like(source: str, target: str) -> None:
    """Something of the same kind to mount `source` on."""
    os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    if os.path.isdir(source):
        os.makedirs(target, 0o755, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))


def raise_loopback() -> None:
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        name, flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", name, flags | IFF_UP))


def inner(kernel: Kernel, plan: Plan, opened: dict[str, int], root: int) -> int:
    """Runs as the first process of its namespace. Returns how the container ended, negative for a signal."""
    if plan.loopback:
        raise_loopback()
    build(kernel, plan, opened, root)
    for handle in (*opened.values(), root):
        os.close(handle)
    bundle, pid_file = f"{plan.place}/bundle", f"{plan.place}/pid"
    # What `create` is given, the container inherits: its output goes nowhere, its errors to the Island.
    _call(plan, ["create", "--bundle", bundle, "--pid-file", pid_file, plan.id])
    with open(pid_file) as file:
        first = int(file.read())
    signal.signal(signal.SIGTERM, _passes_to(first))
    _call(plan, ["start", plan.id])
    say(started=True)
    while True:
        pid, status = os.wait()
        if pid == first:
            return os.waitstatus_to_exitcode(status)


def _call(plan: Plan, words: list[str]) -> None:
    """Raises OSError with the runtime's own words."""
    log = f"{plan.place}/runtime.log"
    nothing = os.open(os.devnull, os.O_RDWR)
    command = [*plan.runtime, f"--log={log}", f"--root={plan.place}/state", *words]
    pid = os.posix_spawn(
        command[0],
        command,
        {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "XDG_RUNTIME_DIR": plan.place},
        file_actions=[(os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, nothing, 1)],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )
    os.close(nothing)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        why = f"status {status}"
        if os.path.exists(log):
            with open(log) as file:
                why = file.read()[-800:].strip()
        raise OSError(0, f"{os.path.basename(command[0])} could not: {why}")


def _passes_to(pid: int) -> Callable[[int, FrameType | None], None]:
    """A handler that gives the wish to end on to another process."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    return pass_on


def outer(plan: Plan) -> int:
    kernel = Kernel()
    kernel.die_with_parent()
    if os.getppid() != plan.parent:
        raise OSError(3, "the Island is gone already")
    kernel.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC)
    # Opened before anything is covered; a folder on the way may be closed to the container's users.
    root = os.open(plan.root, os.O_PATH | os.O_DIRECTORY)
    opened = {name: os.open(path, os.O_PATH) for name, path in plan.shown.items()}
    alive, held = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(held)
        _be_inner(kernel, plan, opened, root, alive)
    os.close(alive)
    say(inside=pid)
    for handle in (*opened.values(), root):
        os.close(handle)
    signal.signal(signal.SIGTERM, _passes_to(pid))
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _be_inner(
    kernel: Kernel, plan: Plan, opened: dict[str, int], root: int, alive: int
) -> NoReturn:
    try:
        kernel.die_with_parent()
        # The outer one holds the other end: if it is gone already, the wish came too late.
        if select.select([alive], [], [], 0)[0]:
            os._exit(NOT_STARTED)
        os.close(alive)
        say(ended=inner(kernel, plan, opened, root))
        os._exit(0)
    except (OSError, ValueError) as error:
        say(failed=str(error.strerror if isinstance(error, OSError) else error)[:1000])
        os._exit(NOT_STARTED)


def read_plan() -> Plan:
    """Its fields as they came: the Island made it from a `Plan`."""
    plan: Plan = type("Given", (), json.loads(sys.stdin.buffer.read()))()
    return plan


def main() -> None:
    plan = read_plan()
    try:
        status = outer(plan)
    except OSError as error:
        say(failed=str(error))
        status = NOT_STARTED
    sys.stdout.flush()
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
