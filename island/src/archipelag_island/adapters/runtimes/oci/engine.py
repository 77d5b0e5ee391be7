"""Containers through an engine, Docker's or Podman's, by the API that both speak.

The engine never fetches anything: it gets a tiny image with the mount points, and what the Island has pulled, verified
and unpacked is mounted over it, read-only. So a start costs the same for images of every size, and nothing lies on the
disk twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from archipelag_island.adapters.runtimes.exchange import Exchange
from archipelag_island.adapters.runtimes.oci import cgroups, owner, prepare, smallest
from archipelag_island.adapters.runtimes.oci.api import EngineApi, find_socket
from archipelag_island.adapters.runtimes.oci.egress import Egress
from archipelag_island.adapters.runtimes.oci.engine_body import Dialect, body, probe_body
from archipelag_island.adapters.runtimes.oci.engine_container import (
    Engine,
    InEngine,
    start_container,
)
from archipelag_island.adapters.runtimes.oci.engine_image import REPOSITORY, image_of
from archipelag_island.adapters.runtimes.oci.lifecycle import (
    SOCKET,
    Container,
    ContainerRuntime,
)
from archipelag_island.errors import NotUsable, RuntimeFailed, StartFailed
from archipelag_island.runtime import CargoSpec, RuntimeInfo

log = logging.getLogger(__name__)

PROBE_S: Final = 60.0
LABEL: Final = "network.archipelag.owner"
FOLDER_PREFIX: Final = "archipelag-engine-"
ISOLATION: Final[tuple[str, ...]] = (
    "own-namespaces",
    "read-only-root",
    "bounded-tmp",
    "no-network",
    "no-capabilities",
    "no-new-privileges",
    "seccomp",
    "memory-limit",
    "cpu-limit",
    "pids-limit",
)
NOT_ISOLATED: Final[tuple[str, ...]] = (
    "shares the kernel with the host, behind a filter of system calls",
    "goes on for a while when the Island is killed, until it starts again",
)
NO_USER_NAMESPACE: Final = "its user is the host's user of the same number, who owns nothing"


class EngineRuntime(ContainerRuntime):
    """`socket`: the engine's; None: it is looked for."""

    def __init__(
        self, scratch: Path | None = None, *, socket: Path | None = None, lines_max: int = 0
    ) -> None:
        super().__init__(lines_max)
        self._scratch = scratch or Path(tempfile.gettempdir())
        self._socket = socket
        self._engine: Engine | None = None
        self._probing = asyncio.Lock()

    async def probe(self) -> RuntimeInfo:
        engine = await self._found()
        isolation, missing = ISOLATION, NOT_ISOLATED
        if engine.maps_users:
            isolation = ("user-namespace", *isolation)
        else:
            missing = (*missing, NO_USER_NAMESPACE)
        return RuntimeInfo("oci", isolation, missing, engine.name, trust_min=0)

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.api.close()
            self._engine = None

    async def recover(self) -> int:
        try:
            engine = await self._found()
        except NotUsable:
            return 0
        removed = 0
        for container, named in (await engine.api.labelled(LABEL)).items():
            if owner.orphaned(named):
                await engine.api.remove(container)
                removed += 1
        for image in await engine.api.images(f"{REPOSITORY}*"):
            await engine.api.remove_image(image)
        return removed + await asyncio.to_thread(self._remove_leftovers)

    def _remove_leftovers(self) -> int:
        removed = 0
        for folder in self._scratch.glob(f"{FOLDER_PREFIX}*"):
            if owner.orphaned(folder.name.removeprefix(FOLDER_PREFIX)):
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        for name in cgroups.names():
            if owner.orphaned(name):
                group = cgroups.of(name)
                group.kill()
                group.remove()
        return removed

    async def _open(self, spec: CargoSpec, name: str) -> tuple[Container, Callable[[], Path]]:
        engine = await self._found()
        name = owner.prefix() + name
        exchange: Exchange | None = None
        egress: Egress | None = None
        try:
            # Closed to the host's other users: what is shown of it is opened by us.
            exchange = Exchange.make(self._scratch, f"{FOLDER_PREFIX}{name}-", spec.manifest)
            if prepare.may_leave(spec):
                egress = Egress(spec.manifest.egress)
                await egress.serve(exchange.folder / prepare.EGRESS)
            assert spec.root is not None
            image = await image_of(engine.api, spec.root)
            document = body(spec, exchange, image, engine.dialect, label=(LABEL, name))
            started = await start_container(engine, name, document)
        except BaseException as error:
            if egress is not None:
                await egress.close()
            if exchange is not None:
                exchange.remove()
            if isinstance(error, OSError):
                raise StartFailed(f"{spec.manifest.slug} could not be started: {error}") from error
            raise
        container = InEngine(started, spec, exchange, egress)
        return container, lambda: Path(f"/proc/{started.pid}/root/run/archipelag/sock/{SOCKET}")

    async def _found(self) -> Engine:
        async with self._probing:
            if self._engine is None:
                self._engine = await self._find()
                log.info("oci_engine found=%s", self._engine.name)
            return self._engine

    async def _find(self) -> Engine:
        """Raises NotUsable."""
        if os.geteuid() != 0:
            raise NotUsable("needs root: the Cargo's socket is reached through its own mounts")
        api = EngineApi(find_socket(self._socket))
        try:
            async with asyncio.timeout(PROBE_S):
                return await self._try(api)
        except (RuntimeFailed, OSError, TimeoutError) as error:
            await api.close()
            raise NotUsable(f"no container can be run: {error or 'no answer'}") from error

    async def _try(self, api: EngineApi) -> Engine:
        told, info = await api.version(), await api.info()
        platform = (told.get("Components") or [{}])[0].get("Name", "Engine")
        podman = "podman" in platform.lower()
        name = f"{'podman' if podman else 'docker'} {told.get('Version', '')}"[:64]
        # With systemd's driver a parent would have to be one of its slices.
        grouped = info.get("CgroupDriver") == "cgroupfs" and not _rootless(info)
        problem: RuntimeFailed | None = None
        for own_users in (True, False) if podman else (False,):
            engine = Engine(name, api, Dialect(podman, own_users), grouped)
            try:
                mapped = await self._run_probe(engine)
            except RuntimeFailed as error:
                problem = error
                continue
            return replace(engine, maps_users=own_users or mapped)
        assert problem is not None
        raise problem

    async def _run_probe(self, engine: Engine) -> bool:
        """Whether the smallest program ran with user ids of its own. Raises RuntimeFailed."""
        folder = Path(
            tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{owner.prefix()}probe-", dir=self._scratch)
        )
        name = f"{owner.prefix()}probe"
        try:
            extra = folder / "beside"
            (root := folder / "root").mkdir()
            extra.mkdir()
            command = smallest.make_root(root)
            image = await image_of(engine.api, root)
            document = probe_body(image, root, command, engine.dialect, extra, label=(LABEL, name))
            started = await start_container(engine, name, document)
            try:
                status = (await engine.api.wait(started.id))["ExitCode"]
            finally:
                await started.remove()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if status != 0:
            raise StartFailed(f"a container ended with {status}")
        # A daemon that maps users for all its containers says so of itself.
        return "name=userns" in ((await engine.api.info()).get("SecurityOptions") or [])


def _rootless(info: dict[str, Any]) -> bool:
    return "name=rootless" in (info.get("SecurityOptions") or [])
