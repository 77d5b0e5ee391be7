"""From what the Island wants to start to an anteroom's plan: one container, with what its tier and manifest grant."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Final

from archipelag_island.adapters.runtimes.exchange import INSIDE, Exchange
from archipelag_island.adapters.runtimes.oci import cdi, cgroups, owner
from archipelag_island.adapters.runtimes.oci.bundle import (
    IDS_PER_CARGO,
    USER,
    Box,
    Mount,
    configuration,
    environment,
    working_dir,
)
from archipelag_island.adapters.runtimes.oci.lifecycle import arguments
from archipelag_island.adapters.runtimes.oci.limits import rlimits
from archipelag_island.adapters.runtimes.oci.plan import Plan, choose_place
from archipelag_island.adapters.runtimes.seccomp import oci_profile
from archipelag_island.errors import StartFailed
from archipelag_island.runtime import CargoSpec

# What systemd lists as unused, so that nobody else hands these user ids out.
FIRST_ID: Final = 0x7000_0000
RANGES: Final = 4_096
EGRESS: Final = "egress.sock"
EGRESS_VARIABLE: Final = "ARCHIPELAG_EGRESS"


def first_id(number: int) -> int:
    """The host's user id that is a Cargo's 0."""
    return FIRST_ID + number % RANGES * IDS_PER_CARGO


def may_leave(spec: CargoSpec) -> bool:
    """Whether this Cargo gets a way out: by its tier and by name."""
    return spec.tier.network and bool(spec.manifest.egress)


def plan(spec: CargoSpec, name: str, exchange: Exchange, executor: str, number: int) -> Plan:
    """Raises StartFailed, OSError."""
    assert spec.root is not None
    place = choose_place()
    edits = cdi.gpu(cdi.FOLDERS) if "gpu" in spec.manifest.devices else cdi.Edits()
    shown, mounts = _shown(spec, exchange, place, edits)
    said = {**dict(spec.environment), **dict(edits.environment)}
    if may_leave(spec):
        said[EGRESS_VARIABLE] = f"{INSIDE}/{EGRESS}"
    box = Box(
        id=name,
        command=arguments(spec),
        environment=environment(said),
        working_dir=working_dir(spec.root, spec.working_dir),
        seccomp=oci_profile(spec.tier.syscalls),
        memory_bytes=spec.tier.memory_bytes,
        cpus=spec.tier.cpus,
        pids=spec.tier.pids,
        tmp_bytes=spec.tier.tmp_bytes,
        tmp_files=spec.tier.tmp_files,
        first_id=first_id(number),
        processors=spec.cpus,
        mounts=mounts,
        devices=edits.devices,
        swap_limited=cgroups.limits_swap(),
        rlimits=rlimits(spec.tier),
    )
    return Plan(
        parent=os.getpid(),
        place=place,
        runtime=[executor],
        id=name,
        root=str(spec.root),
        config=configuration(box, root=f"{place}/root"),
        shown=shown,
        folders={"sock": first_id(number) + USER},
        links=dict(edits.links),
        loopback=spec.tier.syscalls in ("gpu", "network"),
    )


def _shown(
    spec: CargoSpec, exchange: Exchange, place: str, edits: cdi.Edits
) -> tuple[dict[str, str], tuple[Mount, ...]]:
    """What of the host the room shows, and where the container sees it. Raises StartFailed."""
    shown = {"manifest.json": str(exchange.manifest), "in": str(exchange.inputs)}
    targets = {"manifest.json": f"{INSIDE}/manifest.json", "in": f"{INSIDE}/in"}
    if spec.model is not None:
        if not spec.model.stat().st_mode & 0o004:
            raise StartFailed(f"{spec.model} must be readable by everyone: chmod o+r")
        shown["model"] = str(spec.model)
        targets["model"] = f"{INSIDE}/model/{spec.model.name}"
    if may_leave(spec):
        shown[EGRESS] = str(exchange.folder / EGRESS)
        targets[EGRESS] = f"{INSIDE}/{EGRESS}"
    for number, one in enumerate(edits.shown):
        shown[f"gpu-{number}"] = one.source
        targets[f"gpu-{number}"] = one.target
    return shown, (
        Mount(f"{place}/sock", f"{INSIDE}/sock", writable=True),
        *(
            # A driver's libraries are mapped as code.
            Mount(f"{place}/{name}", target, runnable=name.startswith("gpu-"))
            for name, target in targets.items()
        ),
    )


def probe_plan(executor: str, root: Path, command: str) -> Plan:
    """A container with everything that a Cargo's has, around one program."""
    place = choose_place()
    name = f"{owner.prefix()}probe-{Path(executor).name}"
    box = Box(
        id=name,
        command=(command,),
        environment=environment({}),
        working_dir="/",
        seccomp=oci_profile("minimal"),
        memory_bytes=64 << 20,
        cpus=1,
        pids=16,
        tmp_bytes=1 << 20,
        tmp_files=64,
        first_id=first_id(zlib.crc32(name.encode())),
        swap_limited=cgroups.limits_swap(),
    )
    config = configuration(box, root=f"{place}/root")
    return Plan(os.getpid(), place, [executor], name, str(root), config)
