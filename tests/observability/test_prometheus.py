"""A real Prometheus on a real network: every panel of every dashboard has data, every rule can be evaluated."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from .conftest import CANARY, TOKEN, WatchedRig
from .watching import DASHBOARDS, Prometheus, alerts, empty, program, queries, selectors

pytestmark = pytest.mark.asyncio(loop_scope="session")
TRACE = "11112222333344445555666677778888"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def prometheus(
    rig: WatchedRig, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Prometheus]:
    one = Prometheus(tmp_path_factory.mktemp("prometheus"), rig.base.removeprefix("http://"), TOKEN)
    try:
        await rig.until(lambda: asyncio.to_thread(one.scraped), "Prometheus has scraped")
        for _ in range(3):
            await asyncio.gather(*(rig.stream(20, 5) for _ in range(4)))
            await asyncio.sleep(2.5)
        rig.http.headers["traceparent"] = f"00-{TRACE}-00f067aa0ba902b7-01"
        await rig.stream(20, 5)
        del rig.http.headers["traceparent"]
        await asyncio.sleep(5)
        yield one
    finally:
        one.close()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
async def test_every_panel_has_data(prometheus: Prometheus, path: Path) -> None:
    asked = list(queries(path))

    missing = await empty(prometheus, asked)

    assert len(asked) >= 9
    assert missing == []


async def test_an_empty_panel_is_noticed(prometheus: Prometheus) -> None:
    planted = [
        ("a name that nobody tells", "sum(rate(archipelag_tokens_total[15s]))"),
        ("a label that nobody has", 'archipelag_islands{state="sleeping"}'),
        ("no number", "vector(0) / vector(0)"),
    ]

    missing = await empty(prometheus, planted, within_s=0)

    assert len(missing) == len(planted)


async def test_every_rule_is_evaluated_on_series_that_are_there(prometheus: Prometheus) -> None:
    groups = prometheus.ask("/rules")["groups"]
    loaded = {rule["name"]: rule for group in groups for rule in group["rules"]}
    read = {one for rule in alerts() for one in selectors(rule["expr"])}

    assert set(loaded) == {rule["alert"] for rule in alerts()}
    assert {
        name: rule.get("lastError") for name, rule in loaded.items() if rule["health"] != "ok"
    } == {}
    assert len(read) > 25
    assert await empty(prometheus, [(one, one) for one in sorted(read)]) == []


async def test_a_healthy_network_alarms_nobody(prometheus: Prometheus) -> None:
    firing = prometheus.ask("/alerts")["alerts"]

    assert [
        (one["labels"]["alertname"], one["value"]) for one in firing if one["state"] == "firing"
    ] == []


async def test_a_slow_first_item_can_be_looked_up_by_its_trace(prometheus: Prometheus) -> None:
    now = float(prometheus.ask("/query", query="time()")["result"][0])

    found = prometheus.ask(
        "/query_exemplars", query="archipelag_first_item_seconds_bucket", start=now - 300, end=now
    )

    assert TRACE in {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}


async def test_figures_are_for_who_has_the_token(rig: WatchedRig) -> None:
    url = f"{rig.base}/metrics"
    async with httpx.AsyncClient() as stranger:
        without = await stranger.get(url)
        wrong = await stranger.get(url, headers={"Authorization": "Bearer ak_something"})
        written = await stranger.post(url, headers={"Authorization": f"Bearer {TOKEN}"})

    assert [without.status_code, wrong.status_code, written.status_code] == [401, 401, 405]
    assert "ARCHIPELAG_METRICS_TOKEN" in without.json()["error"]["message"]
    assert "archipelag_" not in without.text


async def test_labels_are_bounded(rig: WatchedRig) -> None:
    page = await rig.page()
    ids = json.loads((rig.home / "island-0" / "identity.json").read_text())

    assert ids["island_id"] not in page
    assert not re.search(r"(job|usr|isl|key)_[0-9A-Za-z]{8,}", page)
    assert CANARY not in page
    assert page.count("\n") < 1_000


async def test_names_are_as_prometheus_would_have_them(rig: WatchedRig) -> None:
    page = await rig.page()

    checked = await asyncio.to_thread(
        subprocess.run,
        [program("promtool"), "check", "metrics"],
        input=page,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


async def test_an_island_tells_its_owner_alone(rig: WatchedRig) -> None:
    url = f"http://127.0.0.1:{rig.island_metrics}/metrics"
    async with httpx.AsyncClient() as owner:
        told = await owner.get(url)
        rebound = await owner.get(url, headers={"Host": "rebound.example.org"})
        other = await owner.get(url.replace("metrics", "status"))

    assert told.status_code == 200
    assert "archipelag_island_connected 1.0" in told.text
    assert 'archipelag_island_cargos{state="warm"} 1.0' in told.text
    assert (rebound.status_code, other.status_code) == (403, 404)
