"""The page that Prometheus reads, without a network: what is missing is told, and what is wrong spoils nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from archipelag_coordinator.adapters.postgres.figures import Books, ServerFigures
from archipelag_coordinator.adapters.telemetry.broker import BrokerMonitor
from archipelag_coordinator.adapters.telemetry.families import gauges
from archipelag_coordinator.adapters.telemetry.metrics import BOOKS_KEPT_S, KEPT_S, Metrics
from archipelag_coordinator.adapters.telemetry.own_figures import Innards, Written
from archipelag_coordinator.adapters.telemetry.picked import picked
from archipelag_coordinator.domain.audit import BACKED_UP
from archipelag_coordinator.domain.essentials import SAMPLES, Across, Sample
from archipelag_coordinator.domain.histogram import Example
from archipelag_coordinator.services import upkeep
from archipelag_coordinator.services.adopt import adopt
from archipelag_coordinator.services.note_history import note_history
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing.builders import START
from archipelag_coordinator.testing.worlds import Scene, a_scene
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SERVER = dict.fromkeys(
    ("commits", "rollbacks", "deadlocks", "blks_hit", "blks_read", "temp_bytes", "size_bytes"), 1
) | {"connections": 3, "connections_max": 100}
FIGURES = ServerFigures(SERVER, 0.1, 0, START.timestamp())
BOOKS = Books({"user": 5, "grants": -5}, 2, 2, 1, -3.0)
INNARDS = Innards(
    relay=lambda: {"wrong": 1},
    written=lambda: Written(9, 4, 0.015, 0.6),
    callers=lambda: {"asked": 2, "known": 5},
    pool=lambda: {"idle": 2, "waiting": 0},
    leads=lambda: True,
    connected=lambda: True,
    lag_s=lambda: 0.01,
)


class Database:
    def __init__(self) -> None:
        self.asked = 0
        self.added_up = 0
        self.away = False

    async def server(self) -> ServerFigures:
        self.asked += 1
        if self.away:
            raise ConnectionError("the database is away")
        return FIGURES

    async def books(self) -> Books:
        self.added_up += 1
        if self.away:
            raise ConnectionError("the database is away")
        return BOOKS


async def watched(broker: BrokerMonitor | None = None) -> tuple[Scene, Metrics, Database]:
    scene = await a_scene()
    database = Database()
    metrics = Metrics(scene.world, INNARDS, database.server, database.books, broker)
    return scene, metrics, database


def values(page: bytes) -> dict[str, float]:
    return {
        f"{sample.name}{json.dumps(sample.labels) if sample.labels else ''}": sample.value
        for family in read_text(page.decode())
        for sample in family.samples
    }


def answering(answers: dict[str, Any]) -> BrokerMonitor:
    def answer(request: httpx.Request) -> httpx.Response:
        told = answers.get(request.url.host)
        if told is None:
            raise httpx.ConnectError("no route")
        return httpx.Response(200, json=told[request.url.path])

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return BrokerMonitor([f"http://{host}:8222" for host in ("a", "b")], client)


async def test_both_formats_are_what_they_say() -> None:
    scene, metrics, _ = await watched()
    scene.world.tally.first_item.add(0.02, Example(0.02, "ab" * 16, 1.0))

    text, plain = await metrics.page("")
    openmetrics, open_type = await metrics.page(OPENMETRICS)

    assert plain.startswith("text/plain")
    assert open_type.startswith("application/openmetrics-text")
    assert values(text)["archipelag_leader"] == 1
    families = {one.name: one for one in read_openmetrics(openmetrics.decode())}
    traced = [s.exemplar for s in families["archipelag_first_item_seconds"].samples if s.exemplar]
    assert [one.labels for one in traced] == [{"trace_id": "ab" * 16}]
    for name, family in families.items():
        assert family.documentation, name
        assert family.type != "counter" or not name.endswith("_total")


async def test_what_is_away_is_told_and_the_rest_all_the_same() -> None:
    _, metrics, database = await watched(answering({}))
    database.away = True

    told = values((await metrics.page(""))[0])

    assert told['archipelag_scrape_part_up{"part": "database"}'] == 0
    assert told['gnatsd_up{"server_id": "http://a:8222"}'] == 0
    assert told["archipelag_leader"] == 1
    assert "archipelag_ledger_sum_microcredits" not in told, "old figures are not told as new ones"


async def test_what_could_go_wrong_in_silence_is_told() -> None:
    scene, metrics, _ = await watched(
        answering({"a": {"/varz": {}, "/jsz": {"config": {"max_storage": 7, "store_dir": "/x"}}}})
    )
    before = values((await metrics.page(""))[0])
    async with scene.store.begin() as tx:
        await tx.audit.note(scene.clock.now(), "op", BACKED_UP, "file")
    scene.world.tally.audit_broken = True
    scene.world.fleet.see_regions({"east": None, "west": 80.0, "north": None})
    made_at = scene.clock.now().timestamp()
    scene.clock.advance(KEPT_S)

    after = values((await metrics.page(""))[0])

    backup, off = "archipelag_network_backup_timestamp_seconds", "archipelag_clock_ahead_seconds"
    assert (before[backup], after[backup]) == (0, made_at)
    assert (before["archipelag_audit_broken"], after["archipelag_audit_broken"]) == (0, 1)
    assert after[off] == pytest.approx(before[off] + KEPT_S)
    assert [one["archipelag_regions_out_of_reach"] for one in (before, after)] == [0, 2]
    assert after['jetstream_server_max_storage{"server_id": "http://a:8222"}'] == 7


async def test_who_scrapes_often_does_not_ask_the_database_often() -> None:
    scene, metrics, database = await watched()

    for _ in range(5):
        await metrics.page("")
    often = database.asked
    scene.clock.advance(KEPT_S)
    await metrics.page("")

    assert (often, database.asked) == (1, 2)


@pytest.mark.parametrize(
    "varz",
    [{}, {"connections": "many", "mem": None}, {"connections": [1], "cpu": {"x": 1}}],
    ids=["empty", "words", "lists"],
)
async def test_a_broker_that_says_something_else_spoils_nothing(varz: dict[str, Any]) -> None:
    good = {"/varz": {"connections": 4}, "/jsz": {"streams": 2}}
    odd = {"/varz": varz, "/jsz": {"account_details": None, "config": [1]}}
    _, metrics, _ = await watched(answering({"a": good, "b": odd}))

    told = values((await metrics.page(""))[0])

    assert told['gnatsd_varz_connections{"server_id": "http://a:8222"}'] == 4
    assert told['gnatsd_varz_connections{"server_id": "http://b:8222"}'] == 0
    assert told['gnatsd_up{"server_id": "http://b:8222"}'] == 1


async def test_a_name_of_an_islands_own_making_is_no_label() -> None:
    scene, metrics, _ = await watched()
    island = await scene.island(name='evil"} 1\nx{a="')
    hostile = replace(island.offers[0], slug="of-its-own-making")
    scene.world.fleet.saw(replace(island, offers=(hostile,)), ())

    page = (await metrics.page(""))[0].decode()

    assert "evil" not in page
    assert "of-its-own-making" not in page


async def test_books_that_do_not_balance_are_told() -> None:
    scene, _, database = await watched()

    async def books() -> Books:
        return replace(BOOKS, balances={"user": 5, "grants": -4}, held=7)

    metrics = Metrics(scene.world, INNARDS, database.server, books, None)
    told = values((await metrics.page(""))[0])

    assert told["archipelag_ledger_sum_microcredits"] == 1
    assert told["archipelag_ledger_held_drift_microcredits"] == 5


async def test_accounts_are_added_up_once_a_minute_and_told_with_their_age() -> None:
    scene, metrics, database = await watched()
    read_at = scene.clock.now().timestamp()

    for _ in range(int(BOOKS_KEPT_S / KEPT_S)):
        told = values((await metrics.page(""))[0])
        scene.clock.advance(KEPT_S)
    before = database.added_up
    later = values((await metrics.page(""))[0])

    name = "archipelag_ledger_read_timestamp_seconds"
    assert told[name] == pytest.approx(read_at)
    assert (before, database.added_up) == (1, 2)
    assert later[name] == pytest.approx(read_at + BOOKS_KEPT_S)
    assert database.asked == BOOKS_KEPT_S / KEPT_S + 1


async def test_books_that_could_not_be_read_are_told_as_such_and_tried_again_soon() -> None:
    scene, metrics, database = await watched()
    database.away = True

    missing = values((await metrics.page(""))[0])
    database.away = False
    scene.clock.advance(KEPT_S)
    told = values((await metrics.page(""))[0])

    assert missing['archipelag_scrape_part_up{"part": "ledger"}'] == 0
    assert "archipelag_ledger_sum_microcredits" not in missing
    assert told['archipelag_scrape_part_up{"part": "ledger"}'] == 1


async def test_how_streams_are_written_and_callers_found_is_told() -> None:
    _, metrics, _ = await watched()

    told = values((await metrics.page(""))[0])

    assert told["archipelag_stream_writes_total"] == 9
    assert told["archipelag_stream_writes_held_total"] == 4
    assert told["archipelag_stream_hold_seconds"] == 0.015
    assert told["archipelag_stream_load_ratio"] == 0.6
    assert told['archipelag_callers_total{"found": "asked"}'] == 2
    assert told['archipelag_callers_total{"found": "known"}'] == 5


async def test_each_essential_of_the_pages_is_among_what_is_scraped() -> None:
    good = {"/varz": {"in_msgs": 4}, "/jsz": {"account_details": [{"stream_detail": [{}]}]}}
    scene, metrics, _ = await watched(answering({"a": good, "b": good}))
    scene.world.tally.turned("beat", 0.0)

    read = await metrics.read(SAMPLES)

    assert {sample for sample in SAMPLES if sample not in read} == set()
    assert read[Sample("gnatsd_varz_in_msgs")] == 8
    assert read[Sample("gnatsd_up")] == 2


async def test_what_is_away_is_not_kept_as_nothing() -> None:
    scene, metrics, database = await watched()
    database.away = True
    world = replace(scene.world, figures=metrics)

    await note_history(world)
    database.away = False
    scene.clock.advance(KEPT_S)
    await note_history(world)
    scene.clock.advance(KEPT_S)
    await note_history(world)

    (minute,) = world.history.minutes()
    assert (
        minute.marks[Sample("archipelag_ledger_sum_microcredits", across=Across.FARTHEST)].most == 0
    )
    assert Sample("gnatsd_up") not in minute.marks
    assert database.asked == 2, "after an error soon again, then once a minute"


def test_samples_of_one_name_become_one_number() -> None:
    family = gauges("x", "", ["kind"], {"a": -7.0, "b": 2.0, "c": 3.0})
    whole = [Sample("x", across=across) for across in Across]
    part, absent = Sample("x", ("kind", "b")), Sample("x", ("kind", "d"))

    found = picked([family], [*whole, part, absent])

    assert [found[one] for one in whole] == [-2, 3, -7, 7]
    assert found[part] == 2
    assert absent not in found


async def test_tokens_are_told_while_they_flow_and_none_twice_when_the_job_has_ended() -> None:
    scene, metrics, _ = await watched()
    await scene.island()
    job = await scene.running()
    name = f'archipelag_items_total{{"workload": "{job.cargo_slug}"}}'
    scene.stream(job, "a", "b")

    flowing = values((await metrics.page(""))[0])[name]
    await track(scene.world, scene.report(job, "a", "b", "c"))
    ended = values((await metrics.page(""))[0])[name]

    assert (flowing, ended) == (2, 3)


async def test_what_goes_on_here_is_counted_from_where_it_came_here() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    scene.stream(job, "a", "b")
    await upkeep.save_marks(scene.world)
    other = scene.another()

    await adopt(other, job.id, scene.world.home)
    await track(other, scene.report(job, "a", "b", "c"))

    assert other.tally.items == {job.cargo_slug: 1}
