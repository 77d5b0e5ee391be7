"""The native runtime: a Cargo as a process of this host, with as few rights as the host allows.

Where bubblewrap works, as root or not, it gets a root of its own with nothing in it but what an interpreter needs, its
own user, process, network and other namespaces, bounded memory for files, our filter of system calls, Landlock where
the kernel has it, and control groups where the Island may make them. Elsewhere it is a confined child process: our
filter and no network if they can be had, another user if we are root, resource limits, a bare environment; then only
the network's own Cargos may run. In both it dies with the Island. It shares the kernel; what else is missing is said
in `probe`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from archipelag_contracts.tiers import TIERS, Tier

from archipelag_island.adapters.runtimes.exchange import INSIDE, Exchange
from archipelag_island.adapters.runtimes.native import cgroups, group_parent
from archipelag_island.adapters.runtimes.native.cgroups import Cgroup
from archipelag_island.adapters.runtimes.native.host import Host, find_host
from archipelag_island.adapters.runtimes.native.plan import Plan, arguments_of, filter_file
from archipelag_island.adapters.runtimes.native.process import ConfinedProcess
from archipelag_island.adapters.runtimes.native.rights import (
    UID_COUNT,
    UID_FIRST,
    Rights,
    own_uid,
    told,
)
from archipelag_island.adapters.runtimes.native.sandbox import (
    MODELS,
    Interpreter,
    furnish,
    gpu_devices,
)
from archipelag_island.adapters.runtimes.pinned import Pinned
from archipelag_island.adapters.runtimes.served import Served, ServedCargos
from archipelag_island.errors import StartFailed
from archipelag_island.runtime import (
    CargoSpec,
    Exit,
    Handle,
    RuntimeInfo,
)

log = logging.getLogger(__name__)

START_S: Final = 60.0
PROBE_S: Final = 20.0
FOLDER_PREFIX: Final = "archipelag-cargo-"
# What an engine must be able to load, and what must hold in a sandbox.
TRIAL: Final = "archipelag_island.adapters.runtimes.trial"
LOADING: Final = "archipelag_contracts.pb.archipelag.v1.cargo_pb2_grpc"


class NativeRuntime(ServedCargos):
    """`scratch` is where the Cargos' private folders go; short, since a Unix socket's path is at most 107 bytes."""

    def __init__(self, scratch: Path | None = None, *, lines_max: int = 0) -> None:
        super().__init__(lines_max)
        self._scratch = scratch or Path(tempfile.gettempdir())
        self._host: Host | None = None
        self._finding = asyncio.Lock()

    async def probe(self) -> RuntimeInfo:
        host = await self._find_host()
        return told(host.rights, host.groups, host.executor)

    async def recover(self) -> int:
        """Processes died with the Island that started them; their folders and control groups can be left."""
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
        groups = group_parent.find_parent() if sys.platform == "linux" else None
        return removed + (groups.remove_leftovers() if groups else 0)

    async def start(self, spec: CargoSpec) -> Handle:
        host = await self._find_host()
        if spec.manifest.egress:
            raise StartFailed("a native Cargo has no network, and this one needs one")
        if "gpu" in spec.manifest.devices and sys.platform == "linux" and not gpu_devices():
            raise StartFailed("this Cargo needs a GPU, and none is in /dev: is its driver loaded?")
        rights = host.rights
        if rights.uid >= 0:
            uid = own_uid(spec.digest.encode())
            rights = replace(rights, uid=uid, gid=uid)
        handle = self._new_handle(spec)
        try:
            exchange = self._exchange(spec, rights)
        except OSError as error:
            raise StartFailed(f"{spec.module} could not be started: {error}") from error
        cgroup = self._group(host, exchange, spec.tier)
        process = None
        try:
            process = await self._begin(spec, replace(host, rights=rights), exchange, cgroup)
            async with asyncio.timeout(START_S):
                pinned = await _until_there(process, exchange)
        except BaseException as error:
            await _undo(process, exchange, cgroup)
            if process is None and isinstance(error, OSError):
                raise StartFailed(f"{spec.module} could not be started: {error}") from error
            if isinstance(error, TimeoutError):
                text = f"{spec.module} did not open its socket within {START_S:.0f} s"
                raise StartFailed(text) from None
            raise
        shown_at = INSIDE if rights.bubblewrap else None
        self._started[handle.id] = Served(process, exchange, pinned, shown_at, self._log_of(handle))
        log.info("cargo_started cargo=%s pid=%d", handle.id, process.pid)
        return handle

    def _exchange(self, spec: CargoSpec, rights: Rights) -> Exchange:
        """Raises OSError."""
        prefix = f"{FOLDER_PREFIX}{os.getpid()}-"
        made = Exchange.make(self._scratch, prefix, spec.manifest, uid=rights.uid)
        try:
            furnish(made.folder, rights.uid, rights.gid)
        except BaseException:
            made.remove()
            raise
        return made

    async def _begin(
        self, spec: CargoSpec, host: Host, exchange: Exchange, cgroup: Cgroup | None
    ) -> ConfinedProcess:
        """Raises OSError."""
        rights = host.rights
        handed = spec.model is not None and not rights.bubblewrap
        model_fd = os.open(spec.model, os.O_RDONLY | os.O_CLOEXEC) if spec.model and handed else -1
        try:
            plan = Plan(
                rights,
                host.interpreter,
                exchange,
                spec.tier,
                spec.module,
                arguments_of(spec, rights, exchange, model_fd),
                model=spec.model,
                cpus=spec.cpus,
                disk_bytes=spec.manifest.needs.disk_mb << 20,
                gpu="gpu" in spec.manifest.devices,
            )
            return await _start(plan, cgroup, (model_fd,) if handed else ())
        finally:
            if model_fd >= 0:
                os.close(model_fd)

    async def use_tool(
        self,
        module: str,
        given: Path,
        output_fd: int,
        *,
        tier: Tier,
        bytes_max: int,
        seconds: float,
    ) -> Exit | None:
        """Runs a program of ours that reads what strangers wrote, confined as a Cargo; None: it took too long.

        Its arguments are the path of `given` as it sees it, and the number of the open file that it writes to.
        Raises StartFailed.
        """
        host = await self._find_host()
        prefix = f"{FOLDER_PREFIX}{os.getpid()}-"
        exchange = Exchange(Path(tempfile.mkdtemp(prefix=prefix, dir=self._scratch)))
        cgroup = self._group(host, exchange, tier)
        process = None
        try:
            _furnish_for_trial(exchange, host.rights)
            seen = str(MODELS / given.name) if host.rights.bubblewrap else str(given)
            plan = Plan(
                host.rights,
                host.interpreter,
                exchange,
                tier,
                module,
                [seen, str(output_fd)],
                model=given,
                disk_bytes=bytes_max,
            )
            process = await _start(plan, cgroup, (output_fd,))
            return await _end_in_time(process, seconds)
        except OSError as error:
            raise StartFailed(f"{module} could not be started: {error}") from error
        finally:
            await _undo(process, exchange, cgroup)

    def _group(self, host: Host, exchange: Exchange, tier: Tier) -> Cgroup | None:
        name = cgroups.PREFIX + exchange.folder.name.removeprefix(FOLDER_PREFIX)
        return host.groups.make(name, tier) if host.groups else None

    async def _find_host(self) -> Host:
        async with self._finding:
            if self._host is None:
                self._host = await find_host(self._holds)
            return self._host

    async def _holds(self, rights: Rights, interpreter: Interpreter) -> bool:
        """Whether an interpreter loads what it needs, and, in a sandbox, finds that what we promise is so."""
        folder = tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=self._scratch)
        exchange = Exchange(Path(folder))
        try:
            _furnish_for_trial(exchange, rights)
            target = TRIAL if rights.bubblewrap else LOADING
            plan = Plan(rights, interpreter, exchange, TIERS["restricted"], target)
            process = await _start(plan, None)
        except OSError as error:
            log.debug("rights_do_not_hold rights=%s why=%s", rights, error)
            return False
        else:
            ended = await _end_in_time(process, PROBE_S)
            if ended is None or ended.status != 0:
                log.debug("rights_do_not_hold rights=%s why=%s", rights, ended)
            return ended is not None and ended.status == 0
        finally:
            exchange.remove()


async def _start(
    plan: Plan, cgroup: Cgroup | None, pass_fds: tuple[int, ...] = ()
) -> ConfinedProcess:
    """Raises OSError."""
    with filter_file(plan.tier.syscalls, wanted=plan.filtered) as filter_fd:
        process = await ConfinedProcess.start(
            plan.confinement(filter_fd, cgroup),
            pass_fds=(*pass_fds, filter_fd) if plan.filtered else pass_fds,
            cgroup=cgroup,
            nested=plan.sandboxed,
            memory_bytes=plan.tier.memory_bytes,
        )
    if plan.sandboxed:
        # Its folder for sockets is seen by it and its children only: nothing that it writes is on this host's disk.
        socket = plan.exchange.socket
        plan.exchange.socket = Path(f"/proc/{process.outer}/root{socket}")
    return process


async def _end_in_time(process: ConfinedProcess, seconds: float) -> Exit | None:
    try:
        async with asyncio.timeout(seconds):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        await process.stop(0)


async def _undo(process: ConfinedProcess | None, exchange: Exchange, cgroup: Cgroup | None) -> None:
    if process is not None:
        await process.stop(0)
    elif cgroup is not None:
        cgroup.remove()
    exchange.remove()


def _furnish_for_trial(exchange: Exchange, rights: Rights) -> None:
    exchange.folder.chmod(0o755 if rights.uid >= 0 else 0o700)
    exchange.inputs.mkdir()
    exchange.socket.parent.mkdir()
    exchange.manifest.touch()
    furnish(exchange.folder, rights.uid, rights.gid)


async def _until_there(process: ConfinedProcess, exchange: Exchange) -> Pinned | None:
    """The socket, once somebody listens to it; None where it cannot be pinned. Raises StartFailed."""
    wait_s = 0.005
    while True:
        with suppress(PermissionError, ProcessLookupError):  # What is ending has no root any more.
            if exchange.socket_stands():
                if sys.platform != "linux":
                    return None
                if (found := Pinned.listening_at(exchange.socket)) is not None:
                    return found
        if process.ended:
            raise StartFailed(str(await process.wait()))
        await asyncio.sleep(wait_s)
        wait_s = min(0.05, wait_s * 1.5)
