"""How a registry is spoken to: what is allowed, how long is waited, who we are."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from archipelag_oci.reference import hostname

AGENT: Final = "archipelag-oci/0.1"


@dataclass(frozen=True)
class Credentials:
    """For one registry. `token_host` is where else they may be sent: the host that gives out its tokens."""

    username: str
    password: str = field(repr=False)
    token_host: str = ""


@dataclass(frozen=True)
class Settings:
    plain_hosts: frozenset[str] = frozenset()
    """`host` or `host:port` that is spoken to without TLS, beside this machine's own addresses."""
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
    """By registry, `host[:port]`, as it stands in a reference."""
    connect_s: float = 10.0
    silence_s: float = 30.0
    """No byte for so long: the registry hangs."""
    bytes_s_min: int = 8 * 1024
    """Slower than this over the whole of a blob: it drips so that we wait for ever."""
    slack_s: float = 60.0
    """What a blob may take beside that."""
    attempts_max: int = 5
    """In a row without a byte gained."""
    backoff_s: float = 0.25
    backoff_s_max: float = 15.0
    chunk_bytes: int = 16 << 20
    """A larger blob is pushed in pieces."""

    def scheme(self, registry: str) -> str:
        return "http" if self.is_plain(registry) else "https"

    def is_plain(self, registry: str) -> bool:
        host = hostname(registry)
        return is_loopback(host) or registry in self.plain_hosts or host in self.plain_hosts


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
