"""The Compose files of two regions, as processes: the second joins the first and serves from the first one's Island."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import archipelag
import psycopg
import pytest

from . import composed
from .topology import Topology, standing

pytestmark = pytest.mark.timeout(300)
ONE = ("coordinator-1",)
"""Of the two that the file has: what is tried here needs no second."""


@pytest.fixture
def east(postgres_dsn: str) -> Iterator[Topology]:
    with standing("east", postgres_dsn, over=composed.FIRST, coordinators=ONE) as one:
        yield one


@pytest.fixture
def west(east: Topology) -> Iterator[Topology]:
    with standing(
        "west", east.dsn, over=composed.LINKED, first=east, coordinators=ONE, island=False
    ) as one:
        yield one


def test_who_asks_the_second_region_is_served_by_the_firsts_island(west: Topology) -> None:
    messages = [{"role": "user", "content": "over the link and back"}]
    with archipelag.Client(west.base, west.key, timeout_s=120) as client:
        stream = client.chat_stream(messages, model="slow-chat")
        said = "".join(piece.text for piece in stream)
        (job,) = client.list_jobs()
        why = client.why_job(job.id)
    with psycopg.connect(west.dsn) as connection:
        rows = connection.execute(
            "SELECT c.region FROM jobs j JOIN coordinators c ON c.relay = j.home WHERE j.id = %s",
            (job.id,),
        ).fetchall()

    assert said.split() == ["over", "the", "link", "and", "back"]
    assert [attempt.island for attempt in why.attempts] == ["island-1"]
    assert rows == [("west",)]
    # Of the proxy, by the process that serves: where there is Linux.
    assert (why.reader_round_trip_ms is not None) == (sys.platform == "linux")
