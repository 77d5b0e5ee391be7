"""The Compose file as its tests read it, and its topology as processes on free ports of the loopback."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose"
OBSERVABILITY = COMPOSE.parent / "observability"
FILLED = {
    "POSTGRES_PASSWORD": "of-postgres",
    "NATS_ROUTE_PASSWORD": "of-routes",
    "GRAFANA_PASSWORD": "of-grafana",
    "METRICS_TOKEN": "a-token-of-the-metrics",
    "PUBLIC_URL": "http://127.0.0.1:8420",
    "BROKER_PUBLIC_URLS": "nats://nats-1:4222,nats://nats-2:4222,nats://nats-3:4222",
}
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")


def text(given: Mapping[str, str] = FILLED) -> str:
    """With its variables filled in, as Compose does it. Raises KeyError for one that must be given and is not."""

    def value(found: re.Match[str]) -> str:
        name, rule, default = found.groups()
        if given.get(name):
            return given[name]
        if rule and rule.endswith("-"):
            return str(default)
        raise KeyError(name)

    return _VARIABLE.sub(value, (COMPOSE / "compose.yaml").read_text())


def document(given: Mapping[str, str] = FILLED) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text(given))
    return found


def services(given: Mapping[str, str] = FILLED) -> dict[str, dict[str, Any]]:
    return dict(document(given)["services"])


def mounted() -> list[tuple[str, Path]]:
    """Each file or folder of ours that a service mounts: (service, path)."""
    found = []
    for name, service in services().items():
        for volume in service.get("volumes", ()):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            if source.startswith("."):
                found.append((name, (COMPOSE / source).resolve()))
    return found
