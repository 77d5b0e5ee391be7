"""The beginnings of a chat's prompt, by names that only the Coordinators of this network can make."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from archipelag_contracts.ids import CargoDigest, IslandId, UserId

from archipelag_coordinator.domain.chat import tokens_of_message

PREFIXES_MAX: Final = 16
"""The longest beginnings of a prompt that are named."""
NAME_BYTES: Final = 8
SALT_BYTES: Final = 16


@dataclass(frozen=True)
class Prefix:
    """A prompt up to the end of one of its messages."""

    name: int
    """64 bits. Equal for equal beginnings of one customer's chats with one version of a Cargo, and for no others."""
    tokens: int
    """At most, counted as a prompt's upper bound is."""


def prefixes_of(
    secret: bytes, customer: UserId, digest: CargoDigest, messages: Iterable[Mapping[str, str]]
) -> tuple[Prefix, ...]:
    """The shortest first. Each name is made of the whole one before, which nobody is told: a message that both begin
    with tells nothing of two conversations that differ before it."""
    key = _keyed(secret, "prefixes", customer, digest)
    chained, tokens, found = b"", 0, []
    for message in messages:
        said = json.dumps([message["role"], message["content"]], ensure_ascii=False)
        chained = hmac.digest(key, chained + said.encode(), "sha256")
        tokens += tokens_of_message(message["content"])
        found.append(Prefix(int.from_bytes(chained[:NAME_BYTES]), tokens))
    return tuple(found[-PREFIXES_MAX:])


def salt_of(secret: bytes, customer: UserId, digest: CargoDigest, island: IslandId) -> bytes:
    """Under which one Island may use again what it computed for one customer. Two Islands cannot tell by it that they
    work for the same."""
    return _keyed(secret, "salt", customer, digest, island)[:SALT_BYTES]


def _keyed(secret: bytes, *purpose: str) -> bytes:
    assert secret, "names made without a secret could be made by anybody"
    return hmac.digest(secret, "\n".join(purpose).encode(), "sha256")
