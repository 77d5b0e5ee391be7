"""Writes a profile as the runtime specification has it, and as a classic BPF program for the kernel itself."""

from __future__ import annotations

import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from errno import ENOSYS
from functools import cache
from typing import Final, assert_never

from archipelag_island.adapters.runtimes.seccomp.numbers import NUMBERS
from archipelag_island.adapters.runtimes.seccomp.policy import (
    ALLOW,
    PROFILES,
    Above,
    Case,
    Check,
    Is,
    IsNot,
)

_AUDIT: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_OCI_NAMES: Final = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
# Numbers from here on are the x32 ABI's on x86-64: another door to the same calls.
_X32: Final = 0x40000000
_HALF: Final = 0xFFFFFFFF

_LOAD, _AND, _JUMP, _EQUAL, _GREATER, _NOT_BELOW, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x06
_RET_ALLOW, _RET_ERRNO, _RET_KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16


class UnknownMachine(Exception):
    """We have no numbers for this kind of processor."""


def machine_name(machine: str | None = None) -> str:
    """Raises UnknownMachine."""
    name = machine or platform.machine()
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(name.lower(), name)
    if name not in NUMBERS:
        raise UnknownMachine(f"there is no list of system calls for {name}")
    return name


def oci_profile(profile: str, machine: str | None = None) -> dict[str, object]:
    """`linux.seccomp` of the runtime specification. Raises UnknownMachine."""
    name = machine_name(machine)
    rules = PROFILES[profile]
    numbers = NUMBERS[name]
    calls = []
    for outcome in sorted(set(rules.outcomes.values()) - {ENOSYS}):
        names = sorted(n for n, o in rules.outcomes.items() if o == outcome and n in numbers)
        calls.append({"names": names, **_oci_action(outcome)})
    for call, cases in sorted(rules.cases.items()):
        if call not in numbers:
            continue
        for case in cases:
            checks = [_oci_check(check) for check in case.checks]
            calls.append({"names": [call], **_oci_action(case.outcome), "args": checks})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": [_OCI_NAMES[name]],
        "syscalls": calls,
    }


def _oci_action(outcome: int) -> dict[str, object]:
    if outcome == ALLOW:
        return {"action": "SCMP_ACT_ALLOW"}
    return {"action": "SCMP_ACT_ERRNO", "errnoRet": outcome}


def _oci_check(check: Check) -> dict[str, object]:
    match check:
        case Is(index, value, mask):
            if mask == (1 << 64) - 1:
                return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}
            return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
        case IsNot(index, value):
            return {"index": index, "value": value, "op": "SCMP_CMP_NE"}
        case Above(index, value):
            return {"index": index, "value": value, "op": "SCMP_CMP_GT"}
        case _:
            assert_never(check)


@cache
def bpf(profile: str, machine: str | None = None) -> bytes:
    """The program: `struct sock_filter`s, as prctl and bubblewrap's `--seccomp` take them. Raises UnknownMachine."""
    name = machine_name(machine)
    rules = PROFILES[profile]
    plan: dict[int, int | tuple[Case, ...]] = {}
    for call, number in NUMBERS[name].items():
        plan[number] = rules.cases[call] if call in rules.cases else rules.outcomes[call]
    program = [
        _instruction(_LOAD, _MACHINE_AT),
        _instruction(_EQUAL, _AUDIT[name], yes=1),
        _instruction(_RETURN, _RET_KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_AT),
        _instruction(_NOT_BELOW, _X32, no=1),
        _instruction(_RETURN, _RET_ERRNO | ENOSYS),
        *_tree(_ranges(plan)),
    ]
    assert len(program) <= 4096, "the kernel takes no longer ones"
    return b"".join(program)


@dataclass(frozen=True)
class _Range:
    """From this number to the next range's, the same answer."""

    first: int
    outcome: int | tuple[Case, ...]


def _ranges(plan: dict[int, int | tuple[Case, ...]]) -> list[_Range]:
    found: list[_Range] = []
    for number in range(max(plan) + 2):
        outcome = plan.get(number, ENOSYS)
        if not found or outcome != found[-1].outcome:
            found.append(_Range(number, outcome))
    return found


def _tree(ranges: Sequence[_Range]) -> list[bytes]:
    """A search by halves. Its jumps over a half are unconditional ones, since a conditional one reaches 255 only."""
    if len(ranges) == 1:
        outcome = ranges[0].outcome
        return [_answer(outcome)] if isinstance(outcome, int) else _cases(outcome)
    middle = len(ranges) // 2
    low, high = _tree(ranges[:middle]), _tree(ranges[middle:])
    return [
        _instruction(_NOT_BELOW, ranges[middle].first, no=1),
        _instruction(_JUMP, len(low)),
        *low,
        *high,
    ]


def _cases(cases: tuple[Case, ...]) -> list[bytes]:
    program: list[bytes] = []
    for case in cases:
        checks = [_check(check) for check in case.checks]
        body = [_answer(case.outcome)]
        for check in reversed(checks):
            # A check falls through when it holds and jumps to its own end when not; from there over the rest.
            body = [*check, _instruction(_JUMP, 1), _instruction(_JUMP, len(body)), *body]
        program += body
    return [*program, _answer(ENOSYS)]


def _check(check: Check) -> list[bytes]:
    """Ends by falling through when it holds; skips one instruction more when it does not."""
    low_at = _ARGUMENTS_AT + 8 * check.index
    high_at = low_at + 4
    low, high = check.value & _HALF, check.value >> 32
    match check:
        case Is(_, _, mask):
            halves = [(high_at, high, mask >> 32), (low_at, low, mask & _HALF)]
            tests = [(at, value, part) for at, value, part in halves if part]
            program: list[bytes] = []
            for at, value, part in reversed(tests):
                after = len(program)
                masking = [_instruction(_AND, part)] if part != _HALF else []
                program = [
                    _instruction(_LOAD, at),
                    *masking,
                    _instruction(_EQUAL, value, no=after + 1),
                    *program,
                ]
            return program
        case IsNot():
            return [
                _instruction(_LOAD, high_at),
                _instruction(_EQUAL, high, no=2),
                _instruction(_LOAD, low_at),
                _instruction(_EQUAL, low, yes=1),
            ]
        case Above():
            return [
                _instruction(_LOAD, high_at),
                _instruction(_GREATER, high, yes=3),
                _instruction(_EQUAL, high, no=3),
                _instruction(_LOAD, low_at),
                _instruction(_GREATER, low, no=1),
            ]
        case _:
            assert_never(check)


def _answer(outcome: int) -> bytes:
    return _instruction(_RETURN, _RET_ALLOW if outcome == ALLOW else _RET_ERRNO | outcome)


def _instruction(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)
