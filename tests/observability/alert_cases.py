"""For each alert, series that make it fire and series that do not, as promtool writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DAY_M: Final = 24 * 60
UP: Final = 'up{job="archipelag-coordinator",instance="one"}'
COORDINATOR: Final = 'instance="one"'


@dataclass(frozen=True)
class Case:
    """Minute by minute: series → values. `at_m` is when the alert is looked for."""

    fires: dict[str, str]
    quiet: dict[str, str]
    at_m: int = 15


def _reason(code: str, values: str) -> dict[str, str]:
    return {f'archipelag_requests_refused_total{{{COORDINATOR},code="{code}"}}': values}


def _ages(metric: str, slow_bucket: str, fast_bucket: str) -> Case:
    """A histogram whose every measurement falls above one bound, or below another."""

    def measured(lower: str, upper: str) -> dict[str, str]:
        return {
            f'{metric}_bucket{{{COORDINATOR},le="{fast_bucket}"}}': lower,
            f'{metric}_bucket{{{COORDINATOR},le="{slow_bucket}"}}': upper,
            f'{metric}_bucket{{{COORDINATOR},le="+Inf"}}': "0+60x40",
        }

    return Case(measured("0x40", "0+60x40"), measured("0+60x40", "0+60x40"), at_m=25)


def _gauge(name: str, bad: str, good: str, at_m: int = 15) -> Case:
    return Case({name: f"{bad}x40"}, {name: f"{good}x40"}, at_m)


def _counter(name: str, at_m: int = 15, each: int = 6) -> Case:
    return Case({name: f"0+{each}x40"}, {name: "7x40"}, at_m)


def _ended(failed: int, succeeded: int) -> dict[str, str]:
    name = f'archipelag_jobs_ended_total{{{COORDINATOR},workload="chat",status="%s"}}'
    return {name % "failed": f"0+{failed}x40", name % "succeeded": f"0+{succeeded}x40"}


def _states(silent: int, ready: int) -> dict[str, str]:
    name = f'archipelag_islands{{{COORDINATOR},state="%s"}}'
    return {name % "silent": f"{silent}x40", name % "ready": f"{ready}x40"}


def _connections(used: int) -> dict[str, str]:
    return {
        f"archipelag_database_connections{{{COORDINATOR}}}": f"{used}x40",
        f"archipelag_database_connections_max{{{COORDINATOR}}}": "100x40",
    }


def _named(metric: str, **labels: str) -> str:
    told = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{metric}{{{COORDINATOR}{',' if told else ''}{told}}}"


def _since(metric: str, minutes: int, at_m: int) -> Case:
    """A time that stands still from the beginning, or is never older than half of what is too old."""
    half_s, turns = 30 * minutes, at_m // max(1, minutes // 2)
    fresh = " ".join(f"{half_s * n}x{minutes // 2 - 1}" for n in range(turns + 1))
    return Case({_named(metric): f"0x{at_m}"}, {_named(metric): fresh}, at_m)


def _store(kept: int) -> dict[str, str]:
    return {
        _named("jetstream_server_total_message_bytes", server_id="a"): f"{kept}x40",
        _named("jetstream_server_max_storage", server_id="a"): "10x40",
    }


def _ends(days: int) -> dict[str, str]:
    return {'probe_ssl_earliest_cert_expiry{instance="one"}': f"{days * 86400}x100"}


def _disk(left: int) -> dict[str, str]:
    where = 'instance="one",mountpoint="/",fstype="ext4"'
    return {
        f"node_filesystem_avail_bytes{{{where}}}": f"{left}x40",
        f"node_filesystem_size_bytes{{{where}}}": "100x40",
    }


CASES: Final = {
    "NoCoordinator": _gauge(UP, "0", "1"),
    "CoordinatorDown": _gauge(UP, "0", "1"),
    "NoLeader": _gauge(_named("archipelag_network_has_leader"), "0", "1"),
    "ServerErrors": Case(_reason("internal_error", "0x12 1x30"), _reason("internal_error", "3x40")),
    "Unavailable": Case(_reason("unavailable", "0+1x40"), _reason("unavailable", "3x40")),
    "FirstItemSlow": _ages("archipelag_first_item_seconds", "30.0", "1.0"),
    "EventLoopLate": _gauge(_named("archipelag_event_loop_lag_seconds"), "0.9", "0.1"),
    "JobsWaitLong": _gauge(
        _named("archipelag_network_queue_oldest_seconds", workload="chat"), "90", "20"
    ),
    "NoCapacity": _counter(_named("archipelag_jobs_failed_total", cause="no_capacity")),
    "JobsFail": Case(_ended(2, 8), _ended(1, 99)),
    "ReportsNotSettled": _counter(_named("archipelag_reports_total", outcome="not_settled")),
    "SettlementSlow": _ages("archipelag_settlement_seconds", "2.5", "0.05"),
    "NoIslandReady": Case(_states(0, 0), _states(0, 1)),
    "IslandsSilent": Case(_states(3, 7), _states(1, 9)),
    "AttemptsLost": _counter(
        _named("archipelag_attempts_ended_total", status="lost", cause="lease_lost")
    ),
    "OutputBreaksProtocol": _counter(_named("archipelag_relay_events_total", kind="wrong")),
    "HeartbeatsRefused": _counter(
        _named("archipelag_heartbeats_total", outcome="refused"), at_m=30
    ),
    "LedgerDoesNotBalance": _gauge(_named("archipelag_ledger_sum_microcredits"), "-1", "0"),
    "LedgerDrifted": _gauge(_named("archipelag_ledger_drifted_accounts"), "1", "0"),
    "LedgerHeldDrifted": _gauge(_named("archipelag_ledger_held_drift_microcredits"), "-5", "0"),
    "ReservationOverdue": _gauge(
        _named("archipelag_ledger_reservation_overdue_seconds"), "700", "10"
    ),
    "LedgerNotRead": _since("archipelag_ledger_read_timestamp_seconds", 10, at_m=40),
    "LedgerNotRebuilt": _since("archipelag_ledger_rebuilt_timestamp_seconds", 3 * 60, at_m=300),
    "AuditLogBroken": _gauge(_named("archipelag_audit_broken"), "1", "0"),
    "BackupOld": _since("archipelag_network_backup_timestamp_seconds", 25 * 60, 2 * DAY_M),
    "VersionsDiffer": Case(
        {
            _named("archipelag_build_info", version="1"): "1x200",
            'archipelag_build_info{instance="two",version="2"}': "1x200",
        },
        {
            _named("archipelag_build_info", version="1"): "1x200",
            'archipelag_build_info{instance="two",version="1"}': "1x200",
        },
        at_m=180,
    ),
    "ClockOff": _gauge(_named("archipelag_clock_ahead_seconds"), "-5", "0.2"),
    "CertificateEndsSoon": Case(_ends(10), _ends(30), at_m=90),
    "RegionOutOfReach": _gauge(_named("archipelag_regions_out_of_reach"), "1", "0"),
    "BrokerStoreFills": Case(_store(9), _store(5)),
    "DiskFills": Case(_disk(5), _disk(50)),
    "BrokerServerDown": _gauge(_named("gnatsd_up", server_id="a"), "0", "1"),
    "BrokerDisconnected": _gauge(_named("archipelag_broker_connected"), "0", "1"),
    "BrokerSlowConsumers": _counter(_named("gnatsd_varz_slow_consumers", server_id="a")),
    "DatabaseConnectionsScarce": Case(_connections(95), _connections(40)),
    "DatabasePoolWaits": _gauge(
        _named("archipelag_database_pool_connections", state="waiting"), "4", "0"
    ),
    "DatabaseTransactionLong": _gauge(
        _named("archipelag_database_transaction_oldest_seconds"), "90", "1"
    ),
    "DatabaseDeadlocks": _counter(_named("archipelag_database_deadlocks_total")),
    "LoopStands": _gauge(_named("archipelag_loop_age_seconds", loop="beat"), "90", "2"),
    "LoopFails": _counter(_named("archipelag_loop_failures_total", loop="beat")),
    "ChoreFailed": _gauge(
        _named("archipelag_network_chores", chore="ledger_audit", state="failed"), "1", "0"
    ),
    "ChoreLate": _gauge(
        _named("archipelag_network_chore_late_seconds", chore="prune_items"), "1000", "30"
    ),
    "ScrapePartMissing": _gauge(_named("archipelag_scrape_part_up", part="database"), "0", "1"),
}
