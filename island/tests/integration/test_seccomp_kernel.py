"""The system-call filter on the real kernel: what it lets through works, what it refuses is refused."""

from __future__ import annotations

import errno
import json
import platform
import signal
import subprocess
import sys
import textwrap

import pytest
from archipelag_island.adapters.runtimes.seccomp import PROFILES, bpf
from archipelag_island.adapters.runtimes.seccomp.numbers import NUMBERS

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in NUMBERS,
    reason="needs Linux on x86-64 or 64-bit ARM: a filter is for one kernel and its numbers",
)

PRELUDE = """
import ctypes, json, mmap, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
program = bytes.fromhex(sys.argv[1])
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    return ctypes.get_errno() if result == -1 else 0
def confine():
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    wanted = Program(len(program) // 8, program)
    assert libc.prctl(22, 2, ctypes.byref(wanted), 0, 0) == 0, ctypes.get_errno()
"""


def inside(
    profile: str, script: str, *arguments: str, filtered: bool = True
) -> subprocess.CompletedProcess[str]:
    body = PRELUDE + ("confine()\n" if filtered else "") + textwrap.dedent(script)
    command = [sys.executable, "-I", "-c", body, bpf(profile).hex(), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_an_interpreter_lives_with_threads_children_and_sockets(profile: str) -> None:
    script = """
    import asyncio, subprocess, tempfile, threading
    thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
    assert subprocess.run(["/bin/true"]).returncode == 0
    a, b = socket.socketpair(); a.send(b"x"); assert b.recv(1) == b"x"
    with tempfile.TemporaryFile() as file: file.write(b"x" * 10000)
    asyncio.run(asyncio.sleep(0))
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    print("alive")
    """

    done = inside(profile, script)

    assert done.stdout == "alive\n", done.stderr


REFUSED = ["mount", "unshare", "setns", "ptrace", "bpf", "keyctl", "io_uring_setup", "userfaultfd"]
REFUSED += ["perf_event_open", "chroot", "pivot_root", "clock_settime", "reboot", "swapon", "kcmp"]
REFUSED += ["init_module", "open_by_handle_at", "name_to_handle_at", "syslog", "acct", "quotactl"]
REFUSED += ["process_vm_readv", "pidfd_getfd", "fanotify_init", "kexec_load", "memfd_secret"]


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_what_is_forbidden_is_refused(profile: str) -> None:
    numbers = {name: NUMBERS[platform.machine()][name] for name in REFUSED}

    script = "print(json.dumps({n: call(k) for n, k in json.loads(sys.argv[2]).items()}))"
    done = inside(profile, script, json.dumps(numbers))

    assert json.loads(done.stdout) == dict.fromkeys(REFUSED, errno.EPERM), done.stderr


ATTEMPTS = """
def attempt(action):
    try:
        action()
    except OSError as error:
        return error.errno
    return 0
print(json.dumps({
    "internet": attempt(lambda: socket.socket(socket.AF_INET)),
    "netlink": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "unix": attempt(lambda: socket.socket(socket.AF_UNIX)),
    "user namespace by clone": call(NR["clone"], 0x10000000 | 17, 0, 0, 0, 0),
    "clone3": call(NR["clone3"], 0, 0),
    "unknown": call(4000),
    "keystroke": attempt(lambda: __import__("fcntl").ioctl(0, 0x5412, b"x")),
    "personality": call(NR["personality"], 0x0040000),
}))
"""


def test_arguments_decide() -> None:
    numbers = f"NR = {dict(NUMBERS[platform.machine()])!r}\n"

    done = inside("minimal", numbers + ATTEMPTS)

    assert json.loads(done.stdout) == {
        "internet": errno.EAFNOSUPPORT,
        "netlink": errno.EAFNOSUPPORT,
        "unix": 0,
        "user namespace by clone": errno.EPERM,
        "clone3": errno.ENOSYS,
        "unknown": errno.ENOSYS,
        "keystroke": errno.ENOSYS,
        "personality": errno.ENOSYS,
    }, done.stderr


def test_network_profile_has_the_internet_but_no_raw_sockets() -> None:
    script = """
    def attempt(*kind):
        try:
            socket.socket(*kind).close()
        except OSError as error:
            return error.errno
        return 0
    print(json.dumps([attempt(socket.AF_INET, socket.SOCK_STREAM),
                      attempt(socket.AF_INET, socket.SOCK_RAW, 1),
                      attempt(socket.AF_NETLINK, socket.SOCK_RAW),
                      attempt(socket.AF_PACKET, socket.SOCK_RAW)]))
    """

    done = inside("network", script)

    expected = [0, errno.EPERM, errno.EAFNOSUPPORT, errno.EAFNOSUPPORT]
    assert json.loads(done.stdout) == expected, done.stderr


INT_80 = """
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
print(ctypes.CFUNCTYPE(ctypes.c_int)(address)() > 0, flush=True)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86-64: ARM has no such door")
def test_the_32_bit_door_is_closed() -> None:
    opened = inside("minimal", INT_80, filtered=False)
    if opened.returncode == -signal.SIGSEGV:
        pytest.skip("this kernel has no 32-bit system calls")

    closed = inside("minimal", INT_80)

    assert opened.stdout == "True\n"
    assert closed.returncode == -signal.SIGSYS and closed.stdout == ""
