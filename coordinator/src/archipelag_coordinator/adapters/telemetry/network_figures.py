"""What PostgreSQL says of the whole network: every Coordinator tells the same, so dashboards take the highest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics_core import Metric

from archipelag_coordinator.adapters.postgres.figures import Books, ServerFigures
from archipelag_coordinator.adapters.telemetry.families import (
    counter,
    from_nothing,
    gauge,
    gauges,
)
from archipelag_coordinator.domain.health import Chore
from archipelag_coordinator.domain.sums import Work
from archipelag_coordinator.services.world import World

UCREDITS: Final = 1_000_000
CHORES: Final = (
    "expire_reservations",
    "prune_rate_windows",
    "prune_items",
    "sweep_files",
    "ledger_audit",
    "prune_sign_in_links",
    "audit_check",
    "keep_answers",
)


@dataclass(frozen=True)
class NetworkFigures:
    """Read together, a few times a minute at most."""

    work: tuple[Work, ...]
    chores: tuple[Chore, ...]
    coordinators: int
    """That are alive."""
    has_leader: bool
    backed_up_at: float
    """Seconds since 1970; 0: never."""
    server: ServerFigures
    clock_ahead_s: float
    """This machine's, of the database's."""
    now: float
    """Seconds since 1970, when it was read."""


def network_figures(world: World, told: NetworkFigures) -> Iterator[Metric]:
    yield from _queues(world, told)
    yield from _chores(told)
    yield from _database(told.server)


def ledger_figures(told: Books, at: float) -> Iterator[Metric]:
    """`at`: seconds since 1970, when every account was read."""
    text = "When the accounts were added up for these figures."
    yield gauge("archipelag_ledger_read_timestamp_seconds", text, at)
    text = "Balances of the ledger by kind of account, in credits."
    whole = {account: amount / UCREDITS for account, amount in told.balances.items()}
    yield gauges("archipelag_ledger_balance_credits", text, ["account"], whole)
    text = "The sum of all balances, in micro-credits: 0, or the books do not balance."
    yield gauge("archipelag_ledger_sum_microcredits", text, told.sum)
    text = (
        "What accounts hold less what is reserved, in micro-credits: 0, or a reservation was lost."
    )
    yield gauge("archipelag_ledger_held_drift_microcredits", text, told.held - told.reserved)
    text = "Credits that are reserved for unfinished jobs."
    yield gauge("archipelag_ledger_reserved_credits", text, told.reserved / UCREDITS)
    text = "Reservations that have not ended."
    yield gauge("archipelag_ledger_reservations", text, told.reservations)
    text = "How long the oldest reservation is past its time; 0: none is."
    overdue = max(0.0, told.reservation_overdue_s)
    yield gauge("archipelag_ledger_reservation_overdue_seconds", text, overdue)


def _queues(world: World, told: NetworkFigures) -> Iterator[Metric]:
    slugs = [cargo.slug for cargo in world.catalogue.cargos]
    queued = from_nothing(slugs, {work.workload: work.queued for work in told.work})
    running = from_nothing(slugs, {work.workload: work.running for work in told.work})
    text = "Jobs of the whole network that have not ended."
    states = {(slug, "queued"): count for slug, count in queued.items()}
    states |= {(slug, "running"): count for slug, count in running.items()}
    yield gauges("archipelag_network_jobs", text, ["workload", "state"], states)
    oldest = dict.fromkeys(slugs, 0.0)
    for work in told.work:
        if work.oldest_at is not None:
            oldest[work.workload] = max(0.0, told.now - work.oldest_at.timestamp())
    text = "How long the oldest queued job has waited; 0: none waits."
    yield gauges("archipelag_network_queue_oldest_seconds", text, ["workload"], oldest)
    text = "Coordinators that have said that they are alive."
    yield gauge("archipelag_network_coordinators", text, told.coordinators)
    yield gauge("archipelag_network_has_leader", "1 while one leads.", told.has_leader)
    text = "When the last backup by the Coordinator's own command was whole; 0: none was made."
    yield gauge("archipelag_network_backup_timestamp_seconds", text, told.backed_up_at)
    text = "How far this machine's clock is ahead of the database's."
    yield gauge("archipelag_clock_ahead_seconds", text, told.clock_ahead_s)


def _chores(told: NetworkFigures) -> Iterator[Metric]:
    every = {(name, status): 0.0 for name in CHORES for status in ("todo", "doing", "failed")}
    late = dict.fromkeys(CHORES, 0.0)
    for chore in told.chores:
        every[chore.name, chore.status] = chore.count
        if chore.status in ("todo", "doing") and chore.oldest_at is not None:
            late[chore.name] = max(late.get(chore.name, 0), told.now - chore.oldest_at.timestamp())
    text = "Persistent background work that has not succeeded."
    yield gauges("archipelag_network_chores", text, ["chore", "state"], every)
    text = "How long the oldest of it has been due."
    yield gauges("archipelag_network_chore_late_seconds", text, ["chore"], late)


def _database(told: ServerFigures) -> Iterator[Metric]:
    server = told.counts
    text = "Connections to this database, everybody's."
    yield gauge("archipelag_database_connections", text, server["connections"])
    text = "How many the server takes."
    yield gauge("archipelag_database_connections_max", text, server["connections_max"])
    yield counter("archipelag_database_commits", "Transactions committed.", server["commits"])
    text = "Transactions rolled back."
    yield counter("archipelag_database_rollbacks", text, server["rollbacks"])
    yield counter("archipelag_database_deadlocks", "Deadlocks.", server["deadlocks"])
    text = "Blocks that were in the server's memory."
    yield counter("archipelag_database_blocks_hit", text, server["blks_hit"])
    text = "Blocks that were not."
    yield counter("archipelag_database_blocks_read", text, server["blks_read"])
    text = "Written to temporary files."
    yield counter("archipelag_database_temporary_bytes", text, server["temp_bytes"])
    yield gauge("archipelag_database_size_bytes", "Size of the database.", server["size_bytes"])
    text = "Age of the oldest open transaction."
    yield gauge("archipelag_database_transaction_oldest_seconds", text, told.transaction_oldest_s)
    text = "Connections that wait for a lock."
    yield gauge("archipelag_database_waiting_for_locks", text, told.waiting_for_locks)
