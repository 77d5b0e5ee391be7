"""Everything that the verbs need from the world, in one value that is passed to each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from archipelag_contracts.ids import RelayId

from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.answers import Answers
from archipelag_coordinator.domain.catalogue import Catalogue
from archipelag_coordinator.domain.demand import Demand
from archipelag_coordinator.domain.file import BlobId
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.footing import Footing
from archipelag_coordinator.domain.forecast import Forecast
from archipelag_coordinator.domain.history import History
from archipelag_coordinator.domain.place_tokens import PlaceTokens
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.tally import Tally
from archipelag_coordinator.services.ports import (
    Door,
    Ids,
    IslandBus,
    Store,
)
from archipelag_coordinator.services.ports_of_cargos import CatalogueSigner
from archipelag_coordinator.services.ports_of_figures import Figures, NoFigures
from archipelag_coordinator.services.ports_of_files import Blobs
from archipelag_coordinator.services.ports_of_people import IdentityProvider, Mail, Mailbox
from archipelag_coordinator.services.ports_of_relay import ChunkRelay
from archipelag_coordinator.services.ports_of_traces import NoTraces, Traces
from archipelag_coordinator.services.ports_of_trust import Broker

SUBMITTING_MAX: Final = 16


def _nothing() -> None:
    """Nobody waits for a nudge."""


class NoBlobs:
    """A network that keeps no files."""

    async def put(self, blob: BlobId, number: int, data: bytes) -> None:  # noqa: ARG002
        raise ConnectionError("this network keeps no files")

    async def get(self, blob: BlobId, number: int) -> bytes | None:  # noqa: ARG002
        raise ConnectionError("this network keeps no files")

    async def delete(self, blob: BlobId) -> None:
        """There is nothing."""


@dataclass(frozen=True)
class World:
    """Ports, and what this one process knows. Made by the composition root, or by a test."""

    store: Store
    door: Door
    clock: Clock
    ids: Ids
    bus: IslandBus
    relay: ChunkRelay
    broker: Broker
    home: RelayId
    """This process, as the one that relays."""
    region: str = ""
    """Where it stands; empty in a network of one region."""
    policy: Policy = field(default_factory=Policy)
    fleet: Fleet = field(default_factory=Fleet)
    answers: Answers = field(default_factory=Answers)
    catalogue: Catalogue = field(default_factory=Catalogue)
    demand: Demand = field(default_factory=Demand)
    footing: Footing = field(default_factory=Footing)
    forecast: Forecast = field(default_factory=Forecast)
    place_tokens: PlaceTokens | None = None
    """None: a place in line is kept by this process only, and found only here."""
    tally: Tally = field(default_factory=Tally)
    history: History = field(default_factory=History)
    figures: Figures = field(default_factory=NoFigures)
    traces: Traces = field(default_factory=NoTraces)
    submitting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SUBMITTING_MAX))
    """Requests that are taken at once. The others wait here, first come first served, without a connection to the
    database: whoever comes in a crowd of thousands is served late rather than refused."""
    blobs: Blobs = field(default_factory=NoBlobs)
    mail: Mail | None = None
    """None: this network sends no mail, and nobody can sign in by it."""
    mailbox: Mailbox | None = None
    """Where `mail` is kept in a network of one's own; None where it is really sent."""
    identity_provider: IdentityProvider | None = None
    """None: nobody else's word signs people in."""
    public_url: str = "http://127.0.0.1:8420"
    """Where people reach the HTTP door: links in mails begin with it."""
    prompt_secret: bytes = b""
    """Of all Coordinators of this network: beginnings of prompts are named by it. Empty: Islands keep none."""
    assignment_keys: tuple[bytes, ...] = ()
    """Public keys whose assignments Islands obey."""
    publisher_keys: tuple[bytes, ...] = ()
    """Public keys whose manifests Islands run."""
    publisher_key: bytes = b""
    """The network's own P-256 key, in DER: what it publishes itself is signed with it."""
    signer: CatalogueSigner | None = None
    """None: no documents are issued, and Islands are told of Cargos in the old way."""
    registry: str = ""
    """Where images stand whose names have no host of their own."""
    broker_urls: tuple[str, ...] = ()
    """Where Islands reach the message fabric."""
    version: str = "0"
    nudge: Callable[[], None] = _nothing
    """Says that waiting jobs may find an Island now. Must not block."""
