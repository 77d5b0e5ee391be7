"""Attempts on the kernel: mounts, namespaces, and calls that only its owner should make.

Numbers are of x86-64. Arguments are such that the call does nothing where it is let in.
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from probe import Refused, World, call, probe, reached

MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096
NEW_NS, NEW_USER = 0x00020000, 0x10000000
_NULL = ctypes.c_char_p(None)


def text(value: str) -> ctypes.c_char_p:
    return ctypes.c_char_p(value.encode())


def mount(source: str, target: str, kind: str, flags: int) -> None:
    call(165, text(source), text(target), text(kind), flags, _NULL)


@probe("mount a file system", "maybe")
def mount_tmpfs(world: World) -> str:
    mount("none", "/tmp", "tmpfs", 0)
    return "mounted"


@probe("mount a fresh /proc", "maybe")
def mount_proc(world: World) -> str:
    mount("proc", "/proc", "proc", 0)
    return "mounted"


@probe("bind a folder over another", "maybe")
def mount_bind(world: World) -> str:
    mount("/", "/tmp", "", MS_BIND)
    return "bound"


@probe("make the root writable by mounting it again", "maybe")
def remount_root(world: World) -> str:
    mount("none", "/", "", MS_REMOUNT | MS_BIND)
    return "mounted again"


@probe("unmount what hides the host", "maybe")
def unmount(world: World) -> str:
    call(166, text("/proc"), 2)
    return "unmounted /proc"


@probe("open a mount by the newer calls (open_tree, fsopen)", "maybe")
def new_mount_calls(world: World) -> str:
    last: Exception = Refused("")
    for number, arguments in ((428, (-100, text("/"), 1)), (430, (text("tmpfs"), 0))):
        try:
            call(number, *arguments)
            return f"call {number} gave a file"
        except OSError as error:
            last = error
    raise last


@probe("change the root folder and climb out (chroot)", "maybe")
def change_root(world: World) -> str:
    os.chroot("/tmp")
    return "changed it"


@probe("pivot_root", "maybe")
def pivot(world: World) -> str:
    return reached(155, text("/tmp"), text("/tmp"))


@probe("make a user namespace (unshare)", "maybe")
def user_namespace(world: World) -> str:
    call(272, NEW_USER)
    return "made one"


@probe("make a user namespace (clone, clone3)", "maybe")
def user_namespace_by_clone(world: World) -> str:
    last: Exception = Refused("")
    arguments = (ctypes.c_uint64 * 11)(NEW_USER, 0, 0, 0, 17)
    for number, given in (
        (435, (arguments, ctypes.sizeof(arguments))),
        (56, (NEW_USER | 17, 0, 0, 0, 0)),
    ):
        try:
            child = call(number, *given)
        except OSError as error:
            last = error
            continue
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return "made one"
    raise last


@probe("make a mount namespace", "maybe")
def mount_namespace(world: World) -> str:
    call(272, NEW_NS)
    return "made one"


@probe("enter a namespace of another process (setns)", "maybe")
def enter_namespace(world: World) -> str:
    last: Exception = Refused("none can be opened")
    for process in (str(world.pid), "1", str(os.getppid())):
        for kind in ("mnt", "net", "user"):
            try:
                handle = os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY)
                mine = os.stat(f"/proc/self/ns/{kind}").st_ino
                if os.fstat(handle).st_ino == mine and process != str(world.pid):
                    continue
                call(308, handle, 0)
                return f"entered {kind} of {process}"
            except OSError as error:
                last = error
    raise last


@probe("load a BPF program or map", "maybe")
def bpf(world: World) -> str:
    attributes = (ctypes.c_uint32 * 18)(2, 4, 4, 1)  # an array of one
    return reached(321, 0, attributes, ctypes.sizeof(attributes))


@probe("watch the machine's counters (perf_event_open)", "maybe")
def perf(world: World) -> str:
    attributes = (ctypes.c_uint32 * 32)(1, 128, 0)
    return reached(298, attributes, -1, 0, -1, 0)


@probe("make an io_uring", "maybe")
def io_uring(world: World) -> str:
    return reached(425, 1, (ctypes.c_uint32 * 30)())


@probe("handle page faults of the kernel's (userfaultfd)", "maybe")
def userfault(world: World) -> str:
    return reached(323, 0)


@probe("put a key into the kernel's keyring (add_key)", "maybe")
def keyring_add(world: World) -> str:
    payload = ctypes.c_char_p(b"x")
    return reached(248, text("user"), text("escape"), payload, 1, -3)


@probe("join a keyring (keyctl)", "maybe")
def keyring_join(world: World) -> str:
    return reached(250, 1, _NULL)


@probe("load a kernel module", "maybe")
def kernel_module(world: World) -> str:
    return reached(175, ctypes.c_char_p(b"no module"), 9, text(""))


@probe("load another kernel (kexec)", "maybe")
def kexec(world: World) -> str:
    return reached(246, 0, 1 << 20, _NULL, 0)  # more segments than there may be


@probe("reboot", "maybe")
def reboot(world: World) -> str:
    return reached(169, 0xFEE1DEAD, 672274793, 0, _NULL)  # switches Ctrl-Alt-Del to a signal


@probe("set the clock", "maybe")
def clock(world: World) -> str:
    now = time.clock_gettime(time.CLOCK_REALTIME)
    time.clock_settime(time.CLOCK_REALTIME, now)
    return "set it to what it was"


@probe("set the clock's drift (adjtimex)", "maybe")
def clock_drift(world: World) -> str:
    timex = (ctypes.c_int64 * 40)()
    timex[0] = 0x4000  # a tick's length
    timex[10] = 0  # which is out of range: nothing is set where this is let in
    return reached(159, timex)


@probe("name the host (sethostname)", "maybe")
def host_name(world: World) -> str:
    name = os.uname().nodename.encode()
    call(170, ctypes.c_char_p(name), len(name))
    return "named it as it was"


@probe("switch on swap", "maybe")
def swap(world: World) -> str:
    return reached(167, text("/no/such/file"), 0)


@probe("set quotas", "maybe")
def quota(world: World) -> str:
    return reached(
        179, 0x80000200, text("/dev/no-such"), 0, _NULL
    )  # Q_QUOTAON of what is not there


@probe("read the kernel's log", "maybe")
def kernel_log(world: World) -> str:
    return reached(103, 3, ctypes.create_string_buffer(100), 100)


@probe("get at ports of the processor (iopl)", "maybe")
def ports(world: World) -> str:
    return reached(172, 3)


@probe("switch process accounting on", "maybe")
def accounting(world: World) -> str:
    return reached(163, text("/no/such/file"))


@probe("raise its own capabilities", "maybe")
def capabilities(world: World) -> str:
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    bounding = int(status.split("CapBnd:")[1].split()[0], 16)
    if effective == 0 and bounding == 0:
        raise Refused("has none, and can get none")
    return f"has {effective:x}, and may get {bounding:x}"


@probe("become another user", "root")
def other_user(world: World) -> str:
    os.setresuid(0, 0, 0)
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        raise Refused("root here is nobody on the host")
    return "is root"
