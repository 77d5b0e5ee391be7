"""The figures without which nobody could say how the network is: of each dashboard those that the pages show, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Across(Enum):
    """How the samples of one name become one number."""

    SUM = "sum"
    MOST = "most"
    LEAST = "least"
    FARTHEST = "farthest"
    """From zero, on either side."""


@dataclass(frozen=True)
class Sample:
    """What is told to Prometheus under this name, of those that have the label, if one is named."""

    name: str
    label: tuple[str, str] | None = None
    across: Across = Across.SUM


class Shows(Enum):
    """What is drawn of a minute."""

    RISE = "rise"
    """By how much a count grew in it."""
    MEAN = "mean"
    """Its rise, by the rise of how often it was measured."""
    MOST = "most"
    LEAST = "least"


@dataclass(frozen=True)
class Essential:
    """One plot. `times` makes its unit of the sample's."""

    title: str
    unit: str
    shows: Shows
    sample: Sample
    per: Sample | None = None
    times: float = 1.0
    places: int = 0


def _rise(title: str, unit: str, name: str, label: tuple[str, str] | None = None) -> Essential:
    return Essential(title, unit, Shows.RISE, Sample(name, label))


def _mean(title: str, name: str, places: int = 1) -> Essential:
    total, count = Sample(f"{name}_sum"), Sample(f"{name}_count")
    return Essential(title, "ms", Shows.MEAN, total, count, 1000, places)


def _most(
    title: str,
    unit: str,
    name: str,
    label: tuple[str, str] | None = None,
    across: Across = Across.SUM,
    times: float = 1.0,
    places: int = 0,
) -> Essential:
    return Essential(
        title, unit, Shows.MOST, Sample(name, label, across), times=times, places=places
    )


def _least(title: str, unit: str, name: str, label: tuple[str, str] | None = None) -> Essential:
    return Essential(title, unit, Shows.LEAST, Sample(name, label, Across.SUM))


_CPU: Final = Essential(
    "Processor time", "s", Shows.RISE, Sample("process_cpu_seconds_total"), places=1
)
_PAID: Final = Essential(
    "Paid by customers", "credits", Shows.RISE, Sample("archipelag_charged_credits_total"), places=3
)

ESSENTIALS: Final[Mapping[str, tuple[Essential, ...]]] = {
    "network": (
        _least("Coordinators alive", "alive", "archipelag_network_coordinators"),
        _least("Islands ready", "ready", "archipelag_islands", ("state", "ready")),
        _most("Streams at once", "streams", "archipelag_streams", ("state", "running")),
        _most("Readers at once", "readers", "archipelag_readers"),
        _most("Slots taken", "slots", "archipelag_slots_busy"),
        _rise("Answers of the HTTP door", "answers", "archipelag_http_requests_total"),
        _rise("Requests refused", "requests", "archipelag_requests_refused_total"),
        _rise("Tokens and other items", "items", "archipelag_items_total"),
        _mean("Time to first item", "archipelag_first_item_seconds"),
        _mean("Time between items", "archipelag_between_items_seconds"),
        _mean("Wait for an Island", "archipelag_queue_wait_seconds"),
        _CPU,
        _most("Memory", "MB", "process_resident_memory_bytes", times=1e-6),
        _most(
            "Longest lateness of the event loop",
            "ms",
            "archipelag_event_loop_lag_seconds",
            times=1000,
            places=1,
        ),
    ),
    "jobs": (
        _rise("Submitted", "jobs", "archipelag_jobs_submitted_total"),
        _rise("Succeeded", "jobs", "archipelag_jobs_ended_total", ("status", "succeeded")),
        _rise("Failed", "jobs", "archipelag_jobs_failed_total"),
        _most("Queued", "jobs", "archipelag_network_jobs", ("state", "queued")),
        _most("Running", "jobs", "archipelag_network_jobs", ("state", "running")),
        _most(
            "Oldest that waits", "s", "archipelag_network_queue_oldest_seconds", across=Across.MOST
        ),
        _rise(
            "Attempts that failed",
            "attempts",
            "archipelag_attempts_ended_total",
            ("status", "failed"),
        ),
        _rise("Failovers", "failovers", "archipelag_failovers_total"),
        _rise(
            "Assignments accepted",
            "assignments",
            "archipelag_assignments_total",
            ("outcome", "accepted"),
        ),
        _rise(
            "Placements that found nobody", "tries", "archipelag_placements_without_island_total"
        ),
        _rise(
            "Chats whose Island remembers some of them",
            "chats",
            "archipelag_chats_begun_total",
            ("remembered", "yes"),
        ),
        _rise(
            "Prompt tokens that were not read again",
            "tokens",
            "archipelag_cached_prompt_tokens_total",
        ),
        _mean("Choice of an Island", "archipelag_placement_seconds", 2),
        _mean("Assignment", "archipelag_assign_seconds"),
        _mean("Settlement", "archipelag_settlement_seconds"),
        _rise("Reports settled", "reports", "archipelag_reports_total", ("outcome", "settled")),
    ),
    "islands": (
        _most("Ready", "Islands", "archipelag_islands", ("state", "ready")),
        _most("Silent", "Islands", "archipelag_islands", ("state", "silent")),
        _most("Slots there are", "slots", "archipelag_slots"),
        _most("Slots taken", "slots", "archipelag_slots_busy"),
        _most("Warm Cargos", "on Islands", "archipelag_islands_warm"),
        _rise(
            "Heartbeats taken", "heartbeats", "archipelag_heartbeats_total", ("outcome", "taken")
        ),
        _most(
            "Round trip to the broker, median",
            "ms",
            "archipelag_island_round_trip_seconds",
            times=1000,
            places=1,
        ),
        _most("Await approval", "Islands", "archipelag_islands_unapproved"),
        _rise("Attempts lost", "attempts", "archipelag_attempts_ended_total", ("status", "lost")),
        _rise(
            "Output that broke the protocol",
            "attempts",
            "archipelag_relay_events_total",
            ("kind", "wrong"),
        ),
    ),
    "ledger": (
        _most(
            "Sum of all balances",
            "micro-credits",
            "archipelag_ledger_sum_microcredits",
            across=Across.FARTHEST,
        ),
        _most(
            "Held less reserved",
            "micro-credits",
            "archipelag_ledger_held_drift_microcredits",
            across=Across.FARTHEST,
        ),
        _most("Accounts that drifted", "accounts", "archipelag_ledger_drifted_accounts"),
        _most("Audit log broken", "found", "archipelag_audit_broken"),
        _most(
            "Balances of customers",
            "credits",
            "archipelag_ledger_balance_credits",
            ("account", "user"),
            places=2,
        ),
        _PAID,
        _most("Reserved", "credits", "archipelag_ledger_reserved_credits", places=2),
        _most("Reservations", "reservations", "archipelag_ledger_reservations"),
        _most(
            "Oldest reservation past its time", "s", "archipelag_ledger_reservation_overdue_seconds"
        ),
    ),
    "fabric": (
        _least("Broker connected", "connected", "archipelag_broker_connected"),
        _least("Broker servers", "up", "gnatsd_up"),
        _rise("Messages to the broker", "messages", "gnatsd_varz_in_msgs"),
        _rise("Messages from the broker", "messages", "gnatsd_varz_out_msgs"),
        _rise("Too slow for the broker", "clients", "gnatsd_varz_slow_consumers"),
        _most("Kept by the broker", "MB", "jetstream_stream_total_bytes", times=1e-6, places=1),
        _most("Room in the broker's store", "MB", "jetstream_server_max_storage", times=1e-6),
        _most("Regions out of reach", "regions", "archipelag_regions_out_of_reach"),
        _rise("Writes to readers", "writes", "archipelag_stream_writes_total"),
        _mean("Round trip to readers", "archipelag_reader_round_trip_seconds"),
        _most(
            "Items held back, at most",
            "ms",
            "archipelag_stream_hold_seconds",
            times=1000,
            places=1,
        ),
        _most("Connections of the database", "connections", "archipelag_database_connections"),
        _most(
            "Wait for a connection of the pool",
            "waiting",
            "archipelag_database_pool_connections",
            ("state", "waiting"),
        ),
        _rise("Transactions committed", "transactions", "archipelag_database_commits_total"),
        _rise("Deadlocks", "deadlocks", "archipelag_database_deadlocks_total"),
        _most("Wait for locks", "waiting", "archipelag_database_waiting_for_locks"),
        _most(
            "Clock ahead of the database's",
            "ms",
            "archipelag_clock_ahead_seconds",
            across=Across.FARTHEST,
            times=1000,
            places=1,
        ),
        _most(
            "Oldest transaction", "s", "archipelag_database_transaction_oldest_seconds", places=1
        ),
        _most("Size of the database", "MB", "archipelag_database_size_bytes", times=1e-6),
        _most(
            "Loops: time since the last good turn",
            "s",
            "archipelag_loop_age_seconds",
            across=Across.MOST,
            places=1,
        ),
        _rise("Loops: turns that failed", "turns", "archipelag_loop_failures_total"),
        _most("Chores that failed", "chores", "archipelag_network_chores", ("state", "failed")),
        _most("Chores: how late", "s", "archipelag_network_chore_late_seconds", across=Across.MOST),
    ),
}
"""By dashboard, in the dashboards' order and words."""


def _samples() -> Iterator[Sample]:
    for essentials in ESSENTIALS.values():
        for one in essentials:
            yield one.sample
            if one.per is not None:
                yield one.per


SAMPLES: Final = frozenset(_samples())
