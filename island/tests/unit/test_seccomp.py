"""The system-call filter: run by an interpreter of classic BPF, compared with what is promised, call by call."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from errno import EAFNOSUPPORT, ENOSYS, EPERM
from functools import cache
from typing import Any, cast

import pytest
from archipelag_island.adapters.runtimes.seccomp import PROFILES, UnknownMachine, bpf, oci_profile
from archipelag_island.adapters.runtimes.seccomp.numbers import KNOWN, NUMBERS

ALLOWED = 0x7FFF0000
KILLED = 0x80000000
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = sorted(NUMBERS)

FORBIDDEN = """
mount umount2 move_mount fsopen fsmount fsconfig fspick open_tree mount_setattr pivot_root chroot unshare setns ptrace
process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd bpf keyctl add_key request_key io_uring_setup
io_uring_enter io_uring_register userfaultfd perf_event_open kexec_load kexec_file_load init_module finit_module
delete_module open_by_handle_at name_to_handle_at clock_settime clock_adjtime adjtimex settimeofday swapon swapoff
reboot quotactl quotactl_fd fanotify_init fanotify_mark acct syslog seccomp memfd_secret sethostname setdomainname
vhangup lookup_dcookie move_pages migrate_pages nfsservctl iopl ioperm modify_ldt statmount
listmount open_tree_attr io_setup io_submit
"""
NEVER = FORBIDDEN.split()


@cache
def instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    return [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]


@cache
def oci_rules(profile: str, machine: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for rule in cast(list[dict[str, Any]], oci_profile(profile, machine)["syscalls"]):
        for name in rule["names"]:
            found.setdefault(name, []).append(rule)
    return found


def run_bpf(program: bytes, number: int, arguments: Sequence[int], audit: int) -> int:
    """What the kernel would do, after linux/Documentation/networking/filter: enough of it for these programs."""
    record = struct.pack("=IIQ6Q", number, audit, 0, *[*arguments, *[0] * 6][:6])
    code = instructions(program)
    at = accumulator = 0
    while True:
        operation, yes, no, value = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", record, value)
            case 0x54:
                accumulator &= value
            case 0x05:
                at += value
            case 0x15:
                at += yes if accumulator == value else no
            case 0x25:
                at += yes if accumulator > value else no
            case 0x35:
                at += yes if accumulator >= value else no
            case 0x06:
                return value
            case _:
                raise AssertionError(f"no such instruction: {operation:#x}")


def asked(profile: str, call: str, *arguments: int, machine: str = "x86_64") -> int:
    """0: let through; otherwise the error number."""
    answer = run_bpf(bpf(profile, machine), NUMBERS[machine][call], arguments, AUDIT[machine])
    if answer == ALLOWED:
        return 0
    assert answer & 0xFFFF0000 == 0x00050000, f"{answer:#x}"
    return answer & 0xFFFF


def asked_oci(profile: str, call: str, *arguments: int, machine: str = "x86_64") -> int:
    """The same by the OCI profile: every rule that matches must agree, as libseccomp wants it."""
    values = [*arguments, *[0] * 6][:6]
    answers = set()
    for rule in oci_rules(profile, machine).get(call, ()):
        holds = True
        for check in rule.get("args", ()):
            value = values[check["index"]]
            match check["op"]:
                case "SCMP_CMP_EQ":
                    holds &= value == check["value"]
                case "SCMP_CMP_NE":
                    holds &= value != check["value"]
                case "SCMP_CMP_GT":
                    holds &= value > check["value"]
                case "SCMP_CMP_MASKED_EQ":
                    holds &= value & check["value"] == check["valueTwo"]
                case other:
                    raise AssertionError(other)
        if holds:
            answers.add(0 if rule["action"] == "SCMP_ACT_ALLOW" else rule["errnoRet"])
    assert len(answers) <= 1, f"{call}{arguments}: {answers}"
    return answers.pop() if answers else ENOSYS


INTERESTING = (0, 1, 2, 3, 9, 10, 11, 15, 16, 17, 22, 38, 40, 0x5401, 0x5412, 0x541C, 0x4601)
INTERESTING += (0x5413, 0x464B, 0xFFFFFFFF, 1 << 17, 1 << 28, 1 << 32, (1 << 32) | 1, 1 << 63)
INTERESTING += (0o060000, 0o020000, 0o010644, 0x3D0F00, (1 << 32) | 0x5412, 0x80002)

PAIRS = [(a, b, c) for a in INTERESTING for b in INTERESTING for c in (0, 0o060000)]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_both_forms_answer_alike(profile: str, machine: str) -> None:
    for call in NUMBERS[machine]:
        for values in PAIRS if call in PROFILES[profile].cases else [(0, 0, 0)]:
            mine = asked(profile, call, *values, machine=machine)
            assert mine == asked_oci(profile, call, *values, machine=machine), (call, values)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("profile", sorted(PROFILES))
@pytest.mark.parametrize("call", NEVER)
def test_no_profile_reaches_for_the_host(call: str, profile: str, machine: str) -> None:
    if call not in NUMBERS[machine]:
        assert call in KNOWN, "this test would never fail"
        return
    assert asked(profile, call, machine=machine) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("profile", sorted(PROFILES))
@pytest.mark.parametrize("call", ["read", "write", "openat", "mmap", "execve", "futex", "exit_group"])  # fmt: skip
def test_a_program_can_live(call: str, profile: str, machine: str) -> None:
    assert asked(profile, call, machine=machine) == 0


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_newer_calls_are_answered_as_by_an_older_kernel(profile: str) -> None:
    for machine in MACHINES:
        beyond = max(NUMBERS[machine].values()) + 1
        for number in (beyond, beyond + 1, 5000, 0x3FFFFFFF):
            answer = run_bpf(bpf(profile, machine), number, (), AUDIT[machine])
            assert answer == 0x00050000 | ENOSYS
        assert asked(profile, "clone3", machine=machine) == ENOSYS


@pytest.mark.parametrize("profile", sorted(PROFILES))
@pytest.mark.parametrize("call", ["getpid", "mount", "clone"])
def test_no_other_door_leads_to_the_same_calls(call: str, profile: str) -> None:
    number = NUMBERS["x86_64"][call]

    by_x32 = run_bpf(bpf(profile, "x86_64"), number | 0x40000000, (), AUDIT["x86_64"])
    by_i386 = run_bpf(bpf(profile, "x86_64"), number, (), 0x40000003)
    by_arm32 = run_bpf(bpf(profile, "aarch64"), number, (), 0x40000028)

    assert by_x32 == 0x00050000 | ENOSYS
    assert by_i386 == by_arm32 == KILLED


@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_clone_makes_no_namespace(bit: int) -> None:
    thread = 0x3D0F00  # What glibc asks for a new thread.

    assert asked("minimal", "clone", thread) == asked("minimal", "clone", 17) == 0
    assert asked("minimal", "clone", thread | 1 << bit) == EPERM
    assert asked("minimal", "clone", 1 << 28 | 1 << bit) == EPERM


@pytest.mark.parametrize(
    ("profile", "family", "kind", "answer"),
    [
        *[(p, 1, kind, 0) for p in sorted(PROFILES) for kind in (1, 2, 5, 1 | 0x80800)],
        *[(p, 2, 1, EAFNOSUPPORT) for p in ("minimal", "default", "gpu")],
        *[(p, f, 3, EAFNOSUPPORT) for p in sorted(PROFILES) for f in (16, 17, 38, 40, 0, 3)],
        *[("network", f, kind, 0) for f in (2, 10) for kind in (1, 2, 1 | 0x80800)],
        *[("network", f, kind, EPERM) for f in (2, 10) for kind in (3, 4, 5, 6, 10, 0)],
        # The kernel reads 32 bits: nothing is won with the others.
        ("network", 1 << 32 | 16, 3, EAFNOSUPPORT),
        ("default", 1 << 32 | 16, 3, EAFNOSUPPORT),
    ],
)
def test_sockets_are_the_cargos_own(profile: str, family: int, kind: int, answer: int) -> None:
    assert asked(profile, "socket", family, kind) == answer


@pytest.mark.parametrize("profile", sorted(PROFILES))
@pytest.mark.parametrize("command", [0x5412, 0x541C, 0x5402, 0x540E, 0x5422])
def test_no_terminal_is_typed_into(command: int, profile: str) -> None:
    for upper in (0, 1 << 32, 0xFFFFFFFF << 32):
        assert asked(profile, "ioctl", 0, upper | command) == ENOSYS
    assert asked(profile, "ioctl", 0, 0x5401) == asked(profile, "ioctl", 0, 0x5413) == 0


def test_drivers_are_reached_where_there_is_a_gpu_only() -> None:
    nvidia, drm, kvm = 0xC020462A, 0xC0106407, 0xAE00
    for command in (nvidia, drm, 0x30000001):
        assert asked("gpu", "ioctl", 3, command) == 0
        assert asked("default", "ioctl", 3, command) == ENOSYS
    assert asked("gpu", "ioctl", 3, kvm) == ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_nodes_are_no_devices(machine: str) -> None:
    for kind, answer in [(0o010644, 0), (0o100644, 0), (0o060600, EPERM), (0o020600, EPERM)]:
        assert asked("default", "mknodat", 0, 0, kind, machine=machine) == answer
    assert asked("minimal", "mknodat", 0, 0, 0o010644, machine=machine) == EPERM


@pytest.mark.parametrize("option", [22, 24, 28, 35, 47, 26, 8])
def test_prctl_changes_no_rights(option: int) -> None:
    assert asked("network", "prctl", option) == ENOSYS
    assert asked("minimal", "prctl", 38) == 0


def test_personality_is_only_asked_for() -> None:
    assert asked("gpu", "personality", 0xFFFFFFFF) == 0
    assert asked("gpu", "personality", 0x0040000) == ENOSYS  # No address randomisation.


def test_profiles_differ_in_what_they_are_for() -> None:
    assert asked("minimal", "shmget") == EPERM
    assert asked("default", "shmget") == 0
    assert asked("default", "sched_setaffinity") == EPERM
    assert asked("gpu", "sched_setaffinity") == 0


def test_a_processor_without_a_table_is_refused() -> None:
    with pytest.raises(UnknownMachine, match="riscv64"):
        bpf("minimal", "riscv64")
    with pytest.raises(UnknownMachine, match="riscv64"):
        oci_profile("minimal", "riscv64")
