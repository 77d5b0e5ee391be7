"""What the environment says; read here and nowhere else in the kit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_URL: Final = "http://127.0.0.1:8420"


@dataclass(frozen=True)
class Environment:
    api_url: str
    api_key: str
    signing_key: Path
    passphrase: bytes | None
    registry: str
    registry_user: str
    registry_password: str
    cache: Path


def read() -> Environment:
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    key = os.environ.get("ARCHIPELAG_CARGO_KEY") or str(Path(config, "archipelag", "cargo.key"))
    passphrase = os.environ.get("ARCHIPELAG_CARGO_PASSPHRASE", "")
    # Several Coordinators by comma; any one of them will do.
    url = os.environ.get("ARCHIPELAG_API_URL", "").split(",")[0].strip() or DEFAULT_URL
    return Environment(
        api_url=url,
        api_key=os.environ.get("ARCHIPELAG_API_KEY", ""),
        signing_key=Path(key),
        passphrase=passphrase.encode() or None,
        registry=os.environ.get("ARCHIPELAG_REGISTRY", ""),
        registry_user=os.environ.get("ARCHIPELAG_REGISTRY_USER", ""),
        registry_password=os.environ.get("ARCHIPELAG_REGISTRY_PASSWORD", ""),
        cache=Path(os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"), "archipelag"),
    )
