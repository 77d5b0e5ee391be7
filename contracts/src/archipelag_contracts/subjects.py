"""Every NATS subject, one function each. An Island may use only what stands under its own id."""

from __future__ import annotations

from typing import Final

from archipelag_contracts.errors import BadMessage
from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId, island_id

ROOT: Final = "arc.v1"
ISLANDS: Final = f"{ROOT}.island"


def assign(island: IslandId) -> str:
    """Coordinator → Island, request and reply: Signed(Assignment) → AssignmentReply."""
    return f"{ISLANDS}.{island}.assign"


def cancel(island: IslandId) -> str:
    """Coordinator → Island: Signed(Cancel)."""
    return f"{ISLANDS}.{island}.cancel"


def heartbeat(island: IslandId) -> str:
    """Island → any Coordinator, request and reply: Signed(Heartbeat) → Signed(HeartbeatReply)."""
    return f"{ISLANDS}.{island}.heartbeat"


def out(island: IslandId, relay: RelayId, job: JobId, epoch: Epoch) -> str:
    """Island → the one Coordinator process that relays: Chunk."""
    return f"{ISLANDS}.{island}.out.{relay}.{job}.{epoch}"


def report(island: IslandId) -> str:
    """Island → any Coordinator by way of JetStream: Signed(Report)."""
    return f"{ISLANDS}.{island}.report"


def files(island: IslandId) -> str:
    """Island → any Coordinator, request and reply: FileRequest → FileReply."""
    return f"{ISLANDS}.{island}.files"


def inbox_prefix(island: IslandId) -> str:
    """Where an Island receives replies. Nobody else may listen there."""
    return f"_INBOX.{island}"


ALL_HEARTBEATS: Final = f"{ISLANDS}.*.heartbeat"
ALL_REPORTS: Final = f"{ISLANDS}.*.report"
ALL_FILES: Final = f"{ISLANDS}.*.files"
ALL_OUTPUT: Final = f"{ISLANDS}.*.out.>"


def output_of(relay: RelayId) -> str:
    """What one Coordinator process subscribes to: the output of every attempt that it relays."""
    return f"{ISLANDS}.*.out.{relay}.>"


def ended(relay: RelayId) -> str:
    """Coordinator → the Coordinator process that relays a job: this attempt's report was committed."""
    return f"{ROOT}.coordinator.{relay}.ended"


def report_at(relay: RelayId) -> str:
    """Coordinator → the Coordinator process that relays a job, request and reply: Island's id, Signed(Report)."""
    return f"{ROOT}.coordinator.{relay}.report"


def cancel_at(relay: RelayId) -> str:
    """Coordinator → the Coordinator process that relays a job, request and reply: job's id, reason."""
    return f"{ROOT}.coordinator.{relay}.cancel"


def here(relay: RelayId) -> str:
    """Coordinator → a Coordinator process, request and reply: whether it is still there."""
    return f"{ROOT}.coordinator.{relay}.here"


KEYS_CHANGED: Final = f"{ROOT}.coordinators.keys"
"""Coordinator → all Coordinators: an API key was revoked or changed; drop what is cached."""


LEFT: Final = f"{ROOT}.coordinators.left"
"""Coordinator → all Coordinators: the id of one that stops, whose jobs are to be taken over now."""

CATALOGUE_CHANGED: Final = f"{ROOT}.catalogue"
"""Coordinator → all Islands: the number of the newest catalogue, as decimal digits; ask for it soon."""


def island_publishes(island: IslandId) -> list[str]:
    """All that an Island's broker credentials let it publish."""
    own = f"{ISLANDS}.{island}"
    return [f"{own}.heartbeat", f"{own}.out.>", f"{own}.report", f"{own}.files"]


def island_subscribes(island: IslandId) -> list[str]:
    """All that an Island's broker credentials let it subscribe to."""
    own = f"{ISLANDS}.{island}"
    return [f"{own}.assign", f"{own}.cancel", f"{inbox_prefix(island)}.>", CATALOGUE_CHANGED]


def island_of(subject: str) -> IslandId:
    """The Island that a subject belongs to, as the broker enforced it. Raises BadMessage."""
    parts = subject.split(".")
    if len(parts) < 5 or not subject.startswith(ISLANDS + "."):
        raise BadMessage(f"not an Island's subject: {subject[:100]!r}")
    return island_id(parts[3])


def is_inbox_of(island: IslandId, subject: str) -> bool:
    """Whether a reply may go there: an Island could name another's inbox and have us write to it."""
    return (
        subject.startswith(inbox_prefix(island) + ".") and "*" not in subject and ">" not in subject
    )
