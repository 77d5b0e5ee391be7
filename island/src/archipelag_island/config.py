"""Every setting of the agent, read once from the environment."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from archipelag_island.errors import BadSettings

SLOTS_DEFAULT: Final = 4
SLOTS_MAX: Final = 256

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
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
    pairing_code: str = field(default="", repr=False)


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """Raises BadSettings with everything that is wrong."""
    env = os.environ if environment is None else environment

    def value(name: str, default: str = "") -> str:
        return env.get(f"ARCHIPELAG_{name}", "").strip() or default

    problems: list[str] = []
    home = Path(value("ISLAND_HOME", "~/.archipelag/island")).expanduser().absolute()
    cargos = [slug.strip() for slug in value("ISLAND_CARGOS").split(",") if slug.strip()]
    problems += [
        f"ARCHIPELAG_ISLAND_CARGOS: {slug!r} is not a slug"
        for slug in cargos
        if not _SLUG.fullmatch(slug)
    ]
    settings = Settings(
        home=home,
        coordinator=value("COORDINATOR"),
        name=value("ISLAND_NAME", socket.gethostname() or "island")[:100],
        model_dir=Path(value("MODEL_DIR", str(home / "models"))).expanduser().absolute(),
        slots=_number(value("ISLAND_SLOTS"), "ISLAND_SLOTS", SLOTS_DEFAULT, SLOTS_MAX, problems),
        threads=_number(value("ISLAND_THREADS"), "ISLAND_THREADS", 0, 1024, problems),
        cargos=frozenset(cargos) or None,
        extra_engines=_engines(value("ISLAND_EXTRA_ENGINES"), problems),
        region=value("ISLAND_REGION")[:64],
        pairing_code=value("PAIRING_CODE").upper(),
    )
    if problems:
        raise BadSettings("; ".join(problems))
    return settings


def _number(text: str, name: str, default: int, most: int, problems: list[str]) -> int:
    if not text:
        return default
    if text.isdigit() and 1 <= int(text) <= most:
        return int(text)
    problems.append(f"ARCHIPELAG_{name} must be 1 to {most}, not {text!r}")
    return default


def _engines(text: str, problems: list[str]) -> dict[str, str]:
    engines = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        slug, _, module = part.partition("=")
        if _SLUG.fullmatch(slug) and _MODULE.fullmatch(module):
            engines[slug] = module
        else:
            problems.append(f"ARCHIPELAG_ISLAND_EXTRA_ENGINES: {part!r} is not name=python.package")
    return engines
