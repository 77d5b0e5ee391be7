"""Whose connection to the broker began or ended, as its servers tell the system account."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from archipelag_contracts.errors import ContractError
from archipelag_contracts.ids import IslandId, island_id

log = logging.getLogger(__name__)

EVENT_BYTES_MAX: Final = 64 << 10
ISLANDS_MAX: Final = 100_000
# A server that goes away ends everybody's connection: the Islands go to another, or wait for it to come back.
NOT_THE_ISLANDS: Final = frozenset({"Server Shutdown"})

_Line = tuple[str, int]
"""A connection: the server's id, and its number there."""


@dataclass(frozen=True)
class Event:
    """A connection of an Island that began or ended."""

    island: IslandId
    line: _Line
    reason: str = ""


class Presence:
    """Guards which connection of each Island is its newest: only when that one ends is the Island gone.

    Its two kinds of event are heard by two subscriptions, and a cluster's come from several servers, so that they may
    arrive in any order. Not for two threads.
    """

    def __init__(
        self,
        on_gone: Callable[[IslandId], None],
        on_back: Callable[[IslandId], None],
        on_unsure: Callable[[], None],
    ) -> None:
        self._on_gone = on_gone
        self._on_back = on_back
        self._on_unsure = on_unsure
        self._newest: dict[IslandId, _Line] = {}
        self._ended: dict[IslandId, _Line] = {}

    def connected(self, data: bytes) -> None:
        event = read_event(data)
        if event is None or self._ended.get(event.island) == event.line:
            return
        _keep(self._newest, event)
        self._on_back(event.island)

    def disconnected(self, data: bytes) -> None:
        event = read_event(data)
        if event is None:
            return
        _keep(self._ended, event)
        # Of a connection that stood before this process did, nothing was heard.
        newest = self._newest.get(event.island, event.line)
        if newest != event.line:
            return
        self._newest.pop(event.island, None)
        if event.reason not in NOT_THE_ISLANDS:
            log.info("island_gone island=%s reason=%s", event.island, event.reason)
            self._on_gone(event.island)

    def unsure(self) -> None:
        """Our own connection is gone: who came and went since is not known, nor whether it was the Islands who left."""
        self._newest.clear()
        self._ended.clear()
        self._on_unsure()


def read_event(data: bytes) -> Event | None:
    """None where it is not about an Island. What it says of one is the broker's own word: it has checked the token."""
    if len(data) > EVENT_BYTES_MAX:
        return None
    try:
        said = json.loads(data)
        client = said["client"]
        return Event(
            _island_of(client["jwt"]),
            (str(said["server"]["id"]), int(client["id"])),
            str(said.get("reason", "")),
        )
    except (ValueError, LookupError, TypeError, AttributeError, ContractError):
        return (
            None  # A Coordinator's, which shows another kind of token, or an operator's own tools.
        )


def _island_of(token: str) -> IslandId:
    """The Island that a token was made for, by its name: see `credentials.island_token`."""
    claims = token.split(".")[1]
    said: Any = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return island_id(said["name"].partition(" ")[0])


def _keep(lines: dict[IslandId, _Line], event: Event) -> None:
    lines.pop(event.island, None)
    lines[event.island] = event.line
    if len(lines) > ISLANDS_MAX:
        del lines[next(iter(lines))]
