"""Torn lines and frozen processes in the middle of an answer: a whole answer or a clear error, never a hang."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from archipelag_embedded.fixtures import PATIENCE_S

from .conftest import CHAT_MODEL, Network, wait_for

LONG = {
    "model": CHAT_MODEL,
    "messages": [{"role": "user", "content": "Tell me a very long story about a lighthouse."}],
    "max_tokens": 400,
    "stream": True,
    "stream_options": {"include_usage": True},
}


@dataclass
class Read:
    """What a reader in a thread of its own has got."""

    events: list[str] = field(default_factory=list)
    status: int = 0

    @property
    def error(self) -> dict[str, Any] | None:
        """None after a whole answer."""
        assert self.events[-1] == "[DONE]"
        data: dict[str, Any] = json.loads(self.events[-2])
        return data.get("error")


def disturbed(network: Network, key: str, disturb: Callable[[], None]) -> Read:
    """Asks, disturbs after some items, and returns what was read until the end."""
    read, begun = Read(), threading.Event()

    def reading() -> None:
        with network.http(key) as http, http.stream("POST", "/chat/completions", json=LONG) as told:
            read.status = told.status_code
            for line in told.iter_lines():
                if line.startswith("data:"):
                    read.events.append(line[5:].strip())
                if len(read.events) == 6:
                    begun.set()

    thread = threading.Thread(target=reading)
    thread.start()
    assert begun.wait(PATIENCE_S)
    disturb()
    thread.join(2 * PATIENCE_S)
    assert not thread.is_alive(), "no end"
    assert read.status == 200
    return read


def credits_of(network: Network, key: str) -> Decimal:
    with network.http(key) as http:
        return Decimal(str(http.get("/account").json()["data"]["credits"]))


def answers(network: Network) -> bool:
    with network.http() as http:
        body = LONG | {"stream": False, "max_tokens": 2, "stream_options": None}
        return http.post("/chat/completions", json=body).status_code == 200


@pytest.mark.real_model
def test_a_broker_that_is_killed_in_the_middle_of_an_answer(network: Network) -> None:
    key = network.user("torn-broker@example.org", "10")

    def kill() -> None:
        for process in network.processes("nats-server"):
            process.kill()

    read = disturbed(network, key, kill)

    paid = 10 - credits_of(network, key)
    if read.error is None:
        usage = json.loads(read.events[-2])["usage"]
        assert paid == Decimal(usage["credits_used"]) > 0
    else:
        assert read.error["code"] in ("lease_lost", "island_stopped"), read.error
        assert paid == 0
    wait_for(lambda: answers(network), "it answers again")


@pytest.mark.real_model
def test_an_island_that_is_frozen_in_the_middle_of_an_answer(network: Network) -> None:
    key = network.user("frozen@example.org", "10")
    agents = network.processes("archipelag_island")
    assert agents

    def freeze() -> None:
        for agent in agents:
            agent.suspend()

    try:
        read = disturbed(network, key, freeze)
    finally:
        for agent in agents:
            agent.resume()

    # It was waited for, since there is no other, and did not come back in time.
    assert read.error is not None and read.error["code"] == "no_capacity"
    assert "was silent" in read.error["message"]
    assert credits_of(network, key) == 10
    wait_for(lambda: answers(network), "it answers again")


@pytest.mark.real_model
def test_a_database_that_is_killed_in_the_middle_of_an_answer(network: Network) -> None:
    key = network.user("torn-database@example.org", "10")
    postmaster = next(p for p in network.processes("postgres") if "-D" in p.cmdline())

    read = disturbed(network, key, postmaster.kill)

    assert read.error is None, "tokens do not pass through the database"
    usage = json.loads(read.events[-2])["usage"]
    assert 10 - credits_of(network, key) == Decimal(usage["credits_used"]) > 0


@pytest.mark.real_model
def test_a_coordinator_that_is_frozen_for_a_while_goes_on(network: Network) -> None:
    key = network.user("pause@example.org", "10")
    (coordinator,) = network.processes("archipelag_coordinator")

    def pause() -> None:
        coordinator.suspend()
        threading.Timer(4, coordinator.resume).start()

    read = disturbed(network, key, pause)

    if read.error is None:
        assert 10 - credits_of(network, key) > 0
    else:
        assert credits_of(network, key) == 10
    wait_for(lambda: answers(network), "it answers again")
