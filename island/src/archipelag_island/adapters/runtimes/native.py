"""The native runtime: a Cargo as a child process with as few rights as this host allows.

It gets a user of its own (when we are root and that user can run our interpreter), no capabilities, no new
privileges, a network namespace without a network, resource limits, a private folder and a bare environment, and it
dies with the Island. It still shares the kernel and whatever its user may read: what is missing is said in `probe`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from archipelag_island.adapters.runtimes.cargo_client import CargoClient
from archipelag_island.adapters.runtimes.launch import Confinement, closed_above
from archipelag_island.adapters.runtimes.process import ConfinedProcess
from archipelag_island.errors import CargoDied, StartFailed
from archipelag_island.runtime import (
    CargoSpec,
    Consumption,
    Description,
    Exit,
    Handle,
    RunEvent,
    RunRequest,
    RuntimeInfo,
)

log = logging.getLogger(__name__)

START_S: Final = 60.0
PROBE_S: Final = 20.0
DEATH_NOTICED_S: Final = 1.0
# The range that systemd hands out for services without a user of their own.
UID_FIRST: Final = 61_184
UID_COUNT: Final = 4_096
FOLDER_PREFIX: Final = "archipelag-cargo-"
# What an engine must be able to load in its confinement.
PROBE_IMPORTS: Final = "import grpc, archipelag_contracts.pb.archipelag.v1.cargo_pb2"


@dataclass(frozen=True)
class Rights:
    """What a Cargo runs as on this host; found out by trying."""

    uid: int = -1
    gid: int = -1
    own_network: bool = False
    own_user_namespace: bool = False
    drop_capabilities: bool = False
    show: tuple[str, ...] = ()
    """Folders of the interpreter that this user could not reach, shown in a mount namespace."""


@dataclass
class _Started:
    process: ConfinedProcess
    client: CargoClient
    folder: Path


class NativeRuntime:
    """`scratch` is where the Cargos' private folders go; short, since a Unix socket's path is at most 107 bytes."""

    def __init__(self, scratch: Path | None = None) -> None:
        self._scratch = scratch or Path(tempfile.gettempdir())
        self._started: dict[str, _Started] = {}
        self._ended: dict[str, tuple[Exit, Consumption]] = {}
        self._rights: Rights | None = None
        self._count = 0

    async def probe(self) -> RuntimeInfo:
        rights = await self._find_rights()
        isolation = [
            "own-process",
            "process-group",
            "no-new-privileges",
            "rlimits",
            "private-folder",
        ]
        isolation += ["bare-environment", "dies-with-island", "memory-watch"]
        missing = ["shares the kernel with the host, without a system call filter"]
        if rights.uid >= 0:
            isolation.append("user-of-its-own")
            missing.append("can read every file on this host that any user may read")
            if rights.show:
                isolation.append("mount-namespace")
        else:
            missing.append("can read and change the files of the user that runs the Island")
        if rights.drop_capabilities or rights.uid >= 0 or os.getuid() != 0:
            isolation.append("no-capabilities")
        if rights.own_network or rights.own_user_namespace:
            isolation.append("no-network")
        else:
            missing.append("can reach the network")
        return RuntimeInfo("native", tuple(isolation), tuple(missing))

    async def recover(self) -> int:
        """Processes died with the Island that started them; only their folders can be left."""
        return await asyncio.to_thread(self._remove_leftovers)

    def _remove_leftovers(self) -> int:
        removed = 0
        for folder in self._scratch.glob(f"{FOLDER_PREFIX}*"):
            owner = folder.name.removeprefix(FOLDER_PREFIX).split("-")[0]
            if not owner.isdigit() or Path(f"/proc/{owner}").exists():
                continue
            if folder.stat().st_uid in (os.getuid(), *range(UID_FIRST, UID_FIRST + UID_COUNT)):
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed

    async def start(self, spec: CargoSpec) -> Handle:
        rights = await self._find_rights()
        if rights.uid >= 0:
            uid = _own_uid(spec.digest.encode())
            rights = replace(rights, uid=uid, gid=uid)
        self._count += 1
        handle = Handle(f"{spec.manifest.slug}-{self._count}")
        folder = self._make_folder(rights)
        model_fd = -1
        try:
            manifest = folder / "manifest.json"
            manifest.write_bytes(spec.manifest.canonical())
            manifest.chmod(0o644)
            model = ""
            if spec.model is not None:
                # Opened by us, so that it need not lie where the Cargo's user may go.
                model_fd = os.open(spec.model, os.O_RDONLY | os.O_CLOEXEC)
                model = str(spec.model) if _open_to_all(spec.model) or rights.uid < 0 else ""
                model = model or f"/proc/self/fd/{model_fd}"
            command = _command(spec, folder, model)
            confinement = _confinement(spec, command, folder, rights)
            process = await ConfinedProcess.start(
                confinement, pass_fds=(model_fd,) if model_fd >= 0 else ()
            )
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise StartFailed(f"{spec.module} could not be started: {error}") from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            if model_fd >= 0:
                os.close(model_fd)
        try:
            async with asyncio.timeout(START_S):
                await _until_there(process, folder / "cargo.sock")
        except BaseException as error:
            await process.stop(0)
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, TimeoutError):
                raise StartFailed(
                    f"{spec.module} did not open its socket within {START_S:.0f} s"
                ) from None
            raise
        client = CargoClient(str(folder / "cargo.sock"))
        self._started[handle.id] = _Started(process, client, folder)
        log.info("cargo_started cargo=%s pid=%d", handle.id, process.pid)
        return handle

    async def describe(self, handle: Handle) -> Description:
        started = self._alive(handle)
        try:
            return await started.client.describe()
        except CargoDied as error:
            raise await self._why_died(started, error) from error

    async def run(self, handle: Handle, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        started = self._alive(handle)
        try:
            async with aclosing(started.client.run(request)) as events:
                async for event in events:
                    yield event
        except CargoDied as error:
            raise await self._why_died(started, error) from error

    async def wait(self, handle: Handle) -> Exit:
        if handle.id in self._ended:
            return self._ended[handle.id][0]
        return await self._started[handle.id].process.wait()

    async def stop(self, handle: Handle, grace_s: float) -> None:
        started = self._started.get(handle.id)
        if started is None:
            return
        started.process.usage()
        await started.process.stop(grace_s)
        ended = await started.process.wait()
        if self._started.pop(handle.id, None) is None:
            return
        self._ended[handle.id] = (ended, started.process.usage())
        if len(self._ended) > 100:
            del self._ended[next(iter(self._ended))]
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await started.client.close()
        shutil.rmtree(started.folder, ignore_errors=True)

    def usage(self, handle: Handle) -> Consumption:
        if handle.id in self._ended:
            return self._ended[handle.id][1]
        started = self._started.get(handle.id)
        return started.process.usage() if started else Consumption()

    def _alive(self, handle: Handle) -> _Started:
        started = self._started.get(handle.id)
        if started is None:
            raise CargoDied("it was stopped")
        return started

    async def _why_died(self, started: _Started, error: CargoDied) -> CargoDied:
        """A broken call is noticed before the process's end; its last words are worth a short wait."""
        try:
            async with asyncio.timeout(DEATH_NOTICED_S):
                return CargoDied(str(await started.process.wait()))
        except TimeoutError:
            return error

    def _make_folder(self, rights: Rights) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=self._scratch))
        if rights.uid >= 0:
            os.chown(folder, rights.uid, rights.gid)
        return folder

    async def _find_rights(self) -> Rights:
        if self._rights is None:
            self._rights = await self._try_rights()
            log.info("native_rights rights=%s", self._rights)
        return self._rights

    async def _try_rights(self) -> Rights:
        """The fewest rights with which an engine can still load what it needs."""
        if os.getuid() == 0:
            uid = _own_uid(b"probe")
            own = Rights(own_network=True, drop_capabilities=True)
            mine = replace(own, uid=uid, gid=uid)
            candidates = [
                mine,
                *([replace(mine, show=hidden)] if (hidden := _hidden()) else []),
                Rights(uid, uid, drop_capabilities=True),
                own,
                Rights(drop_capabilities=True),
            ]
        else:
            candidates = [Rights(own_user_namespace=True)]
        for rights in candidates:
            if await self._holds(rights):
                return rights
        return Rights()

    async def _holds(self, rights: Rights) -> bool:
        folder = self._make_folder(rights)
        try:
            command = [sys.executable, "-I", "-c", PROBE_IMPORTS]
            process = await ConfinedProcess.start(_base(command, folder, rights))
            try:
                async with asyncio.timeout(PROBE_S):
                    ended = await process.wait()
            except TimeoutError:
                return False
            finally:
                await process.stop(0)
            if ended.status != 0:
                log.debug("rights_do_not_hold rights=%s why=%s", rights, ended)
            return ended.status == 0
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _command(spec: CargoSpec, folder: Path, model: str) -> list[str]:
    command = [sys.executable, "-I", "-m", spec.module, "--socket", str(folder / "cargo.sock")]
    command += ["--manifest", str(folder / "manifest.json")]
    if model:
        command += ["--model", model]
    return [*command, "--slots", str(spec.slots), "--threads", str(spec.threads)]


def _base(command: list[str], folder: Path, rights: Rights) -> Confinement:
    return Confinement(
        command=command,
        environment={
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
        },
        folder=str(folder),
        parent=os.getpid(),
        uid=rights.uid,
        gid=rights.gid,
        own_network=rights.own_network,
        own_user_namespace=rights.own_user_namespace,
        drop_capabilities=rights.drop_capabilities,
        show=list(rights.show),
        limits={"RLIMIT_CORE": 0},
    )


def _confinement(spec: CargoSpec, command: list[str], folder: Path, rights: Rights) -> Confinement:
    needs = spec.manifest.needs
    limits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 1024,
        "RLIMIT_FSIZE": max(64, needs.disk_mb) << 20,
        # Far above what is resident: threads and mapped weights take addresses, not memory.
        "RLIMIT_AS": max(16 << 30, 8 * needs.memory_mb << 20),
    }
    if rights.uid >= 0:
        # Counted per user over the whole machine, so only where that user has nothing else to do.
        limits["RLIMIT_NPROC"] = 1024
    return replace(_base(command, folder, rights), limits=limits, cpus=list(spec.cpus))


async def _until_there(process: ConfinedProcess, socket: Path) -> None:
    """Raises StartFailed when the process ends first."""
    wait_s = 0.005
    while not os.access(socket, os.F_OK):
        if process.ended:
            raise StartFailed(str(await process.wait()))
        await asyncio.sleep(wait_s)
        wait_s = min(0.05, wait_s * 1.5)


def _own_uid(seed: bytes) -> int:
    """A user that nobody else is: `nobody` may own other things, and two Cargos shall not reach each other."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    start = zlib.crc32(seed) % UID_COUNT
    return next(
        UID_FIRST + (start + step) % UID_COUNT
        for step in range(UID_COUNT)
        if UID_FIRST + (start + step) % UID_COUNT not in taken
    )


def _hidden() -> tuple[str, ...]:
    """Folders that an interpreter needs and that lie in a closed one, outermost only."""
    paths = {str(Path(p).resolve()) for p in (sys.prefix, sys.base_prefix, *sys.path) if p}
    closed = sorted(p for p in paths if Path(p).is_dir() and closed_above(p))
    return tuple(p for p in closed if not any(p.startswith(other + "/") for other in closed))


def _open_to_all(path: Path) -> bool:
    """Whether any user can open this file by its path."""
    path = path.resolve()
    if not path.stat().st_mode & stat.S_IROTH:
        return False
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
