"""Attempts on files: the host's, the kernel's and devices."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from pathlib import Path

from probe import Refused, World, call, probe


def _read(path: str, world: World) -> str:
    data = Path(path).read_bytes()
    if not world.has_token(data):
        raise Refused("another file is there")
    return "read the host's file"


@probe("read a file of the host that any of its users may read", "anybody")
def host_file(world: World) -> str:
    return _read(world.secret, world)


@probe("read it through the root of process 1 and of every other process", "maybe")
def host_file_by_proc_root(world: World) -> str:
    last: Exception = Refused("no process shows a root")
    for entry in ("self", "1", *filter(str.isdigit, os.listdir("/proc"))):
        try:
            return _read(f"/proc/{entry}/root{world.secret}", world)
        except (OSError, Refused) as error:
            last = error
    raise last


@probe("climb out by .. from the working folder and the root", "anybody")
def host_file_by_dots(world: World) -> str:
    return _read("../" * 40 + world.secret.lstrip("/"), world)


@probe("climb out from a folder that an open file descriptor still holds (CVE-2024-21626)")
def leaked_folder(world: World) -> str:
    for process in ("self", str(os.getppid()), "1"):
        try:
            handles = os.listdir(f"/proc/{process}/fd")
        except OSError:
            continue
        for handle in handles:
            try:
                return _read(
                    f"/proc/{process}/fd/{handle}/{'../' * 40}{world.secret.lstrip('/')}", world
                )
            except (OSError, Refused):
                continue
    raise Refused("no open folder leads out")


@probe("start with the working folder outside the root (CVE-2024-21626, WORKDIR)")
def working_folder(world: World) -> str:
    for process in (str(os.getppid()), "1"):
        try:
            return _read(f"/proc/{process}/cwd/{'../' * 40}{world.secret.lstrip('/')}", world)
        except (OSError, Refused):
            continue
    raise Refused("no working folder leads out")


@probe("read the host's password hashes", "root")
def shadow(world: World) -> str:
    data = Path("/etc/shadow").read_text()
    if "root:" not in data:
        raise Refused("another file is there")
    return "read /etc/shadow"


@probe("open a file by its handle on another mount (open_by_handle_at, Shocker)", "maybe")
def handle_of_file(world: World) -> str:
    # The handle of inode 2, the root folder of most file systems, as Shocker made it up.
    handle = struct.pack("=Ii", 8, 1) + struct.pack("=II", 2, 0)
    mount = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    found = call(304, mount, ctypes.c_char_p(handle), os.O_RDONLY)
    return f"opened inode 2 as {os.listdir(found)[:3]}"


def _open_for_writing(path: str) -> str:
    os.close(os.open(path, os.O_WRONLY))
    return f"opened {path} for writing"


@probe("write to the kernel's settings under /proc/sys", "maybe")
def proc_sys(world: World) -> str:
    path = "/proc/sys/kernel/domainname"
    Path(path).write_text(Path(path).read_text())
    return "wrote what stood there"


@probe("name the program that takes core dumps (core_pattern)", "maybe")
def core_pattern(world: World) -> str:
    return _open_for_writing("/proc/sys/kernel/core_pattern")


@probe("give the kernel orders by /proc/sysrq-trigger", "maybe")
def sysrq(world: World) -> str:
    return _open_for_writing("/proc/sysrq-trigger")


@probe("read the kernel's memory by /proc/kcore", "maybe")
def kcore(world: World) -> str:
    with Path("/proc/kcore").open("rb") as file:
        if file.read(4) != b"\x7fELF":
            raise Refused("empty")
    return "read its header"


@probe("write to /sys", "maybe")
def sys_write(world: World) -> str:
    last: Exception = Refused("nothing of it can be written to")
    for path in ("/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/ksm/run"):
        try:
            return _open_for_writing(path)
        except OSError as error:
            last = error
    raise last


@probe("name the program that a control group calls when it is empty (release_agent)", "maybe")
def release_agent(world: World) -> str:
    last: Exception = Refused("no control group shows one")
    for path in Path("/sys/fs/cgroup").glob("*/release_agent"):
        try:
            return _open_for_writing(str(path))
        except OSError as error:
            last = error
    raise last


@probe("raise its own limits in its control group")
def own_control_group(world: World) -> str:
    last: Exception = Refused("none can be seen")
    names = ("memory.max", "pids.max", "memory.limit_in_bytes", "cgroup.procs", "tasks")
    for base, _, files in os.walk("/sys/fs/cgroup"):
        for name in set(names) & set(files):
            try:
                return _open_for_writing(f"{base}/{name}")
            except OSError as error:
                last = error
    raise last


@probe("make a device node of the host's disk and open it", "root")
def device_node(world: World) -> str:
    path = "/tmp/escape-device"
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 1))  # /dev/mem
        return "made it"
    finally:
        if os.path.lexists(path):
            os.unlink(path)


@probe("open memory, disks or other devices that are there", "maybe")
def devices(world: World) -> str:
    for path in (
        "/dev/mem",
        "/dev/kmem",
        "/dev/port",
        "/dev/kmsg",
        "/dev/loop-control",
        "/dev/fuse",
    ):
        try:
            return _open_for_writing(path)
        except OSError:
            continue
    for path in Path("/dev").iterdir():
        if path.is_block_device():
            os.close(os.open(path, os.O_RDONLY))
            return f"opened {path}"
    raise Refused("none is there")


@probe("write to the root file system", "root")
def root_write(world: World) -> str:
    for folder in ("/", "/usr", "/etc", "/lib"):
        try:
            path = f"{folder}/escape-probe-was-here"
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        except OSError as error:
            last = error
        else:
            os.unlink(path)
            return f"wrote to {folder}"
    raise last


@probe("become root by a set-user-id program", "root")
def setuid_program(world: World) -> str:
    # A copy of the interpreter with the bit set: of any use only where the file may be root's and the mount allows it.
    path = "/tmp/escape-setuid"
    try:
        with open(path, "wb") as file:
            file.write(b"#!")
        os.chown(path, 0, 0)
        os.chmod(path, 0o4755)
        if os.stat(path).st_uid != 0 or not os.stat(path).st_mode & stat.S_ISUID:
            raise Refused("the bit did not stay")
        if os.statvfs("/tmp").f_flag & os.ST_NOSUID:
            raise Refused("the mount ignores the bit")
        if "NoNewPrivs:\t1" in Path("/proc/self/status").read_text():
            raise Refused("no new privileges can be had")
        if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
            raise Refused("root here is nobody on the host")
        return "made a program of root's"
    finally:
        if os.path.lexists(path):
            os.unlink(path)


@probe("give a program capabilities (file capabilities)", "maybe")
def file_capabilities(world: World) -> str:
    path = "/tmp/escape-capable"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        capability = struct.pack("<IIIII", 0x02000001, 1 << 21, 0, 0, 0)  # CAP_SYS_ADMIN
        os.setxattr(path, "security.capability", capability)
        if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
            raise Refused("they would hold in its own user namespace only")
        return "set them"
    finally:
        if os.path.lexists(path):
            os.unlink(path)


@probe("overwrite the program that started it, by /proc/self/exe (CVE-2019-5736)", "maybe")
def own_executable(world: World) -> str:
    for process in ("self", "1", str(os.getppid())):
        try:
            os.close(os.open(f"/proc/{process}/exe", os.O_WRONLY))
            return f"opened /proc/{process}/exe for writing"
        except OSError as error:
            if error.errno == errno.ETXTBSY:
                return "only that it runs just now stood in the way"
            last = error
    raise last


@probe("make a hard link to a file of the host in its own folder", "maybe")
def hard_link(world: World) -> str:
    os.link(world.secret, "/tmp/escape-link")
    os.unlink("/tmp/escape-link")
    return "linked"
