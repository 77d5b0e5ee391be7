"""What an engine is asked for: the same box as `bundle` describes, in the words of the Docker Engine API."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from archipelag_contracts.tiers import TIERS, Tier

from archipelag_island.adapters.runtimes.exchange import INSIDE, Exchange
from archipelag_island.adapters.runtimes.oci import cgroups, prepare
from archipelag_island.adapters.runtimes.oci.bundle import (
    CPU_PERIOD_US,
    MASKED,
    OOM_SCORE,
    READ_ONLY,
    USER,
    environment,
    working_dir,
)
from archipelag_island.adapters.runtimes.oci.engine_image import mounted
from archipelag_island.adapters.runtimes.oci.lifecycle import arguments
from archipelag_island.adapters.runtimes.oci.limits import rlimits
from archipelag_island.adapters.runtimes.seccomp import oci_profile
from archipelag_island.runtime import CargoSpec

SOCKET_BYTES: Final = 1 << 20
SOCKET_FILES: Final = 64
TRIED_FIRST: Final = (
    "cachestat",
    "clone3",
    "close_range",
    "copy_file_range",
    "epoll_pwait2",
    "faccessat2",
    "fchmodat2",
    "futex_waitv",
    "membarrier",
    "openat2",
    "rseq",
    "statx",
)


@dataclass(frozen=True)
class Dialect:
    """In what engines differ."""

    podman: bool
    own_users: bool = False
    """Ask for user ids that no other container has."""

    def profile(self, name: str, folder: Path) -> str:
        """A filter of system calls: Podman takes it as a file, Docker as it is."""
        if not self.podman:
            return engine_profile(name)
        path = folder / "seccomp.json"
        path.write_text(engine_profile(name))
        return str(path)

    def tmpfs(self, size: int, files: int, mode: int = 0o1777) -> str:
        # Podman refuses the option. A file without bytes takes memory too, so the limit of that bounds them there.
        counted = "" if self.podman else f",nr_inodes={files}"
        return f"rw,nosuid,nodev,noexec,mode={mode:o},size={size}{counted}"


def body(
    spec: CargoSpec, exchange: Exchange, image: str, dialect: Dialect, *, label: tuple[str, str]
) -> dict[str, Any]:
    """Raises StartFailed, OSError."""
    assert spec.root is not None
    said = dict(spec.environment)
    mounts = [
        _bind(str(exchange.manifest), f"{INSIDE}/manifest.json"),
        _bind(str(exchange.inputs), f"{INSIDE}/in"),
    ]
    if spec.model is not None:
        mounts.append(_bind(str(spec.model), f"{INSIDE}/model/{spec.model.name}"))
    if prepare.may_leave(spec):
        said[prepare.EGRESS_VARIABLE] = f"{INSIDE}/{prepare.EGRESS}"
        mounts.append(_bind(str(exchange.folder / prepare.EGRESS), f"{INSIDE}/{prepare.EGRESS}"))
    made = _body(spec.root, image, arguments(spec), said, spec.tier, dialect, exchange.folder)
    made["Labels"] = dict([label])
    made["WorkingDir"] = working_dir(spec.root, spec.working_dir)
    host = made["HostConfig"]
    host["Mounts"] += mounts
    if spec.cpus:
        host["CpusetCpus"] = ",".join(str(number) for number in spec.cpus)
    if "gpu" in spec.manifest.devices:
        host["DeviceRequests"] = [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]
    return made


def probe_body(
    image: str, root: Path, command: str, dialect: Dialect, folder: Path, *, label: tuple[str, str]
) -> dict[str, Any]:
    made = _body(root, image, (command,), {}, TIERS["restricted"], dialect, folder)
    made["Labels"] = dict([label])
    return made


def _body(
    root: Path,
    image: str,
    command: tuple[str, ...],
    said: Mapping[str, str],
    tier: Tier,
    dialect: Dialect,
    folder: Path,
) -> dict[str, Any]:
    return {
        "Image": image,
        "Entrypoint": [command[0]],
        "Cmd": list(command[1:]),
        "User": f"{USER}:{USER}",
        "Env": [f"{name}={value}" for name, value in environment(said).items()],
        "WorkingDir": "/",
        "Hostname": "cargo",
        "AttachStdout": False,
        "NetworkDisabled": True,
        "HostConfig": _host(root, tier, dialect, folder),
    }


def _host(root: Path, tier: Tier, dialect: Dialect, folder: Path) -> dict[str, Any]:
    host: dict[str, Any] = {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "Mounts": [_bind(str(root / name), f"/{name}") for name in mounted(root)],
        "Tmpfs": _tmpfs(tier, dialect),
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={dialect.profile(tier.syscalls, folder)}"],
        "Memory": tier.memory_bytes,
        # Not NanoCpus: Docker refuses more of them than the machine has.
        "CpuPeriod": CPU_PERIOD_US,
        "CpuQuota": tier.cpus * CPU_PERIOD_US,
        "PidsLimit": tier.pids,
        "OomScoreAdj": OOM_SCORE,
        "ShmSize": tier.tmp_bytes,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "MaskedPaths": list(MASKED),
        "ReadonlyPaths": list(READ_ONLY),
        # Nothing is kept by the engine: a Cargo that writes without end would fill the disk.
        "LogConfig": {"Type": "none"},
        "RestartPolicy": {"Name": "no"},
        "Ulimits": [
            {"Name": name.removeprefix("RLIMIT_").lower(), "Soft": value, "Hard": value}
            for name, value in rlimits(tier).items()
        ],
    }
    if cgroups.limits_swap():
        host["MemorySwap"] = tier.memory_bytes
    if dialect.own_users:
        host["UsernsMode"] = "auto"
    return host


def _tmpfs(tier: Tier, dialect: Dialect) -> dict[str, str]:
    places = {
        "/tmp": dialect.tmpfs(tier.tmp_bytes, tier.tmp_files),  # noqa: S108 - the Cargo's, not ours
        f"{INSIDE}/sock": dialect.tmpfs(SOCKET_BYTES, SOCKET_FILES),
    }
    if dialect.podman:
        # It would add these itself, without bounds.
        places["/var/tmp"] = dialect.tmpfs(tier.tmp_bytes, tier.tmp_files)  # noqa: S108
        places["/run"] = dialect.tmpfs(SOCKET_BYTES, SOCKET_FILES, 0o755) + ",notmpcopyup"
    return places


def engine_profile(name: str) -> str:
    """The same table. Engines before Docker 21 know no error but EPERM for what is not in it; libraries that try a
    newer call first go on with an older one only after ENOSYS."""
    profile: dict[str, Any] = dict(oci_profile(name))
    named = {call for rule in profile["syscalls"] for call in rule["names"]}
    unknown = {
        "names": [call for call in TRIED_FIRST if call not in named],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": errno.ENOSYS,
    }
    return json.dumps({**profile, "syscalls": [*profile["syscalls"], unknown]})


def _bind(source: str, target: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True}
