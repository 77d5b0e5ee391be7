"""The Compose file's network at work: enrolled and asked through its proxy, and one of its Coordinators killed."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

import archipelag
import httpx
import pytest

from .topology import Topology, standing

pytestmark = pytest.mark.timeout(300)
WORDS = " ".join(f"word{number}" for number in range(60))


@pytest.fixture
def network(postgres_dsn: str) -> Iterator[Topology]:
    with standing("composed", postgres_dsn) as one:
        yield one


def messages(said: str, delay_ms: int) -> list[dict[str, str]]:
    knobs = json.dumps({"delay_ms": delay_ms})
    return [{"role": "system", "content": knobs}, {"role": "user", "content": said}]


def test_streams_come_through_at_once_and_outlive_a_coordinator(network: Topology) -> None:
    with httpx.Client(base_url=network.base, headers=network.headers, timeout=60) as http:
        # So few that all of it would fit into one buffer of the proxy.
        few = messages(" ".join(WORDS.split()[:10]), 500)
        body: dict[str, Any] = {"model": "slow-chat", "messages": few, "stream": True}
        with http.stream("POST", "/chat/completions", json=body) as answer:
            job = answer.headers["x-archipelag-job"]
            pieces = (line for line in answer.iter_lines() if '"content"' in line)
            next(pieces)
            # A proxy that gathers an answer would have shown nothing before its end.
            assert http.get(f"/jobs/{job}").json()["data"]["status"] == "running"
            assert len(list(pieces)) > 5
        kept_in = http.get(f"http://{network.place('proxy', 8420)}/metrics")
        assert kept_in.status_code == 404 and "nginx" in kept_in.text

    begun, answers = threading.Barrier(5, timeout=60), dict[int, str]()

    def read(number: int) -> None:
        with archipelag.Client(network.base, network.key, timeout_s=120) as client:
            said = ""
            for piece in client.chat_stream(messages(WORDS, 200), model="slow-chat"):
                if not said and piece.text:
                    begun.wait()
                said += piece.text
            answers[number] = said

    readers = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for reader in readers:
        reader.start()
    begun.wait()
    assert len(network.homes()) == 2, "the proxy sent every stream to one Coordinator"
    killed = network.processes.pop("coordinator-1")
    killed.signal(signal.SIGKILL)
    killed.wait(10)
    for reader in readers:
        reader.join(120)

    assert set(answers) == {0, 1, 2, 3}
    assert all(answer.split() == WORDS.split() for answer in answers.values()), answers
