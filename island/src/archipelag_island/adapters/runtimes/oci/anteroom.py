"""The anteroom of a container: run as a script, it makes private namespaces, starts an OCI runtime there and waits.

Two processes. The outer one is the Island's child and dies with it. The inner one is the first of a process namespace,
so whatever the container starts, its own escapes included, ends when the inner one ends, and every mount goes with it:
nothing of a Cargo can outlive the Island, and there is nothing to clean up by name.

Reads one JSON object from standard input (see `Plan`), writes JSON lines to standard output. Knows nothing of our
packages, since it must start fast.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
MNT_DETACH = 2
CLOSED = MS_NOSUID | MS_NODEV | MS_NOEXEC
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
# Where the room is made: any folder that every host has, and that nothing used in here lies in.
PLACES = ("/mnt", "/media", "/srv", "/opt")
# Exit status that says: the container never began.
NOT_STARTED = 125
# What an image need not have and a container must.
MOUNT_POINTS = ("proc", "dev", "sys/devices/system/cpu", "tmp")


@dataclass(frozen=True)
class Plan:
    parent: int
    """The Island's process id: when it is gone, so are we."""
    place: str
    """Folder that becomes the room: one of PLACES."""
    runtime: list[str]
    """The OCI runtime and its global options."""
    id: str
    root: str
    """The image's unpacked root, on the host."""
    config: dict[str, Any]
    shown: dict[str, str] = field(default_factory=dict)
    """Name in the room → file or folder of the host to show there, read-only."""
    links: dict[str, str] = field(default_factory=dict)
    """Path in the container → what it points to, over what the image has there."""
    files: dict[str, str] = field(default_factory=dict)
    """Name in the room → text."""
    folders: dict[str, int] = field(default_factory=dict)
    """Name in the room → host's user id: small writable folders in memory, owned by that user."""
    folder_bytes: int = 1 << 20
    loopback: bool = False


def choose_place() -> str:
    """Raises OSError where the host has none."""
    for place in PLACES:
        if Path(place).is_dir() and not Path(place).is_symlink():
            return place
    raise OSError(2, f"none of {', '.join(PLACES)} is there")


def say(**words: Any) -> None:
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
    room = Path(plan.place)
    kernel.mount("tmpfs", plan.place, "tmpfs", CLOSED & ~MS_NOEXEC, "mode=0755,size=4m")
    for name in ("low", "skeleton", "root", "state", "bundle"):
        (room / name).mkdir(mode=0o755)
    for name, text in plan.files.items():
        (room / name).write_text(text)
        (room / name).chmod(0o644)
    for name, handle in opened.items():
        source = f"/proc/self/fd/{handle}"
        _like(Path(source), room / name)
        # Whether anything in it may be run is for the container's own mount to say.
        kernel.bind(source, str(room / name), MS_RDONLY | MS_NOSUID | MS_NODEV)
    for name, owner in plan.folders.items():
        (room / name).mkdir()
        options = f"mode=0700,uid={owner},gid={owner},size={plan.folder_bytes},nr_inodes=64"
        kernel.mount("tmpfs", str(room / name), "tmpfs", CLOSED, options)
    kernel.bind(f"/proc/self/fd/{root}", str(room / "low"), MS_RDONLY | MS_NOSUID | MS_NODEV)
    _skeleton(plan, room)
    # Two read-only layers: the image as it is, and above it the mount points it lacks. It is never written to.
    layers = f"lowerdir={room}/skeleton:{room}/low"
    kernel.mount("overlay", f"{room}/root", "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, layers)
    (room / "bundle/config.json").write_text(json.dumps(plan.config))


def _skeleton(plan: Plan, room: Path) -> None:
    for name in MOUNT_POINTS:
        (room / "skeleton" / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    # runc gives a tmpfs the mode of what it lies on.
    (room / "skeleton/tmp").chmod(0o1777)
    for mount in plan.config["mounts"]:
        if mount["type"] == "bind" and mount["source"].startswith(plan.place):
            _like(Path(mount["source"]), room / "skeleton" / mount["destination"].lstrip("/"))
    for path, aim in plan.links.items():
        link = room / "skeleton" / path.lstrip("/")
        link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        link.symlink_to(aim)


def _like(source: Path, target: Path) -> None:
    """Something of the same kind to mount `source` on."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if source.is_dir():
        target.mkdir(mode=0o755, exist_ok=True)
    else:
        target.touch(mode=0o644)


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        name, flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", name, flags | IFF_UP))


def inner(kernel: Kernel, plan: Plan, opened: dict[str, int], root: int) -> int:
    """Runs as the first process of its namespace. Returns how the container ended, negative for a signal."""
    build(kernel, plan, opened, root)
    if plan.loopback:
        raise_loopback()
    for handle in (*opened.values(), root):
        os.close(handle)
    room = Path(plan.place)
    bundle, pid_file = str(room / "bundle"), room / "pid"
    # What `create` is given, the container inherits: its output goes nowhere, its errors to the Island.
    _call(plan, ["create", "--bundle", bundle, "--pid-file", str(pid_file), plan.id])
    first = int(pid_file.read_text())
    signal.signal(signal.SIGTERM, lambda *_: _signal(first))
    _call(plan, ["start", plan.id])
    say(started=True)
    while True:
        pid, status = os.wait()
        if pid == first:
            return os.waitstatus_to_exitcode(status)


def _call(plan: Plan, words: list[str]) -> None:
    """Raises OSError with the runtime's own words."""
    log = Path(plan.place) / "runtime.log"
    done = subprocess.run(
        [*plan.runtime, f"--log={log}", f"--root={plan.place}/state", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "XDG_RUNTIME_DIR": plan.place},
        check=False,
    )
    if done.returncode != 0:
        why = log.read_text()[-800:].strip() if log.exists() else f"status {done.returncode}"
        raise OSError(0, f"{Path(plan.runtime[0]).name} could not: {why}")


def _signal(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


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
    signal.signal(signal.SIGTERM, lambda *_: _signal(pid))
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


def main() -> None:
    plan = Plan(**json.loads(sys.stdin.buffer.read()))
    try:
        status = outer(plan)
    except OSError as error:
        say(failed=str(error))
        status = NOT_STARTED
    sys.stdout.flush()
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
