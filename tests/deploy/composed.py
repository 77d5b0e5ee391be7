"""The Compose file as its tests read it, and its topology as processes on free ports of the loopback."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
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
FIRST, LINKED = "first-region.yaml", "linked-region.yaml"
"""What is laid over the Compose file where there are several regions."""
FILLED_OF: Mapping[str, Mapping[str, str]] = {
    FIRST: {"REGION": "east", "PRIVATE_ADDRESS": "10.8.0.1"},
    LINKED: {"REGION": "west", "FIRST_REGION": "east", "FIRST_ADDRESS": "first"},
}
"""What each of them asks for besides."""
_WHOLE = ("command", "test")
"""Lists that take the place of what they are laid over; to all others is added."""
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")


@dataclass(frozen=True)
class Instead:
    """What takes a place wholly, by `!override`; None empties it, by `!reset`."""

    value: Any


class _Loader(yaml.SafeLoader):
    """Knows the tags of Compose."""


def _instead(loader: _Loader, node: yaml.Node) -> Instead:
    if isinstance(node, yaml.MappingNode):
        return Instead(loader.construct_mapping(node, deep=True))
    assert isinstance(node, yaml.ScalarNode) and node.value == "null", node
    return Instead(None)


_Loader.add_constructor("!override", _instead)
_Loader.add_constructor("!reset", _instead)


def text(given: Mapping[str, str] = FILLED, file: str = "compose.yaml") -> str:
    """With its variables filled in, as Compose does it. Raises KeyError for one that must be given and is not."""

    def value(found: re.Match[str]) -> str:
        name, rule, default = found.groups()
        if given.get(name):
            return given[name]
        if rule and rule.endswith("-"):
            return str(default)
        raise KeyError(name)

    return _VARIABLE.sub(value, (COMPOSE / file).read_text())


def document(given: Mapping[str, str] = FILLED, over: str = "") -> dict[str, Any]:
    """`over`: the file that is laid over it, whose variables have been given too."""
    found: dict[str, Any] = yaml.safe_load(text(given))
    if over:
        given = {**given, **FILLED_OF[over]}
        found = laid_over(found, yaml.load(text(given, over), _Loader))
    return found


def laid_over(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As Compose merges two files: maps by their keys, lists one after the other, and all else is replaced."""
    found = dict(under)
    for name, value in over.items():
        here = found.get(name)
        if isinstance(value, Instead):
            found[name] = value.value
            if value.value is None:
                del found[name]
        elif isinstance(value, dict) and isinstance(here, dict):
            found[name] = laid_over(here, value)
        elif isinstance(value, list) and isinstance(here, list) and name not in _WHOLE:
            found[name] = [*here, *value]
        else:
            found[name] = value
    return found


def services(given: Mapping[str, str] = FILLED, over: str = "") -> dict[str, dict[str, Any]]:
    return dict(document(given, over)["services"])


def mounted() -> list[tuple[str, Path]]:
    """Each file or folder of ours that a service mounts: (service, path)."""
    found = []
    for name, service in services().items():
        for volume in service.get("volumes", ()):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            if source.startswith("."):
                found.append((name, (COMPOSE / source).resolve()))
    return found
