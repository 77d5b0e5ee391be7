"""How one native Cargo is started: its command, its limits, and what it sees, in a sandbox or without one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from archipelag_contracts.tiers import Tier

from archipelag_island.adapters.runtimes.exchange import INSIDE, Exchange, standard_arguments
from archipelag_island.adapters.runtimes.native.cgroups import Cgroup
from archipelag_island.adapters.runtimes.native.launch import Confinement, closed_above
from archipelag_island.adapters.runtimes.native.rights import Rights
from archipelag_island.adapters.runtimes.native.sandbox import MODELS, TMP, Interpreter, Sandbox
from archipelag_island.adapters.runtimes.seccomp import bpf
from archipelag_island.runtime import CargoSpec

# Addresses are not memory: threads and mapped weights take far more of them than is ever resident.
_ADDRESSES_BYTES_MIN: Final = 64 << 30
# Without a control group, how much one process may write to, by what its tier has for all.
_DATA_SHARE: Final = 4
_SOCKETS_OPTIONS: Final = "size=64k,nr_inodes=16,mode=0700"


@dataclass(frozen=True)
class Plan:
    """For one start. `target` is a package or, in a sandbox, a script that is seen there."""

    rights: Rights
    interpreter: Interpreter
    exchange: Exchange
    tier: Tier
    target: str
    arguments: list[str] = field(default_factory=list)
    model: Path | None = None
    cpus: tuple[int, ...] = ()
    disk_bytes: int = 64 << 20
    gpu: bool = False

    @property
    def sandboxed(self) -> bool:
        return bool(self.rights.bubblewrap)

    @property
    def filtered(self) -> bool:
        return self.sandboxed or self.rights.filtered

    def confinement(self, seccomp_fd: int, cgroup: Cgroup | None) -> Confinement:
        if self.sandboxed:
            return self._boxed(seccomp_fd, cgroup)
        return self._bare(seccomp_fd, cgroup)

    def _boxed(self, seccomp_fd: int, cgroup: Cgroup | None) -> Confinement:
        folder, rights = str(self.exchange.folder), self.rights
        sandbox = Sandbox(
            rights.bubblewrap,
            self.interpreter,
            folder,
            self.tier,
            seccomp_fd,
            self.model,
            self.gpu,
        )
        show = list(rights.show)
        if rights.uid >= 0 and self.model is not None and closed_above(str(self.model)):
            show.append(str(self.model))
        owner = f",uid={rights.uid},gid={rights.gid}" if rights.uid >= 0 else ""
        files = f"size={self.tier.tmp_bytes},nr_inodes={self.tier.tmp_files},mode=1777"
        return Confinement(
            command=sandbox.command(self.target, self.arguments),
            environment=_environment(TMP),
            folder="/",
            parent=os.getpid(),
            uid=rights.uid,
            gid=rights.gid,
            own_user_namespace=rights.own_user_namespace,
            drop_capabilities=rights.drop_capabilities,
            show=show,
            small={
                folder + TMP: files + owner,
                str(self.exchange.socket.parent): _SOCKETS_OPTIONS + owner,
            },
            doors=cgroup.doors if cgroup else [],
            cpus=list(self.cpus),
            limits=self._limits(cgroup),
        )

    def _bare(self, seccomp_fd: int, cgroup: Cgroup | None) -> Confinement:
        rights = self.rights
        home = str(self.exchange.folder / "tmp")
        limits = self._limits(cgroup)
        if rights.uid >= 0:
            # Counted per user over the whole machine, so only where that user has nothing else to do.
            limits["RLIMIT_NPROC"] = self.tier.pids
        return Confinement(
            command=[sys.executable, "-I", "-m", self.target, *self.arguments],
            environment=_environment(home),
            folder=home,
            parent=os.getpid(),
            uid=rights.uid,
            gid=rights.gid,
            own_network=rights.own_network,
            own_user_namespace=rights.own_user_namespace,
            drop_capabilities=rights.drop_capabilities,
            show=list(rights.show),
            doors=cgroup.doors if cgroup else [],
            cpus=list(self.cpus),
            limits=limits,
            seccomp_fd=seccomp_fd,
        )

    def _limits(self, cgroup: Cgroup | None) -> dict[str, int]:
        limits = {
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": 1024,
            "RLIMIT_MEMLOCK": 1 << 20,
            "RLIMIT_FSIZE": max(self.disk_bytes, self.tier.tmp_bytes),
            "RLIMIT_AS": max(_ADDRESSES_BYTES_MIN, 8 * self.tier.memory_bytes),
        }
        if cgroup is None or not cgroup.counts_memory:
            limits["RLIMIT_DATA"] = _DATA_SHARE * self.tier.memory_bytes
        return limits


def arguments_of(spec: CargoSpec, rights: Rights, exchange: Exchange, model_fd: int) -> list[str]:
    """Its own command, and what every Cargo is told."""
    inside = bool(rights.bubblewrap)
    folder = str(INSIDE) if inside else str(exchange.folder)
    model = ""
    if spec.model is not None:
        if inside:
            model = str(MODELS / spec.model.name)
        elif rights.uid < 0 or open_to_all(spec.model):
            model = str(spec.model)
        else:
            # Opened by us, so that it need not lie where the Cargo's user may go.
            model = f"/proc/self/fd/{model_fd}"
    return [*spec.command, *standard_arguments(spec, folder, model)]


@contextmanager
def filter_file(profile: str, *, wanted: bool) -> Iterator[int]:
    """The filter as an open file, for bubblewrap to read; -1 where it is not wanted."""
    if not wanted:
        yield -1
        return
    handle = os.memfd_create("seccomp")
    try:
        os.write(handle, bpf(profile))
        os.lseek(handle, 0, os.SEEK_SET)
        yield handle
    finally:
        os.close(handle)


def open_to_all(path: Path) -> bool:
    """Whether any user can open this file by its path."""
    path = path.resolve()
    if not path.stat().st_mode & 0o004:
        return False
    return all(folder.stat().st_mode & 0o001 for folder in path.parents)


def _environment(home: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"}
