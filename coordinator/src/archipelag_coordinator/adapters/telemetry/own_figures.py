"""What this one process did and holds, read from its plain numbers when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics_core import Metric

from archipelag_coordinator.adapters.telemetry.families import (
    counter,
    counters,
    from_nothing,
    gauge,
    gauges,
    histogram,
)
from archipelag_coordinator.domain.attempt import AttemptStatus, Cause
from archipelag_coordinator.domain.island import IslandStatus
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.tally import Tally
from archipelag_coordinator.services.world import World

ENDED: Final = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)
REFUSALS: Final = (
    "rate_limited",
    "no_capacity",
    "insufficient_credits",
    "invalid_api_key",
    "invalid_input",
    "unavailable",
    "internal_error",
)
"""Told from 0 on; the others once they have occurred."""


@dataclass(frozen=True)
class Written:
    """How streams are written to their readers."""

    writes: int
    held: int
    """Of these, those that waited for more to say."""
    hold_s: float
    """How long an item is held back now, at most."""
    load: float
    """The share of one core that was spent when it was last measured."""


@dataclass(frozen=True)
class Innards:
    """What no port tells of this process: asked of its adapters at each scrape."""

    relay: Callable[[], Mapping[str, int]]
    """Counts of the chunk relay, by what was counted."""
    written: Callable[[], Written]
    callers: Callable[[], Mapping[str, int]]
    """Requests by whether their caller was known from a moment ago or asked for."""
    pool: Callable[[], Mapping[str, int]]
    """Connections to the database: size, available, waiting."""
    leads: Callable[[], bool]
    connected: Callable[[], bool]
    """Whether the broker is there."""
    lag_s: Callable[[], float]
    """The longest that the event loop was late in the last moments."""


def own_figures(world: World, innards: Innards) -> Iterator[Metric]:
    info = {(world.version,): 1}
    yield gauges("archipelag_build_info", "Version of this Coordinator.", ["version"], info)
    yield from _work(world.tally, world)
    yield from _speed(world.tally)
    yield from _doors(world.tally)
    yield from _loops(world.tally, world)
    yield from _holds(world, innards)


def _work(tally: Tally, world: World) -> Iterator[Metric]:
    slugs = [cargo.slug for cargo in world.catalogue.cargos]
    submitted = from_nothing(slugs, tally.submitted)
    yield counters(
        "archipelag_jobs_submitted", "Jobs taken.", ["workload"], submitted
    )  # fmt: skip
    ended: Counter[tuple[str, str]] = Counter()
    causes: Counter[str] = Counter()
    for (slug, status, cause), count in tally.jobs.items():
        ended[slug, status] += count
        if status == JobStatus.FAILED:
            causes[cause] += count
    every = {(slug, status.value): 0 for slug in submitted for status in ENDED}
    yield counters(
        "archipelag_jobs_ended",
        "Jobs that ended, by how.",
        ["workload", "status"],
        {**every, **ended},
    )
    known = [cause.value for cause in Cause if cause not in (Cause.COMPLETED, Cause.REFUSED)]
    text = "Jobs that failed, by cause."
    yield counters("archipelag_jobs_failed", text, ["cause"], from_nothing(known, causes))
    every_attempt = {
        (AttemptStatus.SUCCEEDED.value, Cause.COMPLETED.value): 0,
        (AttemptStatus.LOST.value, Cause.LEASE_LOST.value): 0,
        **{(AttemptStatus.FAILED.value, cause): 0 for cause in known},
    }
    yield counters(
        "archipelag_attempts_ended",
        "Attempts that ended, by how and why.",
        ["status", "cause"],
        {**every_attempt, **tally.attempts},
    )
    text = "Attempts that ended too early, after which another went on."
    yield counter("archipelag_failovers", text, tally.failovers)
    tally.flowed(world.answers.all())
    items = from_nothing(slugs, tally.items)
    text = "Items of output that came here, as they flow; of a language model, tokens."
    yield counters("archipelag_items", text, ["workload"], items)
    text = "Output of jobs that succeeded."
    yield counter("archipelag_output_bytes", text, tally.output_bytes)
    prompts = from_nothing(slugs, tally.prompt_tokens)
    yield counters(
        "archipelag_prompt_tokens", "Prompt tokens of ended jobs.", ["workload"], prompts
    )
    text = "Prompt tokens of ended jobs that did not have to be read again."
    cached = from_nothing(slugs, tally.cached_tokens)
    yield counters("archipelag_cached_prompt_tokens", text, ["workload"], cached)
    text = "Credits that customers paid, in whole credits."
    charged = from_nothing(slugs, tally.charged)
    whole = {slug: amount / 1_000_000 for slug, amount in charged.items()}
    yield counters("archipelag_charged_credits", text, ["workload"], whole)


def _speed(tally: Tally) -> Iterator[Metric]:
    text = "From a job's submission to its first item."
    yield histogram("archipelag_first_item_seconds", text, tally.first_item)
    text = "Mean time between the items of an answer; one figure an answer."
    yield histogram("archipelag_between_items_seconds", text, tally.between_items)
    text = "From a job's submission to the Island that accepted it first."
    yield histogram("archipelag_queue_wait_seconds", text, tally.queue_wait)
    yield histogram("archipelag_placement_seconds", "The choice of an Island.", tally.placement)
    text = "From an assignment's sending to the Island's word."
    yield histogram("archipelag_assign_seconds", text, tally.assigning)
    text = "From a report's coming to the committed end of its attempt."
    yield histogram("archipelag_settlement_seconds", text, tally.settlement)
    text = (
        "Round trip to whoever holds the other end of a stream's connection, "
        "a proxy where there is one; one figure a stream, at its end."
    )
    yield histogram("archipelag_reader_round_trip_seconds", text, tally.reader_round_trip)


def _doors(tally: Tally) -> Iterator[Metric]:
    statuses = {f"{status}": count for status, count in tally.requests.items()}
    text = "Answers of the HTTP door, by status."
    yield counters("archipelag_http_requests", text, ["status"], from_nothing(["200"], statuses))
    text = "Requests that were refused, by the code that the client was told."
    refused = from_nothing(REFUSALS, tally.refused)
    yield counters("archipelag_requests_refused", text, ["code"], refused)
    said = from_nothing(("accepted", "refused", "unreachable"), tally.assignments)
    text = "What Islands said to assignments."
    yield counters("archipelag_assignments", text, ["outcome"], said)
    text = "Tries to place a job that found no Island."
    yield counter("archipelag_placements_without_island", text, tally.unplaced)
    text = "Attempts of chats that an Island accepted, by whether it was taken to remember some of the conversation."
    begun = {word: tally.begun_with[how] for word, how in (("yes", True), ("no", False))}
    yield counters("archipelag_chats_begun", text, ["remembered"], begun)
    beats = from_nothing(("taken", "refused", "not_taken"), tally.heartbeats)
    yield counters("archipelag_heartbeats", "Heartbeats of Islands.", ["outcome"], beats)
    reports = from_nothing(("settled", "stale", "refused", "not_settled"), tally.reports)
    yield counters("archipelag_reports", "Islands' reports.", ["outcome"], reports)


def _loops(tally: Tally, world: World) -> Iterator[Metric]:
    names = sorted({*tally.turns, *tally.failures})
    text = "Turns of a loop that ended well."
    yield counters("archipelag_loop_turns", text, ["loop"], from_nothing(names, tally.turns))
    text = "Turns of a loop that failed."
    yield counters("archipelag_loop_failures", text, ["loop"], from_nothing(names, tally.failures))
    now = world.clock.monotonic()
    ages = {name: now - at for name, at in tally.turned_at.items()}
    text = "Time since a loop's last turn that ended well."
    yield gauges("archipelag_loop_age_seconds", text, ["loop"], ages)
    text = "Accounts that differed from their entries when this process last rebuilt the books."
    yield gauge("archipelag_ledger_drifted_accounts", text, tally.drifted)
    text = "1 where this process last found the audit log changed or cut; 0: whole, or not looked at yet."
    yield gauge("archipelag_audit_broken", text, tally.audit_broken)
    at = tally.books_at.timestamp() if tally.books_at else 0.0
    text = "When this process last rebuilt the books; 0: not yet."
    yield gauge("archipelag_ledger_rebuilt_timestamp_seconds", text, at)


def _holds(world: World, innards: Innards) -> Iterator[Metric]:
    answers = world.answers.all()
    streams = {
        "running": sum(a.final is None and not a.follows and a.running for a in answers),
        "waiting": sum(a.final is None and not a.follows and not a.running for a in answers),
        "copy": sum(a.final is None and a.follows for a in answers),
    }
    text = "Answers that this process relays and that have not ended."
    yield gauges("archipelag_streams", text, ["state"], streams)
    text = "Readers that are connected here."
    yield gauge("archipelag_readers", text, sum(a.readers for a in answers))
    text = "Answers kept in memory, ended ones too."
    yield gauge("archipelag_answers_kept", text, len(answers))
    yield from _fleet(world)
    yield counters(
        "archipelag_relay_events",
        "Events of the chunk relay, by kind.",
        ["kind"],
        dict(innards.relay()),
    )
    yield from _written(innards.written())
    text = (
        "Requests by how their caller was found: asked of the database, or known from just before."
    )
    yield counters("archipelag_callers", text, ["found"], dict(innards.callers()))
    text = "Connections of this process to PostgreSQL."
    yield gauges("archipelag_database_pool_connections", text, ["state"], dict(innards.pool()))
    yield gauge("archipelag_leader", "1 where this process leads.", innards.leads())
    text = "1 while the broker is connected."
    yield gauge("archipelag_broker_connected", text, innards.connected())
    text = "The longest that the event loop was late in the last half minute."
    yield gauge("archipelag_event_loop_lag_seconds", text, innards.lag_s())


def _written(told: Written) -> Iterator[Metric]:
    text = "Writes to readers of streams; several items may be in one."
    yield counter("archipelag_stream_writes", text, told.writes)
    text = "Of these, those that waited for more to say."
    yield counter("archipelag_stream_writes_held", text, told.held)
    text = "How long an item is held back now, at most; 0: this process is not busy."
    yield gauge("archipelag_stream_hold_seconds", text, told.hold_s)
    text = "The share of one core that this process spent while it last streamed."
    yield gauge("archipelag_stream_load_ratio", text, told.load)


def _fleet(world: World) -> Iterator[Metric]:
    islands = world.fleet.islands()
    states = Counter(island.status.value for island in islands)
    known = [status.value for status in IslandStatus]
    text = "Islands as this process knows them."
    yield gauges("archipelag_islands", text, ["state"], from_nothing(known, states))
    working = [island for island in islands if island.accepts_work]
    text = "Slots of Islands that take work."
    yield gauge("archipelag_slots", text, sum(island.slots for island in working))
    text = "Those that are taken."
    busy = sum(world.fleet.busy(island.id) for island in working)
    yield gauge("archipelag_slots_busy", text, busy)
    waiting = sum(not island.approved for island in islands)
    text = "Islands that nobody has approved yet."
    yield gauge("archipelag_islands_unapproved", text, waiting)
    warm: Counter[str] = Counter()
    for island in working:
        warm.update({offer.slug for offer in island.offers if offer.state == "warm"})
    text = "Working Islands on which a Cargo is warm."
    slugs = [cargo.slug for cargo in world.catalogue.cargos]
    # An Island may name any slug; only those of the catalogue are told.
    counted = {slug: warm[slug] for slug in slugs}
    yield gauges("archipelag_islands_warm", text, ["workload"], counted)
    rtts = [island.broker_rtt_ms / 1000 for island in working if island.broker_rtt_ms]
    text = "The median round trip between working Islands and the broker."
    median = sorted(rtts)[len(rtts) // 2] if rtts else 0.0
    yield gauge("archipelag_island_round_trip_seconds", text, median)
    cut_off = sum(ms is None for ms in world.fleet.regions_ms.values())
    text = "Other regions whose Coordinators live and do not answer over the brokers."
    yield gauge("archipelag_regions_out_of_reach", text, cut_off)
