"""The dashboards without a network: as they are described, and as Grafana's own types read them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from archipelag_coordinator.domain.essentials import ESSENTIALS
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from .watching import DASHBOARDS, FILES, queries

NAME = re.compile(r"\b(?:archipelag|gnatsd|jetstream|process)_\w+")
SUFFIX = re.compile(r"_(?:bucket|sum|count)$")
DETAILS = {
    "archipelag_build_info",
    "archipelag_callers_total",
    "archipelag_database_connections_max",
    "archipelag_database_rollbacks_total",
    "archipelag_ledger_read_timestamp_seconds",
    "archipelag_ledger_rebuilt_timestamp_seconds",
    "archipelag_network_backup_timestamp_seconds",
    "archipelag_network_has_leader",
    "archipelag_scrape_part_up",
    "archipelag_slots",
    "archipelag_stream_load_ratio",
    "archipelag_stream_writes_held_total",
    "gnatsd_varz_connections",
    "gnatsd_varz_in_bytes",
    "gnatsd_varz_mem",
    "gnatsd_varz_out_bytes",
    "jetstream_server_total_message_bytes",
    "jetstream_stream_total_messages",
}
"""What the pages leave to the dashboards."""


def as_grafana_reads(text: str) -> Any:
    """Through the types that Grafana's makers generate from its schema: what these do not know is lost."""
    return json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(text))))


def lost(ours: Any, read: Any, where: str = "") -> Iterator[str]:
    """What Grafana would not see as we wrote it. Empty values need not be kept."""
    if isinstance(ours, dict) and isinstance(read, dict):
        for name, value in ours.items():
            if name in read:
                yield from lost(value, read[name], f"{where}.{name}")
            elif value not in (None, "", [], {}, False):
                yield f"{where}.{name}"
    elif isinstance(ours, list) and isinstance(read, list) and len(ours) == len(read):
        for number, (one, other) in enumerate(zip(ours, read, strict=True)):
            yield from lost(one, other, f"{where}[{number}]")
    elif ours != read:
        yield f"{where}: {ours!r} is read as {read!r}"


def test_dashboards_are_what_their_description_says() -> None:
    done = subprocess.run(
        [sys.executable, str(FILES / "describe.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert len(DASHBOARDS) == 5


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_grafana_reads_all_that_is_written(path: Path) -> None:
    text = path.read_text()

    assert list(lost(json.loads(text), as_grafana_reads(text))) == []


def test_what_grafana_does_not_know_is_noticed() -> None:
    whole = json.loads(DASHBOARDS[0].read_text())
    whole["panels"][0]["gridPos"]["heigth"] = 8
    whole["refrsh"] = "5s"

    found = list(lost(whole, as_grafana_reads(json.dumps(whole))))

    assert found == [".panels[0].gridPos.heigth", ".refrsh"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_stand_beside_each_other_and_are_told_apart(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells

    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert dashboard["uid"] == path.stem
    assert all(panel["targets"] for panel in dashboard["panels"])
    assert len(list(queries(path))) >= len(dashboard["panels"])


def test_what_is_provisioned_is_there() -> None:
    sources = yaml.safe_load((FILES / "provisioning/datasources/prometheus.yml").read_text())
    providers = yaml.safe_load((FILES / "provisioning/dashboards/archipelag.yml").read_text())

    assert [one["type"] for one in sources["datasources"]] == ["prometheus"]
    assert [one["type"] for one in providers["providers"]] == ["file"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_pages_show_what_the_dashboard_of_their_name_shows(path: Path) -> None:
    drawn = {SUFFIX.sub("", name) for _, expr in queries(path) for name in NAME.findall(expr)}
    shown = {
        SUFFIX.sub("", one.sample.name) for one in ESSENTIALS[path.stem.removeprefix("archipelag-")]
    }

    assert shown - drawn == set(), "of another dashboard, or of none"
    assert drawn - shown <= DETAILS
