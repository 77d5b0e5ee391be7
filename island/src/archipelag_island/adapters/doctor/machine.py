"""What this machine has: disk, memory, graphics processors, sandboxes, engines, images."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import httpx
from archipelag_contracts.findings import Finding, looked_at
from archipelag_oci.settings import Settings as RegistrySettings

from archipelag_island.adapters import engines
from archipelag_island.adapters.probe import cpu, disk, gpu, memory
from archipelag_island.adapters.runtimes.found import found_runtimes
from archipelag_island.config import RUNTIMES, Settings
from archipelag_island.errors import NotUsable
from archipelag_island.runtime import Runtime

CONNECT_S: Final = 5.0
RUNTIME_ADVICE: Final = {
    "oci": "to run Cargos from images, start this agent as root on Linux with crun or runc installed, or with Docker",
    "wasm": "to run WASM Cargos, `pip install wasmtime`",
    "native": "to take Cargos of unknown publishers, use Linux with bubblewrap and user namespaces allowed",
}
DISK_FREE_MIN: Final = 2 << 30
MEMORY_MIN: Final = 2 << 30
FREE_MEMORY_MIN: Final = 1 << 30
GPU_DEVICES: Final = ("/dev/nvidia0", "/dev/kfd", "/dev/dri/renderD128")


async def machine(settings: Settings) -> list[Finding]:
    found = [_disk(settings.home), _processors(), _memory(), _gpu()]
    found += [*await _runtimes(settings), *_engines(settings)]
    return [*found, await _registry(settings), await _images(settings)]


def _processors() -> Finding:
    return looked_at("processors", True, f"{cpu.cores()} that may be used")


def _memory(free_bytes: int | None = None) -> Finding:
    usable = memory.usable_bytes()
    free = memory.free_bytes() if free_bytes is None else free_bytes
    found = f"{usable / 1e9:.1f} GB that may be used"
    if usable < MEMORY_MIN:
        advice = "only the smallest Cargos fit: the bundled model needs 768 MB, larger ones need their size and more"
        return looked_at("memory", True, found, advice)
    if free is not None and free < FREE_MEMORY_MIN:
        advice = "end other programs, or cap what Cargos take with ARCHIPELAG_ISLAND_MEMORY_MB_MAX"
        return looked_at("memory", True, f"{found}, but {free / 1e6:.0f} MB are free", advice)
    return looked_at("memory", True, found)


def _gpu(devices: tuple[str, ...] = GPU_DEVICES) -> Finding:
    found = ", ".join(f"{one.name} {one.memory_bytes / 1e9:.0f} GB" for one in gpu.gpus())
    if found:
        return looked_at("graphics", True, found)
    there = [name for name in devices if Path(name).exists()]
    if not there:
        return looked_at("graphics", True, "no graphics processor: Cargos run on the processors")
    advice = (
        "`pip install nvidia-ml-py` and a working driver (`nvidia-smi`) let this agent see it"
        if "/dev/nvidia0" in there
        else "the agent counts NVIDIA's only; Cargos run on the processors"
    )
    return looked_at("graphics", True, f"{there[0]} is there, but cannot be asked", advice)


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(home if home.exists() else tempfile.gettempdir()).free
    well = free >= DISK_FREE_MIN
    advice = "" if well else "free some: weights and reports need at least 2 GB"
    return looked_at("disk", well, f"{free / 1e9:.1f} GB free", advice)


async def _runtimes(settings: Settings) -> list[Finding]:
    """Each is tried. One that does not work is a finding to mend only if no other one does, or its owner named it."""
    found: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="archipelag-doctor-") as compiled:
        allowed = found_runtimes(
            settings.runtimes, Path(compiled), engine=settings.container_engine
        )
        for name in RUNTIMES:
            if name in allowed:
                found.append(await _runtime(name, allowed[name], settings))
            else:
                words = "not used, since ARCHIPELAG_ISLAND_RUNTIMES does not name it"
                found.append(looked_at(f"{name} runtime", True, words))
    return found


async def _runtime(name: str, runtime: Runtime, settings: Settings) -> Finding:
    try:
        info = await runtime.probe()
    except NotUsable as error:
        named = settings.runtimes != RUNTIMES
        return looked_at(f"{name} runtime", not named, f"not usable: {error}", RUNTIME_ADVICE[name])
    found = (
        f"{info.executor or 'a child process'}, for Cargos from trust level {info.trust_min}; "
        f"isolates by {', '.join(info.isolation)}; but a Cargo {', '.join(info.not_isolated)}"
    )
    advice = ""
    if info.trust_min > 0:
        advice = RUNTIME_ADVICE[name]
    elif name == "native" and os.getuid() == 0 and "user-of-its-own" not in info.isolation:
        advice = "install Python and this agent where every user can read them, so that Cargos get their own user"
    return looked_at(f"{name} runtime", True, found, advice)


async def _registry(settings: Settings) -> Finding:
    """The one that is set here; the catalogue's is known to a running agent only."""
    if not settings.registry:
        return looked_at("registry", True, "the one that the catalogue names")
    scheme = RegistrySettings().scheme(settings.registry)
    try:
        async with httpx.AsyncClient(timeout=CONNECT_S, trust_env=False) as client:
            answer = await client.get(f"{scheme}://{settings.registry}/v2/")
    except httpx.HTTPError as error:
        advice = "check ARCHIPELAG_REGISTRY, and that outgoing connections to it are allowed"
        why = str(error) or type(error).__name__
        return looked_at("registry", False, f"{settings.registry}: {why}", advice)
    # Whoever asks for credentials is there as well.
    if answer.status_code in (200, 401):
        return looked_at("registry", True, f"{settings.registry} answers")
    said = f"{settings.registry} answers {answer.status_code} where a registry says 200"
    return looked_at("registry", False, said, "check ARCHIPELAG_REGISTRY: it names something else")


async def _images(settings: Settings) -> Finding:
    folder = settings.home / "images"
    taken = await asyncio.to_thread(disk.taken_bytes, (folder,))
    found = f"{taken / 1e6:.0f} MB of {settings.images_mb_max} MB in {folder}"
    free = shutil.disk_usage(
        settings.home if settings.home.exists() else tempfile.gettempdir()
    ).free
    if (settings.images_mb_max << 20) - taken <= free:
        return looked_at("images", True, found)
    advice = "free some of that disk, or lower ARCHIPELAG_ISLAND_IMAGES_MB_MAX"
    return looked_at("images", True, f"{found}, but the disk has {free / 1e6:.0f} MB left", advice)


def _engines(settings: Settings) -> list[Finding]:
    found = []
    for name, module in sorted(engines.installed(settings.extra_engines).items()):
        try:
            there = find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        advice = "" if there else f"install the package that has {module}, or correct its name"
        found.append(looked_at(f"engine {name}", there, module if there else "missing", advice))
    if not found:
        advice = "install one, for example archipelag-cargo-llm-chat"
        found.append(looked_at("engines", False, "none", advice))
    return found
