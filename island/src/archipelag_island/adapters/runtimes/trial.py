"""Run in a sandbox before the first Cargo is: ends with status 0 when everything holds that a sandbox promises."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import archipelag_contracts.pb.archipelag.v1.cargo_pb2
import grpc

MUST_LOAD: Final = (grpc, archipelag_contracts.pb.archipelag.v1.cargo_pb2)


def _status(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((line.split()[1] for line in lines if line.startswith(f"{name}:")), "")


def _refused(action: Callable[[], object]) -> bool:
    try:
        action()
    except OSError:
        return True
    return False


def _unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


PROMISES: Final[tuple[tuple[str, Callable[[], bool]], ...]] = (
    ("it is root", lambda: os.getuid() != 0),
    ("it has capabilities", lambda: int(_status("CapEff"), 16) == int(_status("CapBnd"), 16) == 0),
    ("it may gain privileges", lambda: _status("NoNewPrivs") == "1"),
    ("no filter of system calls holds", lambda: _status("Seccomp") == "2"),
    ("it may make user namespaces", lambda: _refused(_unshare)),
    ("it may open sockets to the network", lambda: _refused(lambda: socket.socket(socket.AF_INET))),
    ("it sees a network", lambda: Path("/proc/net/dev").read_text().count(":") <= 1),
    ("it sees this host's accounts", lambda: not Path("/etc/shadow").exists()),
    ("it sees other processes", lambda: len([p for p in os.listdir("/proc") if p.isdigit()]) <= 3),  # noqa: PTH208
    ("its root can be written to", lambda: _refused(lambda: Path("/etc/x").write_text("x"))),
    ("its /dev can be written to", lambda: _refused(lambda: Path("/dev/x").write_text("x"))),
    ("its /tmp cannot be written to", lambda: Path("/tmp/x").write_text("x") == 1),  # noqa: S108
)


def main() -> None:
    broken = [what for what, holds in PROMISES if not holds()]
    if broken:
        sys.exit("the sandbox does not hold: " + ", ".join(broken))


if __name__ == "__main__":
    main()
