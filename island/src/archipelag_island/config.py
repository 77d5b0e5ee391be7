"""Every setting of the agent, read once from the environment."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from archipelag_island.domain.caps import Caps
from archipelag_island.domain.owner import QUIET_DEFAULT_S, Rules
from archipelag_island.domain.schedule import Schedule, parse
from archipelag_island.errors import BadSettings

SLOTS_DEFAULT: Final = 4
SLOTS_MAX: Final = 256
DRAIN_S_DEFAULT: Final = 60
DRAIN_S_MAX: Final = 24 * 3600
IDLE_S_DEFAULT: Final = 900
IMAGES_MB_DEFAULT: Final = 20_000
UPDATE_KEY_DEFAULT: Final = Path("/etc/archipelag/release.pub")
API_URL_DEFAULT: Final = "http://127.0.0.1:8420"
RUNTIMES: Final = ("oci", "wasm", "native")

# Name, default and meaning, as `--help` and the reference of settings show them.
SETTINGS: Final = (
    (
        "COORDINATOR",
        "the one it enrolled with",
        "`host:port` of enrolment; `https://` in front for TLS",
    ),
    ("PAIRING_CODE", "", "needed once, to enrol; made on the Coordinator, valid 10 minutes"),
    (
        "API_URL",
        "http://127.0.0.1:8420",
        "the network's HTTP API: `earnings` and the karma in `status` are asked there",
    ),
    ("API_KEY", "", "a key of the owner's account, scope `read`, for the same; work needs none"),
    ("ISLAND_HOME", "`~/.archipelag/island`", "key, identity, journal, catalogue, control socket"),
    ("ISLAND_NAME", "the host's name", "what people see"),
    (
        "ISLAND_REGION",
        "",
        "where this machine stands, e.g. `eu-west`; free text, shown and counted",
    ),
    ("MODEL_DIR", "`models` in the home", "where weights are kept"),
    ("LOG_FORMAT", "text", "`text` for people, `json` for programs: one object a line"),
    (
        "ISLAND_CARGO_LINES_MAX",
        "0",
        "lines a minute of each Cargo's standard error that go into this log; "
        "a Cargo may write there what it was asked",
    ),
    (
        "ISLAND_METRICS_PORT",
        "off",
        "a port of the loopback where figures for a Prometheus on this machine are told at `/metrics`",
    ),
    (
        "TRACES_URL",
        "",
        "`http://host:4318/v1/traces`: where this Island's part of requests that somebody follows is sent by OTLP; "
        "needs `archipelag-island[traces]`",
    ),
    ("HUB_URL", "the public hub", "where `hf://` models come from"),
    ("ISLAND_CARGOS", "all", "the only Cargos that may run here, by slug, with commas"),
    (
        "ISLAND_EXTRA_ENGINES",
        "",
        "engines that no package announces: `name=python.package`, with commas",
    ),
    (
        "ISLAND_PUBLISHERS",
        "all",
        "the only publishers whose Cargos may run here, by the fingerprints of their keys, with commas",
    ),
    (
        "ISLAND_TRUST_MIN",
        "0",
        "the lowest trust level of a Cargo that may run here: 0 unknown to 3 the network's own",
    ),
    (
        "ISLAND_RUNTIMES",
        "all that work",
        "the only runtimes to use: oci, wasm, native, with commas",
    ),
    (
        "ISLAND_CONTAINER_ENGINE",
        "Docker's or Podman's usual place",
        "`unix://` and the socket of the engine to use where containers cannot be run directly",
    ),
    ("ISLAND_IDLE_S", str(IDLE_S_DEFAULT), "seconds after which a Cargo that nobody uses is ended"),
    ("ISLAND_KEEP_WARM", "no", "start every Cargo before anybody asks, and keep it"),
    (
        "ISLAND_KEEP_PROMPTS",
        "yes",
        "Cargos may keep what they computed of a prompt for a few minutes, for the same customer's next one",
    ),
    ("REGISTRY", "the one that the catalogue names", "`host[:port]` that images are pulled from"),
    ("REGISTRY_USER", "", "name at that registry, where it is private; goes to no other"),
    ("REGISTRY_PASSWORD", "", "password or token for it"),
    (
        "REGISTRY_PLAIN_HTTP",
        "this machine's own",
        "registries without TLS: `host[:port]`, with commas",
    ),
    (
        "ISLAND_IMAGES_MB_MAX",
        str(IMAGES_MB_DEFAULT),
        "disk that images may take; those unused for longest go first",
    ),
    ("ISLAND_SLOTS", str(SLOTS_DEFAULT), f"runs at once, 1 to {SLOTS_MAX}"),
    ("ISLAND_THREADS", "one fewer than the usable cores", "threads of each Cargo"),
    (
        "ISLAND_DRAIN_S",
        str(DRAIN_S_DEFAULT),
        "seconds that `drain` lets runs finish before it hands them over",
    ),
    ("ISLAND_CORES_MAX", "no cap", "processors that all Cargos together run on"),
    ("ISLAND_MEMORY_MB_MAX", "no cap", "memory that all Cargos together may take"),
    ("ISLAND_SEND_KB_S_MAX", "no cap", "kilobytes a second that this Island sends"),
    ("ISLAND_DISK_MB_MAX", "no cap", "disk that models and the home may take"),
    (
        "ISLAND_PAUSE_CPU_PERCENT",
        "off",
        "pause while other programs use more than this share of all processors, 1 to 100",
    ),
    ("ISLAND_PAUSE_ON_INPUT", "no", "pause while somebody uses keyboard, mouse or a terminal"),
    ("ISLAND_PAUSE_ON_BATTERY", "no", "pause on battery"),
    ("ISLAND_PAUSE_ON_METERED", "no", "pause while NetworkManager calls the line metered"),
    (
        "ISLAND_SCHEDULE",
        "always",
        "lend at these times only, by the clock of this machine: `mon-fri 18:00-08:00, sat, sun`",
    ),
    (
        "ISLAND_REMOTE_ORDERS",
        "yes",
        "heed what its owner asks for on the network's pages (drain, schedule), in addition to what is set here",
    ),
    (
        "ISLAND_UPDATES",
        "yes, where the installer laid this Island",
        "take new releases of the Island's own software; no: stay as it is",
    ),
    ("ISLAND_UPDATE_PIN", "", "the only version to take, at once; `0.2.0`"),
    ("ISLAND_UPDATE_URL", "", "where releases are; the installer sets it"),
    (
        "ISLAND_UPDATE_KEY",
        "`/etc/archipelag/release.pub`",
        "public key, in PEM, of those who release the software",
    ),
    ("ISLAND_SOFTWARE", "", "folder of the Island's own files; its unit of systemd sets it"),
    ("ISLAND_TRIAL", "", "set by the launcher for a version that has yet to show that it works"),
    (
        "ISLAND_QUIET_S",
        f"{QUIET_DEFAULT_S:g}",
        "seconds without any reason to pause before work is taken again",
    ),
)

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_FINGERPRINT: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MODULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class Settings:
    home: Path
    coordinator: str
    """host:port of the enrolment service; https:// in front for TLS."""
    name: str
    model_dir: Path
    slots: int = SLOTS_DEFAULT
    threads: int = 0
    """For each Cargo; 0: one fewer than the usable cores."""
    cargos: frozenset[str] | None = None
    """The only slugs that may run here; None: all."""
    extra_engines: Mapping[str, str] = field(default_factory=dict)
    region: str = ""
    drain_s: int = DRAIN_S_DEFAULT
    caps: Caps = field(default_factory=Caps)
    rules: Rules = field(default_factory=Rules)
    runtimes: tuple[str, ...] = RUNTIMES
    publishers: frozenset[str] | None = None
    trust_min: int = 0
    idle_s: int = IDLE_S_DEFAULT
    keep_warm: bool = False
    keep_prompts: bool = True
    remote_orders: bool = True
    container_engine: Path | None = None
    """Its socket; None: where such an engine usually listens."""
    registry: str = ""
    registry_user: str = ""
    registry_password: str = field(default="", repr=False)
    registry_plain_http: frozenset[str] = frozenset()
    images_mb_max: int = IMAGES_MB_DEFAULT
    pairing_code: str = field(default="", repr=False)
    api_url: str = API_URL_DEFAULT
    api_key: str = field(default="", repr=False)
    """Of its owner's account, for what only the Coordinator knows; no work needs it."""
    log_format: str = "text"
    cargo_lines_max: int = 0
    """Lines a minute of each Cargo's standard error that go into the Island's log; a Cargo may write there what it was
    asked. 0: none."""
    metrics_port: int = 0
    """On the loopback; 0: nobody is told figures."""
    traces_url: str = ""
    updates: bool = False
    update_pin: str = ""
    update_url: str = ""
    update_key: Path = UPDATE_KEY_DEFAULT
    software: Path | None = None
    """Where the launcher finds the Island's own files; None: it was installed by other means, and stays as it is."""
    on_trial: bool = False


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """Raises BadSettings with everything that is wrong."""
    env = os.environ if environment is None else environment

    def value(name: str, default: str = "") -> str:
        return env.get(f"ARCHIPELAG_{name}", "").strip() or default

    problems: list[str] = []

    def number(name: str, default: int, most: int) -> int:
        return _number(value(name), name, default, most, problems)

    home = Path(value("ISLAND_HOME", "~/.archipelag/island")).expanduser().absolute()
    settings = Settings(
        home=home,
        coordinator=value("COORDINATOR"),
        name=value("ISLAND_NAME", socket.gethostname() or "island")[:100],
        model_dir=Path(value("MODEL_DIR", str(home / "models"))).expanduser().absolute(),
        slots=number("ISLAND_SLOTS", SLOTS_DEFAULT, SLOTS_MAX),
        threads=number("ISLAND_THREADS", 0, 1024),
        cargos=_slugs(value("ISLAND_CARGOS"), problems) or None,
        extra_engines=_engines(value("ISLAND_EXTRA_ENGINES"), problems),
        region=value("ISLAND_REGION")[:64],
        drain_s=number("ISLAND_DRAIN_S", DRAIN_S_DEFAULT, DRAIN_S_MAX),
        caps=_caps(value, problems),
        rules=_rules(value, problems),
        runtimes=_runtimes(value("ISLAND_RUNTIMES"), problems),
        publishers=_publishers(value("ISLAND_PUBLISHERS"), problems),
        trust_min=_trust(value("ISLAND_TRUST_MIN"), problems),
        idle_s=number("ISLAND_IDLE_S", IDLE_S_DEFAULT, 30 * 86_400),
        keep_warm=_flag(value("ISLAND_KEEP_WARM"), "ISLAND_KEEP_WARM", problems),
        keep_prompts=_flag(value("ISLAND_KEEP_PROMPTS", "yes"), "ISLAND_KEEP_PROMPTS", problems),
        remote_orders=_flag(value("ISLAND_REMOTE_ORDERS", "yes"), "ISLAND_REMOTE_ORDERS", problems),
        container_engine=_socket(value("ISLAND_CONTAINER_ENGINE"), problems),
        registry=value("REGISTRY"),
        registry_user=value("REGISTRY_USER"),
        registry_password=value("REGISTRY_PASSWORD"),
        registry_plain_http=frozenset(
            host.strip() for host in value("REGISTRY_PLAIN_HTTP").split(",") if host.strip()
        ),
        images_mb_max=number("ISLAND_IMAGES_MB_MAX", IMAGES_MB_DEFAULT, 1 << 30),
        pairing_code=plain_code(value("PAIRING_CODE")),
        api_url=value("API_URL", API_URL_DEFAULT),
        api_key=value("API_KEY"),
        log_format=_one_of(value("LOG_FORMAT", "text"), "LOG_FORMAT", ("text", "json"), problems),
        cargo_lines_max=number("ISLAND_CARGO_LINES_MAX", 0, 10_000),
        metrics_port=number("ISLAND_METRICS_PORT", 0, 65_535),
        traces_url=_http_url(value("TRACES_URL"), "TRACES_URL", problems),
        updates=_flag(value("ISLAND_UPDATES", "yes"), "ISLAND_UPDATES", problems),
        update_pin=value("ISLAND_UPDATE_PIN"),
        update_url=value("ISLAND_UPDATE_URL"),
        update_key=Path(value("ISLAND_UPDATE_KEY", str(UPDATE_KEY_DEFAULT))),
        software=_folder(value("ISLAND_SOFTWARE")),
        on_trial=bool(value("ISLAND_TRIAL")),
    )
    if settings.registry_user and not settings.registry:
        # Else a catalogue could name the host that the password is sent to.
        problems.append("ARCHIPELAG_REGISTRY_USER needs ARCHIPELAG_REGISTRY: the one it is for")
    if problems:
        raise BadSettings("; ".join(problems))
    return settings


def _slugs(text: str, problems: list[str]) -> frozenset[str]:
    slugs = frozenset(slug.strip() for slug in text.split(",") if slug.strip())
    problems += [
        f"ARCHIPELAG_ISLAND_CARGOS: {slug!r} is not a slug"
        for slug in sorted(slugs)
        if not _SLUG.fullmatch(slug)
    ]
    return slugs


def plain_code(text: str) -> str:
    """A pairing code as people write it: in any case, with spaces or dashes in it."""
    return "".join(c for c in text.upper() if c.isalnum())


def _number(text: str, name: str, default: int, most: int, problems: list[str]) -> int:
    if not text:
        return default
    if text.isdigit() and 1 <= int(text) <= most:
        return int(text)
    problems.append(f"ARCHIPELAG_{name} must be 1 to {most}, not {text!r}")
    return default


def _one_of(text: str, name: str, words: tuple[str, ...], problems: list[str]) -> str:
    if text not in words:
        problems.append(f"ARCHIPELAG_{name} must be {' or '.join(words)}, not {text!r}")
    return text


def _http_url(text: str, name: str, problems: list[str]) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username):
        problems.append(f"ARCHIPELAG_{name} must be http://host:port or https://host:port")
    return text


def _caps(value: Callable[[str], str], problems: list[str]) -> Caps:
    def cap(name: str, most: int, unit: int = 1) -> int:
        return unit * _number(value(name), name, 0, most, problems)

    return Caps(
        cores=cap("ISLAND_CORES_MAX", 4096),
        memory_bytes=cap("ISLAND_MEMORY_MB_MAX", 1 << 30, 1 << 20),
        send_bytes_per_s=cap("ISLAND_SEND_KB_S_MAX", 100_000_000, 1000),
        disk_bytes=cap("ISLAND_DISK_MB_MAX", 1 << 30, 1 << 20),
    )


def _rules(value: Callable[[str], str], problems: list[str]) -> Rules:
    try:
        schedule = parse(value("ISLAND_SCHEDULE"))
    except ValueError as error:
        problems.append(f"ARCHIPELAG_ISLAND_SCHEDULE: {error}")
        schedule = Schedule()
    percent = "ISLAND_PAUSE_CPU_PERCENT"
    return Rules(
        cpu_percent=_number(value(percent), percent, 0, 100, problems),
        on_input=_flag(value("ISLAND_PAUSE_ON_INPUT"), "ISLAND_PAUSE_ON_INPUT", problems),
        on_battery=_flag(value("ISLAND_PAUSE_ON_BATTERY"), "ISLAND_PAUSE_ON_BATTERY", problems),
        on_metered=_flag(value("ISLAND_PAUSE_ON_METERED"), "ISLAND_PAUSE_ON_METERED", problems),
        schedule=schedule,
        quiet_s=_number(
            value("ISLAND_QUIET_S"), "ISLAND_QUIET_S", int(QUIET_DEFAULT_S), 86_400, problems
        ),
    )


def _folder(text: str) -> Path | None:
    return Path(text).absolute() if text else None


def _flag(text: str, name: str, problems: list[str]) -> bool:
    if text.lower() in ("yes", "true", "on", "1"):
        return True
    if text.lower() not in ("", "no", "false", "off", "0"):
        problems.append(f"ARCHIPELAG_{name} must be yes or no, not {text!r}")
    return False


def _runtimes(text: str, problems: list[str]) -> tuple[str, ...]:
    named = [name.strip() for name in text.split(",") if name.strip()]
    for name in named:
        if name not in RUNTIMES:
            problems.append(
                f"ARCHIPELAG_ISLAND_RUNTIMES: {name!r} is not one of {', '.join(RUNTIMES)}"
            )
    return tuple(name for name in RUNTIMES if name in named) or RUNTIMES


def _socket(text: str, problems: list[str]) -> Path | None:
    if text and not text.startswith("unix:///"):
        problems.append(
            f"ARCHIPELAG_ISLAND_CONTAINER_ENGINE: {text!r} is not unix:// and the path of a socket here"
        )
    return Path(text.removeprefix("unix://")) if text else None


def _publishers(text: str, problems: list[str]) -> frozenset[str] | None:
    named = [one.strip() for one in text.split(",") if one.strip()]
    problems += [
        f"ARCHIPELAG_ISLAND_PUBLISHERS: {one!r} is not a fingerprint: sha256: and 64 hexadecimal digits"
        for one in named
        if not _FINGERPRINT.fullmatch(one)
    ]
    return frozenset(named) or None


def _trust(text: str, problems: list[str]) -> int:
    if text in ("", "0", "1", "2", "3"):
        return int(text or 0)
    problems.append(f"ARCHIPELAG_ISLAND_TRUST_MIN must be 0 to 3, not {text!r}")
    return 0


def _engines(text: str, problems: list[str]) -> dict[str, str]:
    engines = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        slug, _, module = part.partition("=")
        if _SLUG.fullmatch(slug) and _MODULE.fullmatch(module):
            engines[slug] = module
        else:
            problems.append(f"ARCHIPELAG_ISLAND_EXTRA_ENGINES: {part!r} is not name=python.package")
    return engines
