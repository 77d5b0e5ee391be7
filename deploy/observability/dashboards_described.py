"""The five dashboards. What every Coordinator tells of the whole network is taken once, by its highest."""

from __future__ import annotations

from typing import Final

from describe import Dashboard, Panel, Query, one, quantiles

RATE: Final = "[$__rate_interval]"

NETWORK: Final = Dashboard(
    "archipelag-network",
    "Archipelag: network",
    "Whether the network works, and how fast.",
    (
        one("Coordinators", "max(archipelag_network_coordinators)", kind="stat", width=4),
        one("Leader", "max(archipelag_network_has_leader)", kind="stat", width=4),
        one("Islands ready", 'max(archipelag_islands{state="ready"})', kind="stat", width=4),
        one("Streams", 'sum(archipelag_streams{state="running"})', kind="stat", width=4),
        one("Readers", "sum(archipelag_readers)", kind="stat", width=4),
        one(
            "Slots taken",
            "max(archipelag_slots_busy) / clamp_min(max(archipelag_slots), 1)",
            unit="percentunit",
            kind="gauge",
            width=4,
            most=1,
        ),
        one(
            "Answers of the HTTP door",
            f"sum by (status) (rate(archipelag_http_requests_total{RATE}))",
            legend="{{status}}",
            unit="reqps",
            stacked=True,
        ),
        one(
            "Refused, by reason",
            f"sum by (code) (rate(archipelag_requests_refused_total{RATE}))",
            legend="{{code}}",
            unit="reqps",
            stacked=True,
        ),
        one(
            "Tokens and other items",
            f"sum by (workload) (rate(archipelag_items_total{RATE}))",
            legend="{{workload}}",
            stacked=True,
        ),
        quantiles("Time to first item", "archipelag_first_item_seconds", "Jobs that succeeded."),
        quantiles(
            "Time between items", "archipelag_between_items_seconds", "The mean of each answer."
        ),
        quantiles("Wait for an Island", "archipelag_queue_wait_seconds", "Until one accepted."),
        one(
            "Processor time of Coordinators",
            f'rate(process_cpu_seconds_total{{job="archipelag-coordinator"}}{RATE})',
            legend="{{instance}}",
            unit="percentunit",
        ),
        one(
            "Memory of Coordinators",
            'process_resident_memory_bytes{job="archipelag-coordinator"}',
            legend="{{instance}}",
            unit="bytes",
        ),
        one(
            "Longest lateness of the event loop",
            "archipelag_event_loop_lag_seconds",
            legend="{{instance}}",
            unit="s",
        ),
    ),
)

JOBS: Final = Dashboard(
    "archipelag-jobs",
    "Archipelag: jobs",
    "What is asked for, what waits, how it ends and why.",
    (
        one(
            "Submitted",
            f"sum by (workload) (rate(archipelag_jobs_submitted_total{RATE}))",
            legend="{{workload}}",
            unit="ops",
        ),
        one(
            "Ended",
            f"sum by (status) (rate(archipelag_jobs_ended_total{RATE}))",
            legend="{{status}}",
            unit="ops",
            stacked=True,
        ),
        one(
            "Failed, by cause",
            f"sum by (cause) (rate(archipelag_jobs_failed_total{RATE}))",
            legend="{{cause}}",
            unit="ops",
            stacked=True,
        ),
        one(
            "Queued",
            'max by (workload) (archipelag_network_jobs{state="queued"})',
            legend="{{workload}}",
            stacked=True,
        ),
        one(
            "Running",
            'max by (workload) (archipelag_network_jobs{state="running"})',
            legend="{{workload}}",
            stacked=True,
        ),
        one(
            "Oldest that waits",
            "max by (workload) (archipelag_network_queue_oldest_seconds)",
            legend="{{workload}}",
            unit="s",
        ),
        one(
            "Attempts, by how they end",
            f"sum by (status, cause) (rate(archipelag_attempts_ended_total{RATE}))",
            legend="{{status}}: {{cause}}",
            unit="ops",
        ),
        one("Failovers", f"sum(rate(archipelag_failovers_total{RATE}))", unit="ops"),
        one(
            "Placements that found nobody",
            f"sum(rate(archipelag_placements_without_island_total{RATE}))",
            unit="ops",
        ),
        one(
            "Chats, by whether their Island remembers some of them",
            f"sum by (remembered) (rate(archipelag_chats_begun_total{RATE}))",
            legend="remembered: {{remembered}}",
            unit="ops",
        ),
        one(
            "Prompt tokens that were not read again",
            f"sum by (workload) (rate(archipelag_cached_prompt_tokens_total{RATE}))",
            legend="{{workload}}",
        ),
        one(
            "What Islands say to assignments",
            f"sum by (outcome) (rate(archipelag_assignments_total{RATE}))",
            legend="{{outcome}}",
            unit="ops",
        ),
        quantiles("Choice of an Island", "archipelag_placement_seconds", "In this process alone."),
        quantiles("Assignment", "archipelag_assign_seconds", "Until the Island's word."),
        quantiles("Settlement", "archipelag_settlement_seconds", "Until it is committed."),
        one(
            "Reports",
            f"sum by (outcome) (rate(archipelag_reports_total{RATE}))",
            legend="{{outcome}}",
            unit="ops",
        ),
    ),
)

ISLANDS: Final = Dashboard(
    "archipelag-islands",
    "Archipelag: Islands",
    "Who lends machines, and what they have ready.",
    (
        one(
            "By state",
            "max by (state) (archipelag_islands)",
            legend="{{state}}",
            stacked=True,
        ),
        Panel(
            "Slots",
            (
                Query("max(archipelag_slots)", "there are"),
                Query("max(archipelag_slots_busy)", "taken"),
            ),
        ),
        one(
            "Warm Cargos",
            "max by (workload) (archipelag_islands_warm)",
            legend="{{workload}}",
            text="On how many working Islands.",
        ),
        one(
            "Heartbeats",
            f"sum by (outcome) (rate(archipelag_heartbeats_total{RATE}))",
            legend="{{outcome}}",
            unit="ops",
        ),
        one(
            "Round trip to the broker",
            "max(archipelag_island_round_trip_seconds)",
            legend="median",
            unit="s",
        ),
        one("Await approval", "max(archipelag_islands_unapproved)", kind="stat"),
        one(
            "Attempts lost",
            f'sum(rate(archipelag_attempts_ended_total{{status="lost"}}{RATE}))',
            legend="lost",
            unit="ops",
        ),
        one(
            "Output that broke the protocol",
            f'sum(rate(archipelag_relay_events_total{{kind="wrong"}}{RATE}))',
            legend="attempts",
            unit="ops",
        ),
        one(
            "Gaps that were looked up",
            f'sum(rate(archipelag_relay_events_total{{kind="repaired"}}{RATE}))',
            legend="gaps",
            unit="ops",
        ),
    ),
)

LEDGER: Final = Dashboard(
    "archipelag-ledger",
    "Archipelag: ledger",
    "Whether the books balance, and what moves in them.",
    (
        one(
            "Sum of all balances",
            "max(abs(archipelag_ledger_sum_microcredits))",
            kind="stat",
            width=6,
        ),
        one(
            "Held less reserved",
            "max(abs(archipelag_ledger_held_drift_microcredits))",
            kind="stat",
            width=6,
        ),
        one(
            "Accounts that drifted",
            "max(archipelag_ledger_drifted_accounts)",
            kind="stat",
            width=4,
        ),
        one("Audit log broken", "max(archipelag_audit_broken)", kind="stat", width=4),
        one(
            "Books last rebuilt",
            "max(archipelag_ledger_rebuilt_timestamp_seconds) * 1000",
            kind="stat",
            unit="dateTimeFromNow",
            width=4,
        ),
        one(
            "Accounts last added up",
            "min(archipelag_ledger_read_timestamp_seconds) * 1000",
            kind="stat",
            unit="dateTimeFromNow",
            text="Each Coordinator reads every account once a minute.",
            width=4,
        ),
        one(
            "Balances by kind of account",
            "max by (account) (archipelag_ledger_balance_credits)",
            legend="{{account}}",
            width=12,
        ),
        one(
            "Paid by customers",
            f"sum by (workload) (rate(archipelag_charged_credits_total{RATE}))",
            legend="{{workload}}",
            text="Credits a second.",
            width=12,
        ),
        one(
            "Last backup",
            "max(archipelag_network_backup_timestamp_seconds) * 1000",
            kind="stat",
            unit="dateTimeFromNow",
            text="By archipelag-coordinator backup; decades ago: none was made.",
            width=4,
        ),
        one(
            "Versions of Coordinators",
            "count by (version) (archipelag_build_info)",
            legend="{{version}}",
            kind="stat",
            width=4,
        ),
        one("Reserved", "max(archipelag_ledger_reserved_credits)", legend="credits", width=8),
        one("Reservations", "max(archipelag_ledger_reservations)", legend="pending", width=8),
        one(
            "Oldest reservation past its time",
            "max(archipelag_ledger_reservation_overdue_seconds)",
            legend="overdue",
            unit="s",
            width=8,
        ),
    ),
)

FABRIC: Final = Dashboard(
    "archipelag-fabric",
    "Archipelag: fabric",
    "The broker, the database, and the work that goes on by itself.",
    (
        one("Broker servers", "sum(max by (server_id) (gnatsd_up))", kind="stat", width=4),
        one("Broker connected", "min(archipelag_broker_connected)", kind="stat", width=4),
        one("Deadlocks", "max(archipelag_database_deadlocks_total)", kind="stat", width=4),
        one("Wait for locks", "max(archipelag_database_waiting_for_locks)", kind="stat", width=4),
        one(
            "Chores that failed",
            'sum(max by (chore) (archipelag_network_chores{state="failed"}))',
            kind="stat",
            width=4,
        ),
        one(
            "Parts a scrape could read",
            "min by (part) (archipelag_scrape_part_up)",
            legend="{{part}}",
            kind="stat",
            width=4,
        ),
        Panel(
            "Messages of the broker",
            (
                Query(f"sum(max by (server_id) (rate(gnatsd_varz_in_msgs{RATE})))", "in"),
                Query(f"sum(max by (server_id) (rate(gnatsd_varz_out_msgs{RATE})))", "out"),
            ),
            unit="ops",
        ),
        Panel(
            "Bytes of the broker",
            (
                Query(f"sum(max by (server_id) (rate(gnatsd_varz_in_bytes{RATE})))", "in"),
                Query(f"sum(max by (server_id) (rate(gnatsd_varz_out_bytes{RATE})))", "out"),
            ),
            unit="Bps",
        ),
        Panel(
            "Connections of the broker",
            (
                Query("max by (server_id) (gnatsd_varz_connections)", "{{server_id}}"),
                Query("max by (server_id) (gnatsd_varz_slow_consumers)", "too slow {{server_id}}"),
            ),
        ),
        one(
            "Messages kept by the broker",
            "max by (stream_name) (jetstream_stream_total_messages)",
            legend="{{stream_name}}",
        ),
        one(
            "Bytes kept by the broker",
            "max by (stream_name) (jetstream_stream_total_bytes)",
            legend="{{stream_name}}",
            unit="bytes",
        ),
        Panel(
            "Store of the broker",
            (
                Query(
                    "max by (server_id) (jetstream_server_total_message_bytes)",
                    "kept {{server_id}}",
                ),
                Query("max by (server_id) (jetstream_server_max_storage)", "most {{server_id}}"),
            ),
            unit="bytes",
        ),
        one(
            "Regions out of reach",
            "max by (instance) (archipelag_regions_out_of_reach)",
            legend="{{instance}}",
        ),
        one(
            "Memory of the broker",
            "max by (server_id) (gnatsd_varz_mem)",
            legend="{{server_id}}",
            unit="bytes",
        ),
        Panel(
            "Writes to readers",
            (
                Query(f"sum(rate(archipelag_stream_writes_total{RATE}))", "all"),
                Query(f"sum(rate(archipelag_stream_writes_held_total{RATE}))", "held back"),
            ),
            unit="ops",
            text="A busy Coordinator lets items of a stream wait for each other, 20 ms at most.",
        ),
        quantiles(
            "Round trip to readers",
            "archipelag_reader_round_trip_seconds",
            "To whoever connects: the proxy, where there is one. Counted at a stream's end.",
        ),
        one(
            "Items held back, at most",
            "archipelag_stream_hold_seconds",
            legend="{{instance}}",
            unit="s",
        ),
        one(
            "Core spent while streaming",
            "archipelag_stream_load_ratio",
            legend="{{instance}}",
            unit="percentunit",
        ),
        one(
            "How callers are found",
            f"sum by (found) (rate(archipelag_callers_total{RATE}))",
            legend="{{found}}",
            unit="reqps",
            stacked=True,
        ),
        Panel(
            "Connections of the database",
            (
                Query("max(archipelag_database_connections)", "open"),
                Query("max(archipelag_database_connections_max)", "most"),
            ),
        ),
        one(
            "Pools of Coordinators",
            'sum by (instance, state) (archipelag_database_pool_connections{state!="most"})',
            legend="{{instance}} {{state}}",
        ),
        Panel(
            "Transactions of the database",
            (
                Query(f"max(rate(archipelag_database_commits_total{RATE}))", "committed"),
                Query(f"max(rate(archipelag_database_rollbacks_total{RATE}))", "rolled back"),
            ),
            unit="ops",
        ),
        one(
            "Clock ahead of the database's",
            "archipelag_clock_ahead_seconds",
            legend="{{instance}}",
            unit="s",
        ),
        one("Size of the database", "max(archipelag_database_size_bytes)", unit="bytes"),
        one(
            "Oldest transaction",
            "max(archipelag_database_transaction_oldest_seconds)",
            unit="s",
        ),
        one(
            "Loops: time since the last good turn",
            "max by (loop) (archipelag_loop_age_seconds)",
            legend="{{loop}}",
            unit="s",
        ),
        one(
            "Loops: turns that failed",
            f"sum by (loop) (rate(archipelag_loop_failures_total{RATE}))",
            legend="{{loop}}",
            unit="ops",
        ),
        one(
            "Chores: how late",
            "max by (chore) (archipelag_network_chore_late_seconds)",
            legend="{{chore}}",
            unit="s",
        ),
    ),
)

DASHBOARDS: Final = (NETWORK, JOBS, ISLANDS, LEDGER, FABRIC)
