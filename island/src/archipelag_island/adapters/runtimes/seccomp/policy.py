"""The allow-lists of system calls: what each profile may call, and with which arguments.

Everything that the kernel has and that stands in no list is refused with EPERM; what is newer than our table is
answered ENOSYS, as by an older kernel, so that a library falls back to what it did before. Only what is allowed is
listed for arguments too: the kernel ignores the upper half of some, so that a list of forbidden values could be walked
around.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from errno import EAFNOSUPPORT, ENOSYS, EPERM
from types import MappingProxyType
from typing import Final

from archipelag_island.adapters.runtimes.seccomp.numbers import KNOWN

ALLOW: Final = 0
"""An outcome: let it through; any other outcome is the error number that the caller gets."""

_ALL: Final = (1 << 64) - 1
# The kernel reads an ioctl's command as 32 bits, and C libraries extend its sign or do not.
_LOWER: Final = (1 << 32) - 1


@dataclass(frozen=True)
class Is:
    """Argument `index`, after `mask`, is `value`."""

    index: int
    value: int
    mask: int = _ALL


@dataclass(frozen=True)
class IsNot:
    index: int
    value: int


@dataclass(frozen=True)
class Above:
    index: int
    value: int


Check = Is | IsNot | Above


@dataclass(frozen=True)
class Case:
    """When every check holds, `outcome`. The cases of a call never overlap, so their order says nothing."""

    checks: tuple[Check, ...]
    outcome: int = ALLOW


@dataclass(frozen=True)
class Profile:
    """What stands in neither is unknown here. A call whose arguments match no case is answered ENOSYS."""

    outcomes: Mapping[str, int]
    cases: Mapping[str, tuple[Case, ...]]


_FILES: Final = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek open openat openat2 creat close
close_range stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 getcwd chdir fchdir rename
renameat renameat2 mkdir mkdirat rmdir link linkat symlink symlinkat unlink unlinkat readlink readlinkat chmod fchmod
fchmodat fchmodat2 umask utime utimes utimensat futimesat getdents getdents64 truncate ftruncate fallocate fadvise64
readahead fsync fdatasync flock fcntl dup dup2 dup3 pipe pipe2 sendfile copy_file_range getxattr lgetxattr fgetxattr
listxattr llistxattr flistxattr
"""
_MEMORY: Final = """
brk mmap mprotect munmap mremap madvise msync mincore membarrier mseal memfd_create pkey_alloc pkey_free pkey_mprotect
map_shadow_stack
"""
_PROCESSES: Final = """
fork vfork execve execveat exit exit_group wait4 waitid getpid getppid gettid getpgid getpgrp setpgid getsid setsid kill
tkill tgkill rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo
rt_sigsuspend sigaltstack pause restart_syscall set_tid_address set_robust_list get_robust_list rseq futex futex_waitv
futex_wake futex_wait futex_requeue sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_getattr
sched_get_priority_max sched_get_priority_min sched_rr_get_interval getpriority arch_prctl getcpu getrlimit setrlimit
prlimit64 getrusage times uname sysinfo getuid geteuid getgid getegid getresuid getresgid getgroups capget
"""
_TIME: Final = """
clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time getitimer setitimer alarm timer_create
timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime timerfd_gettime
"""
_WAITING: Final = """
poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait
epoll_pwait2 eventfd eventfd2 signalfd signalfd4
"""
_SOCKETS: Final = """
bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt sendto recvfrom sendmsg recvmsg
sendmmsg recvmmsg shutdown
"""
# A Cargo may give up more than we took from it.
_OWN_LIMITS: Final = "getrandom landlock_create_ruleset landlock_add_rule landlock_restrict_self"
_MINIMAL: Final = " ".join((_FILES, _MEMORY, _PROCESSES, _TIME, _WAITING, _SOCKETS, _OWN_LIMITS))
# What larger programs expect; each has had more bugs in the kernel than what it saves a small one.
_DEFAULT: Final = """
shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mlock mlock2 munlock mlockall
munlockall inotify_init inotify_init1 inotify_add_watch inotify_rm_watch splice tee vmsplice sync_file_range syncfs
chown fchown lchown fchownat setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr setuid setgid setreuid
setregid setresuid setresgid setfsuid setfsgid setgroups capset setpriority sched_setparam sched_setscheduler
ioprio_get ioprio_set pidfd_open pidfd_send_signal cachestat
"""
# A driver's library places memory and threads by itself.
_PLACING: Final = "sched_setaffinity get_mempolicy set_mempolicy mbind"

_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_SOCK_TYPE: Final = 0xF
_STREAM, _DATAGRAM = 1, 2
# Everything of clone's flags that makes a namespace. (A new time namespace can be had by unshare and clone3 only.)
_NAMESPACES: Final = (1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30)
# TCGETS, TCGETS2, TIOCGPGRP, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, FIOASYNC, FICLONE. Pushing keystrokes
# into a terminal (TIOCSTI, TIOCLINUX) is not among them, in whatever width it is written.
_IOCTLS: Final = (0x5401, 0x802C542A, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x5452, 0x40049409)  # fmt: skip
# The third byte of a command is its driver's letter: NVIDIA's F, its memory manager's none, DRM's d, AMD's K.
_GPU_DRIVERS: Final = (0x4600, 0x0000, 0x6400, 0x4B00)
# PDEATHSIG and DUMPABLE set and get, KEEPCAPS get, NAME set and get, SECCOMP get, CAPBSET read, TIMERSLACK set and get,
# NO_NEW_PRIVS set and get, TID address, THP_DISABLE set and get, names of memory ranges.
_PRCTLS: Final = (1, 2, 3, 4, 7, 15, 16, 21, 23, 29, 30, 38, 39, 40, 41, 42, 0x53564D41)
_FILE_KIND: Final = 0o170000
_PLAIN_KINDS: Final = (0, 0o010000, 0o100000, 0o140000)
_DEVICE_KINDS: Final = (0o020000, 0o060000)


def _any(index: int, values: tuple[int, ...], mask: int = _ALL) -> tuple[Case, ...]:
    return tuple(Case((Is(index, value, mask),)) for value in values)


def _nodes(index: int) -> tuple[Case, ...]:
    """Fifos, sockets and empty files; no devices."""
    refused = (Case((Is(index, kind, _FILE_KIND),), EPERM) for kind in _DEVICE_KINDS)
    return (*_any(index, _PLAIN_KINDS, _FILE_KIND), *refused)


_NO_NAMESPACES: Final = (
    Case((Is(0, 0, sum(_NAMESPACES)),)),
    *(Case((Is(0, flag, flag),), EPERM) for flag in _NAMESPACES),
)
_UNIX_ONLY: Final = (
    Case((Is(0, _AF_UNIX),)),
    Case((IsNot(0, _AF_UNIX),), EAFNOSUPPORT),
)
_INTERNET_TOO: Final = (
    Case((Is(0, _AF_UNIX),)),
    *(
        Case((Is(0, family), Is(1, kind, _SOCK_TYPE)))
        for family in (_AF_INET, _AF_INET6)
        for kind in (_STREAM, _DATAGRAM)
    ),
    *(
        Case((Is(0, family), Is(1, kind, _SOCK_TYPE)), EPERM)
        for family in (_AF_INET, _AF_INET6)
        for kind in range(_SOCK_TYPE + 1)
        if kind not in (_STREAM, _DATAGRAM)
    ),
    *(
        Case((Is(0, family),), EAFNOSUPPORT)
        for family in range(_AF_INET6)
        if family not in (_AF_UNIX, _AF_INET)
    ),
    Case((Above(0, _AF_INET6),), EAFNOSUPPORT),
)
_CASES: Final[Mapping[str, tuple[Case, ...]]] = {
    "clone": _NO_NAMESPACES,
    "socket": _UNIX_ONLY,
    "socketpair": _UNIX_ONLY,
    "ioctl": _any(1, _IOCTLS, _LOWER),
    "prctl": _any(0, _PRCTLS),
    "personality": _any(0, (0, 0xFFFFFFFF)),
}
_LARGER: Final[Mapping[str, tuple[Case, ...]]] = {
    **_CASES,
    "mknod": _nodes(1),
    "mknodat": _nodes(2),
}
_GPU: Final[Mapping[str, tuple[Case, ...]]] = {
    **_LARGER,
    "ioctl": (*_any(1, _IOCTLS, _LOWER), *_any(1, _GPU_DRIVERS, 0xFF00)),
}


def _profile(cases: Mapping[str, tuple[Case, ...]], *lists: str) -> Profile:
    allowed = {name for names in lists for name in names.split()}
    unknown = (allowed | set(cases)) - KNOWN
    assert not unknown, f"no such system calls: {unknown}"
    outcomes = dict.fromkeys(KNOWN - set(cases), EPERM)
    # Its flags lie in memory, where no filter sees them; every C library falls back to clone.
    outcomes["clone3"] = ENOSYS
    outcomes.update(dict.fromkeys(allowed, ALLOW))
    assert not set(outcomes) & set(cases), "a call is decided by its number or by its arguments"
    return Profile(MappingProxyType(outcomes), MappingProxyType(dict(cases)))


PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        "minimal": _profile(_CASES, _MINIMAL),
        "default": _profile(_LARGER, _MINIMAL, _DEFAULT),
        "gpu": _profile(_GPU, _MINIMAL, _DEFAULT, _PLACING),
        "network": _profile({**_LARGER, "socket": _INTERNET_TOO}, _MINIMAL, _DEFAULT),
    }
)
