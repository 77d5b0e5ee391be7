"""The doctor: looks at everything an Island needs and says what to do about what is missing."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
from archipelag_oci.settings import Settings as RegistrySettings

from archipelag_island.adapters import engines, status
from archipelag_island.adapters.enrolment import GrpcEnrolment
from archipelag_island.adapters.identity import Home
from archipelag_island.adapters.probe import cpu, disk, gpu, memory
from archipelag_island.adapters.runtimes.found import found_runtimes
from archipelag_island.adapters.senses import HostSenses, line
from archipelag_island.clock import Clock
from archipelag_island.config import RUNTIMES, Settings
from archipelag_island.domain.owner import needs_the_machine
from archipelag_island.errors import IslandError, NotUsable
from archipelag_island.runtime import Runtime
from archipelag_island.services.ports import Standing
from archipelag_island.services.yield_to_owner import LOOK_S

CONNECT_S: Final = 5.0
# As many looks as it takes to tell how busy the processors are.
SENSE_LOOKS: Final = 3
RULES_ADVICE: Final = (
    "that is what its owner set; see ARCHIPELAG_ISLAND_PAUSE_… and _SCHEDULE in --help"
)
BLIND_ADVICE: Final = "use another rule, for example ARCHIPELAG_ISLAND_SCHEDULE"
TROUBLE_ADVICE: Final = "nothing has to be started again: work is taken as soon as it is mended"
RUNTIME_ADVICE: Final = {
    "oci": "to run Cargos from images, start this agent as root on Linux with crun or runc installed, or with Docker",
    "wasm": "to run WASM Cargos, `pip install wasmtime`",
    "native": "to take Cargos of unknown publishers, use Linux with bubblewrap and user namespaces allowed",
}
DISK_FREE_MIN: Final = 2 << 30
BROKER_PORT: Final = 4222


@dataclass(frozen=True)
class Finding:
    what: str
    well: bool
    found: str
    advice: str = ""


async def examine(settings: Settings, clock: Clock) -> list[Finding]:
    home = Home(settings.home)
    findings = [_folder(home)]
    standing: Standing | None = None
    if findings[0].well:
        try:
            standing = home.load()
        except IslandError as error:
            findings.append(Finding("identity", False, "not readable", str(error)))
    if findings[0].well:
        settings = replace(settings, coordinator=home.coordinator(settings.coordinator))
        findings.append(_enrolled(settings, standing))
        findings += await _coordinator(settings, home)
    if standing is not None:
        findings += [await _broker(url) for url in standing.broker_urls]
        findings.append(_credentials(standing, clock.now()))
    findings += [_disk(settings.home), _machine(), *await _runtimes(settings)]
    findings += [*_engines(settings), await _registry(settings), await _images(settings)]
    findings += [*_order(settings.home), *await _owner(settings, clock)]
    return findings


def _order(home: Path) -> list[Finding]:
    """What a running agent was told or found; nothing where none runs."""
    told = status.read(home)
    if told is None:
        return []
    if not status.is_ours(told):
        return [Finding("agent", False, "an agent of another version runs", "start it again")]
    found = []
    if told["drain"]["draining"]:
        advice = "take work again with `archipelag-island resume`"
        found.append(Finding("drain", False, "it was drained and takes no work", advice))
    if told["pause"]["paused"]:
        after = f"it works again after {told['pause']['quiet_left_s']:.0f} s without a reason"
        found.append(
            Finding(
                "pause", True, f"it is paused: {told['pause']['reason']}; {after}", RULES_ADVICE
            )
        )
    if told["trouble"]:
        found.append(Finding("trouble", False, told["trouble"], TROUBLE_ADVICE))
    return found


async def _owner(settings: Settings, clock: Clock) -> list[Finding]:
    """Rules that would pause now, and rules that can never pause, since this machine does not tell."""
    rules = settings.rules
    if not rules.any:
        return [Finding("rules", True, "none are set: this Island never pauses for its owner")]
    senses = HostSenses(clock, os.getpid())
    for _ in range(SENSE_LOOKS):
        senses.read()
        await asyncio.sleep(LOOK_S)
    seen = senses.read()
    if rules.on_metered:
        seen = replace(seen, metered=await line.ask())
    blind = [
        name
        for name, is_set, reading in (
            ("ARCHIPELAG_ISLAND_PAUSE_CPU_PERCENT", rules.cpu_percent, seen.cpu_others),
            ("ARCHIPELAG_ISLAND_PAUSE_ON_INPUT", rules.on_input, seen.input_age_s),
            ("ARCHIPELAG_ISLAND_PAUSE_ON_BATTERY", rules.on_battery, seen.on_battery),
            ("ARCHIPELAG_ISLAND_PAUSE_ON_METERED", rules.on_metered, seen.metered),
        )
        if is_set and reading is None
    ]
    found = [
        Finding(
            f"rule {name}", False, "this machine does not tell, so it never pauses", BLIND_ADVICE
        )
        for name in blind
    ]
    why = needs_the_machine(rules, seen)
    said = f"would pause now: {why}" if why else "none would pause now"
    return [*found, Finding("rules", True, said, RULES_ADVICE if why else "")]


def _folder(home: Home) -> Finding:
    try:
        home.prepare()
    except IslandError as error:
        return Finding("folder", False, str(home.folder), str(error))
    return Finding("folder", True, str(home.folder))


def _enrolled(settings: Settings, standing: Standing | None) -> Finding:
    if standing is not None:
        return Finding("enrolment", True, f"{standing.island_id}")
    ready = bool(settings.coordinator and settings.pairing_code)
    return Finding(
        "enrolment",
        ready,
        "not yet; a pairing code is set" if ready else "not yet",
        ""
        if ready
        else "make a pairing code on the Coordinator; set ARCHIPELAG_COORDINATOR and ARCHIPELAG_PAIRING_CODE",
    )


async def _coordinator(settings: Settings, home: Home) -> list[Finding]:
    if not settings.coordinator:
        advice = (
            "set ARCHIPELAG_COORDINATOR=host:port; without it broker credentials cannot be renewed"
        )
        return [Finding("Coordinator", False, "not named", advice)]
    try:
        await GrpcEnrolment(settings.coordinator, home.key()).reachable()
    except IslandError as error:
        return [Finding("Coordinator", False, settings.coordinator, str(error))]
    return [Finding("Coordinator", True, f"{settings.coordinator} answers")]


async def _broker(url: str) -> Finding:
    parts = urlsplit(url if "//" in url else f"nats://{url}")
    where = f"{parts.hostname}:{parts.port or BROKER_PORT}"
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or BROKER_PORT)
        writer.close()
    except (OSError, TimeoutError) as error:
        advice = "check that outgoing connections to it are allowed; nothing incoming is needed"
        return Finding("broker", False, f"{where}: {error or 'no answer'}", advice)
    return Finding("broker", True, f"{where} can be reached")


def _credentials(standing: Standing, now: datetime) -> Finding:
    """Credentials that seem to have ended are mostly a wrong clock."""
    left = standing.broker_jwt_expires_at - now
    hours = left.total_seconds() / 3600
    if hours > 0:
        return Finding("clock and credentials", True, f"valid for {hours:.1f} more hours")
    advice = "check this machine's clock (timedatectl); a running agent renews them by itself"
    return Finding("clock and credentials", False, f"ended {-hours:.1f} hours ago", advice)


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(home if home.exists() else tempfile.gettempdir()).free
    well = free >= DISK_FREE_MIN
    advice = "" if well else "free some: weights and reports need at least 2 GB"
    return Finding("disk", well, f"{free / 1e9:.1f} GB free", advice)


def _machine() -> Finding:
    found = f"{cpu.cores()} cores, {memory.usable_bytes() / 1e9:.1f} GB"
    for device in gpu.gpus():
        found += f", {device.name} {device.memory_bytes / 1e9:.0f} GB"
    return Finding("machine", True, found)


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
                found.append(Finding(f"{name} runtime", True, words))
    return found


async def _runtime(name: str, runtime: Runtime, settings: Settings) -> Finding:
    try:
        info = await runtime.probe()
    except NotUsable as error:
        named = settings.runtimes != RUNTIMES
        return Finding(f"{name} runtime", not named, f"not usable: {error}", RUNTIME_ADVICE[name])
    found = (
        f"{info.executor or 'a child process'}, for Cargos from trust level {info.trust_min}; "
        f"isolates by {', '.join(info.isolation)}; but a Cargo {', '.join(info.not_isolated)}"
    )
    advice = ""
    if info.trust_min > 0:
        advice = RUNTIME_ADVICE[name]
    elif name == "native" and os.getuid() == 0 and "user-of-its-own" not in info.isolation:
        advice = "install Python and this agent where every user can read them, so that Cargos get their own user"
    return Finding(f"{name} runtime", True, found, advice)


async def _registry(settings: Settings) -> Finding:
    """The one that is set here; the catalogue's is known to a running agent only."""
    if not settings.registry:
        return Finding("registry", True, "the one that the catalogue names")
    scheme = RegistrySettings().scheme(settings.registry)
    try:
        async with httpx.AsyncClient(timeout=CONNECT_S, trust_env=False) as client:
            answer = await client.get(f"{scheme}://{settings.registry}/v2/")
    except httpx.HTTPError as error:
        advice = "check ARCHIPELAG_REGISTRY, and that outgoing connections to it are allowed"
        why = str(error) or type(error).__name__
        return Finding("registry", False, f"{settings.registry}: {why}", advice)
    # Whoever asks for credentials is there as well.
    if answer.status_code in (200, 401):
        return Finding("registry", True, f"{settings.registry} answers")
    said = f"{settings.registry} answers {answer.status_code} where a registry says 200"
    return Finding("registry", False, said, "check ARCHIPELAG_REGISTRY: it names something else")


async def _images(settings: Settings) -> Finding:
    folder = settings.home / "images"
    taken = await asyncio.to_thread(disk.taken_bytes, (folder,))
    found = f"{taken / 1e6:.0f} MB of {settings.images_mb_max} MB in {folder}"
    free = shutil.disk_usage(
        settings.home if settings.home.exists() else tempfile.gettempdir()
    ).free
    if (settings.images_mb_max << 20) - taken <= free:
        return Finding("images", True, found)
    advice = "free some of that disk, or lower ARCHIPELAG_ISLAND_IMAGES_MB_MAX"
    return Finding("images", True, f"{found}, but the disk has {free / 1e6:.0f} MB left", advice)


def _engines(settings: Settings) -> list[Finding]:
    found = []
    for name, module in sorted(engines.installed(settings.extra_engines).items()):
        try:
            there = find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        advice = "" if there else f"install the package that has {module}, or correct its name"
        found.append(Finding(f"engine {name}", there, module if there else "missing", advice))
    if not found:
        advice = "install one, for example archipelag-cargo-llm-chat"
        found.append(Finding("engines", False, "none", advice))
    return found
