"""The container's configuration, as the OCI runtime specification has it: everything closed that a Cargo does not need.

Pure: a `Box` in, a document out. Its sources of mounts lie in the anteroom (see `anteroom`), never on the host by name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archipelag_island.adapters.runtimes.oci import cgroups
from archipelag_island.errors import StartFailed

# Who the Cargo is inside. Not root even there; the number that images without root use.
USER: Final = 65_532
IDS_PER_CARGO: Final = 65_536
CPU_PERIOD_US: Final = 100_000
OOM_SCORE: Final = 800
INSIDE: Final = "/run/archipelag"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT_MAX: Final = 200

MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kallsyms",
    "/proc/kmsg",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/firmware",
)
READ_ONLY: Final = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


@dataclass(frozen=True)
class Mount:
    source: str
    target: str
    writable: bool = False
    runnable: bool = False


@dataclass(frozen=True)
class Device:
    """A device node that the Cargo gets: only by its manifest."""

    path: str
    major: int
    minor: int
    kind: str = "c"
    file_mode: int = 0o666


@dataclass(frozen=True)
class Box:
    """What one container may have."""

    id: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    working_dir: str
    seccomp: Mapping[str, Any]
    memory_bytes: int
    cpus: float
    pids: int
    tmp_bytes: int
    tmp_files: int
    first_id: int
    """Of the host: the Cargo's 0 to 65535 are this and the ones above."""
    processors: tuple[int, ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    swap_limited: bool = True
    """The kernel counts swap; where it does not, there is no limit to set."""
    rlimits: Mapping[str, int] = field(default_factory=dict)


def configuration(box: Box, *, root: str) -> dict[str, Any]:
    """`config.json`."""
    ids = [{"containerID": 0, "hostID": box.first_id, "size": IDS_PER_CARGO}]
    return {
        "ociVersion": "1.0.2",
        "hostname": "cargo",
        "root": {"path": root, "readonly": True},
        "process": _process(box),
        "mounts": _mounts(box),
        "linux": {
            # No network namespace of its own: it stays in the anteroom's, which has no way out and which the
            # Cargo's own root does not own, so that nothing inside could ever set up an interface.
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            "uidMappings": ids,
            "gidMappings": ids,
            "cgroupsPath": f"/{cgroups.PARENT}/{box.id}",
            "resources": _resources(box),
            "devices": [
                {
                    "path": device.path,
                    "type": device.kind,
                    "major": device.major,
                    "minor": device.minor,
                    "fileMode": device.file_mode,
                }
                for device in box.devices
            ],
            "seccomp": dict(box.seccomp),
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
        },
    }


_NAMESPACES: Final = ("pid", "ipc", "uts", "mount", "cgroup", "user")
_CAPABILITY_SETS: Final = ("bounding", "effective", "inheritable", "permitted", "ambient")


def _process(box: Box) -> dict[str, Any]:
    return {
        "terminal": False,
        "user": {"uid": USER, "gid": USER, "umask": 0o077},
        "args": list(box.command),
        "env": [f"{name}={value}" for name, value in box.environment.items()],
        "cwd": box.working_dir,
        "capabilities": {name: [] for name in _CAPABILITY_SETS},
        "noNewPrivileges": True,
        "oomScoreAdj": OOM_SCORE,
        "rlimits": [
            {"type": name, "soft": value, "hard": value} for name, value in box.rlimits.items()
        ],
    }


def _mounts(box: Box) -> list[dict[str, Any]]:
    closed = ["nosuid", "nodev", "noexec"]
    shown = [
        Mount("/sys/devices/system/cpu", "/sys/devices/system/cpu"),
        *box.mounts,
    ]
    return [
        _mount("proc", "/proc", "proc", closed),
        _mount("tmpfs", "/dev", "tmpfs", ["nosuid", "noexec", "mode=755", "size=64k"]),
        _mount(
            "tmpfs",
            "/dev/shm",  # noqa: S108 - the Cargo's, not ours
            "tmpfs",
            [*closed, "mode=1777", f"size={box.tmp_bytes}", f"nr_inodes={box.tmp_files}"],
        ),
        _mount(
            "tmpfs",
            "/tmp",  # noqa: S108 - the Cargo's, not ours
            "tmpfs",
            # The mode is said, since a runtime else copies the one of the image's folder.
            [*closed, "mode=1777", f"size={box.tmp_bytes}", f"nr_inodes={box.tmp_files}"],
        ),
        *(_mount(m.source, m.target, "bind", ["bind", *_options(m)]) for m in shown),
    ]


def _options(mount: Mount) -> list[str]:
    runnable = [] if mount.runnable else ["noexec"]
    return ["nosuid", "nodev", *runnable, "rw" if mount.writable else "ro"]


def _mount(source: str, target: str, kind: str, options: list[str]) -> dict[str, Any]:
    return {"source": source, "destination": target, "type": kind, "options": options}


def _resources(box: Box) -> dict[str, Any]:
    memory = {"limit": box.memory_bytes}
    if box.swap_limited:
        # Memory and swap together, so no swap at all.
        memory["swap"] = box.memory_bytes
    cpu: dict[str, Any] = {"quota": round(box.cpus * CPU_PERIOD_US), "period": CPU_PERIOD_US}
    if box.processors:
        cpu["cpus"] = ",".join(str(number) for number in box.processors)
    allowed = [
        {"allow": True, "type": d.kind, "major": d.major, "minor": d.minor, "access": "rw"}
        for d in box.devices
    ]
    return {
        "memory": memory,
        "cpu": cpu,
        "pids": {"limit": box.pids},
        "devices": [{"allow": False, "access": "rwm"}, *allowed],
    }


def environment(image: Mapping[str, str]) -> dict[str, str]:
    """The image's own, then what we say; a variable that is not one is left out."""
    said = {
        name: value
        for name, value in list(image.items())[:ENVIRONMENT_MAX]
        if name and "=" not in name and "\0" not in name + value
    }
    return {"PATH": PATH, "LANG": "C.UTF-8", **said, "HOME": "/tmp", "TMPDIR": "/tmp"}  # noqa: S108


def working_dir(root: Path, wish: str) -> str:
    """A folder of the image, reached without a link: one to /proc/self/fd once led out of containers (CVE-2024-21626).

    Raises StartFailed.
    """
    path = posixpath.normpath(posixpath.join("/", wish or "/"))
    path = "/" + path.lstrip("/")
    at = root
    for part in path.split("/")[1:]:
        if not part:
            continue
        at = at / part
        if at.is_symlink() or path.split("/")[1] in ("proc", "dev", "sys"):
            raise StartFailed(f"the image's working directory {wish!r} is not a plain folder of it")
        if not at.is_dir():
            raise StartFailed(f"the image's working directory {wish!r} is not in it")
    return path
