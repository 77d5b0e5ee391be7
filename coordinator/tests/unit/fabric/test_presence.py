"""Only an Island's newest connection counts, and in whatever order a cluster's events arrive."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from archipelag_contracts.ids import IslandId
from archipelag_coordinator.adapters.nats.presence import Presence, read_event
from archipelag_coordinator.apps.islands import presence as acting
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.testing.worlds import Scene, a_scene
from archipelag_embedded.fixtures import PATIENCE_S

ISLAND = IslandId("isl_00000000000000000000000001")


def event(server: str, number: int, *, island: str = ISLAND, reason: str = "") -> bytes:
    """As nats-server 2.15 says it, without what we do not read."""
    claims = base64.urlsafe_b64encode(json.dumps({"name": f"{island} my host"}).encode())
    token = f"e30.{claims.decode().rstrip('=')}.c2ln"
    said: dict[str, Any] = {
        "server": {"id": server},
        "client": {"id": number, "user": "UABC", "jwt": token},
    }
    return json.dumps(said | ({"reason": reason} if reason else {})).encode()


class Heard:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.presence = Presence(
            lambda island: self.said.append(f"gone {island}"),
            lambda island: self.said.append(f"back {island}"),
            lambda: self.said.append("unsure"),
        )

    def connected(self, *args: Any) -> None:
        self.presence.connected(event(*args))

    def disconnected(self, *args: Any, reason: str = "Client Closed") -> None:
        self.presence.disconnected(event(*args, reason=reason))


GONE, BACK = f"gone {ISLAND}", f"back {ISLAND}"


def test_an_island_that_leaves_is_gone_and_one_that_comes_is_back() -> None:
    heard = Heard()

    heard.connected("N1", 7)
    heard.disconnected("N1", 7)
    heard.connected("N2", 3)

    assert heard.said == [BACK, GONE, BACK]


def test_a_connection_from_before_we_listened_counts() -> None:
    heard = Heard()

    heard.disconnected("N1", 7)

    assert heard.said == [GONE]


def test_the_end_of_an_older_connection_is_not_the_islands() -> None:
    heard = Heard()

    heard.connected("N1", 7)
    heard.connected("N2", 3)
    heard.disconnected("N1", 7, reason="Stale Connection")

    assert heard.said == [BACK, BACK]


def test_a_beginning_that_is_heard_after_its_end_brings_nobody_back() -> None:
    heard = Heard()

    heard.disconnected("N1", 7)
    heard.connected("N1", 7)

    assert heard.said == [GONE]


def test_a_server_that_goes_away_takes_no_island_with_it() -> None:
    heard = Heard()

    heard.connected("N1", 7)
    heard.disconnected("N1", 7, reason="Server Shutdown")

    assert heard.said == [BACK]


def test_after_our_own_line_was_lost_nothing_older_is_believed() -> None:
    heard = Heard()

    heard.connected("N1", 7)
    heard.presence.unsure()
    heard.disconnected("N1", 6)

    assert heard.said == [BACK, "unsure", GONE]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"client":{"id":1,"jwt":"x"},"server":{"id":"N"}}',
        b'{"client":{"id":1,"jwt":"a.AAAA.c"},"server":{"id":"N"}}',
        b'{"client":{"id":1},"server":{"id":"N"}}',
        event("N1", 7, island="coordinator"),
        event("N1", 7)[:-20],
        b" " * (65 << 10) + event("N1", 7),
    ],
)
def test_what_is_not_about_an_island_is_passed_over(data: bytes) -> None:
    assert read_event(data) is None


async def watched() -> tuple[Scene, acting.Presence, Any]:
    scene = await a_scene(policy=Policy(gone_grace_s=0.02))
    islands = [await scene.island(broker_rtt_ms=0.0) for _ in range(2)]
    job = await scene.running()
    scene.stream(job, "Hel")
    lost = next(i for i in islands if i.id == scene.bus.assigned[0].island_id)
    return scene, acting.Presence(scene.world), lost


async def ended(presence: acting.Presence) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(watch.task for watch in presence._watches.values()))


async def test_a_stream_of_an_island_that_is_gone_is_queued_for_another() -> None:
    scene, presence, lost = await watched()
    job_id = scene.bus.assigned[0].job_id

    presence.gone(lost.id)
    presence.gone(lost.id)
    scene.clock.advance(0.02)
    await ended(presence)

    job = await scene.job(job_id)
    assert job.status == "queued"
    assert job.waiting_for == (acting.REASON,)
    assert [said[:3] for said in scene.bus.cancelled] == [(lost.id, job_id, 1)]


async def test_while_we_are_deaf_nothing_is_given_up() -> None:
    scene, presence, lost = await watched()
    scene.relay.deaf = True

    presence.gone(lost.id)
    scene.clock.advance(1)
    await ended(presence)

    assert (await scene.job(scene.bus.assigned[0].job_id)).status == "running"


@pytest.mark.parametrize("word", ["back", "unsure"])
async def test_an_island_that_is_back_or_may_be_there_goes_on(word: str) -> None:
    scene, presence, lost = await watched()

    presence.gone(lost.id)
    presence.back(lost.id) if word == "back" else presence.unsure()
    scene.clock.advance(1)
    await ended(presence)

    assert (await scene.job(scene.bus.assigned[0].job_id)).status == "running"
    assert presence._watches == {}


async def test_an_island_without_a_stream_here_costs_no_watch() -> None:
    scene, presence, _ = await watched()

    presence.gone((await scene.island()).id)

    assert presence._watches == {}
