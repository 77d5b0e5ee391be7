"""A first start from nothing: a pairing code, a broker, a catalogue, and work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from archipelag_contracts.pb.archipelag.v1 import enrolment_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.enrolment_pb2_grpc import (
    EnrolmentServicer,
    add_EnrolmentServicer_to_server,
)
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.agent import Agent
from archipelag_island.config import Settings
from archipelag_island.errors import EnrolmentRefused
from archipelag_island.runtime import RuntimeInfo
from archipelag_island.testing.builders import ECHO_MODULE, ISLAND, an_assignment
from archipelag_island.testing.fake_runtime import FakeRuntime


class Desk(EnrolmentServicer):
    """Away at first, then takes one code."""

    def __init__(self, coordinator: Any, broker: Any, away: int) -> None:
        self.coordinator = coordinator
        self.broker = broker
        self.away = away
        self.enrolled: list[Any] = []
        self.renewed = asyncio.Event()
        self.lasts_s = 3600

    async def Challenge(self, request: Any, context: Any) -> pb.ChallengeReply:  # noqa: N802
        if self.away > 0:
            self.away -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        return pb.ChallengeReply(nonce=b"n" * 16)

    async def Enrol(self, request: Any, context: Any) -> pb.EnrolReply:  # noqa: N802
        if request.pairing_code != "GOOD234":
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown")
        self.enrolled.append(request)
        return self._reply()

    async def Renew(self, request: Any, context: Any) -> pb.EnrolReply:  # noqa: N802
        self.renewed.set()
        return self._reply()

    def _reply(self) -> pb.EnrolReply:
        return pb.EnrolReply(
            island_id=ISLAND,
            broker_urls=[self.broker.url],
            broker_jwt_expires_at=int(time.time()) + self.lasts_s,
            assignment_keys=[self.coordinator.key.public],
            publisher_keys=[self.coordinator.publisher.public],
            approved=True,
        )


@pytest.fixture
async def desk(coordinator: Any, broker: Any) -> AsyncIterator[tuple[Desk, str]]:
    made = Desk(coordinator, broker, away=1)
    server = grpc.aio.server()
    add_EnrolmentServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield made, f"127.0.0.1:{port}"
    await server.stop(None)


def settings(home: Path, coordinator: str, code: str) -> Settings:
    return Settings(
        home=home,
        coordinator=coordinator,
        name="first",
        model_dir=home / "models",
        extra_engines={"echo": ECHO_MODULE},
        pairing_code=code,
    )


async def test_from_a_pairing_code_to_the_first_answer(
    desk: tuple[Desk, str], coordinator: Any, tmp_path: Path
) -> None:
    counter, address = desk
    counter.lasts_s = 1
    stop = asyncio.Event()
    agent = asyncio.create_task(Agent(settings(tmp_path / "i", address, "GOOD234")).run(stop))
    await coordinator.until_warm()

    reply = await coordinator.assign(an_assignment())
    await coordinator.until(lambda: coordinator.reports, "a report")
    async with asyncio.timeout(PATIENCE_S):
        await counter.renewed.wait()
    stop.set()
    await agent
    # The second start needs neither code nor address.
    stop = asyncio.Event()
    again = asyncio.create_task(Agent(settings(tmp_path / "i", "", "")).run(stop))
    boots = {beat.boot_id for beat in coordinator.beats}
    await coordinator.until(lambda: coordinator.beats[-1].boot_id not in boots, "a new boot")
    stop.set()
    await again

    assert reply.accepted
    assert coordinator.texts() == ["one ", "two ", "three "]
    assert len(counter.enrolled) == 1
    assert counter.enrolled[0].capabilities.engines
    assert (tmp_path / "i" / "coordinator").read_text().strip() == address


async def test_wrong_code_ends_the_agent_with_advice(
    desk: tuple[Desk, str], tmp_path: Path
) -> None:
    _, address = desk

    with pytest.raises(EnrolmentRefused, match="not known"):
        await Agent(settings(tmp_path / "i", address, "WRONG23")).run(asyncio.Event())

    assert not (tmp_path / "i" / "identity.json").exists()


class Looked(FakeRuntime):
    looked = False

    async def probe(self) -> RuntimeInfo:
        self.looked = True
        return await super().probe()


async def test_without_a_network_it_says_how_to_join_before_it_looks_at_the_machine(
    tmp_path: Path,
) -> None:
    runtime = Looked()
    agent = Agent(settings(tmp_path / "i", "127.0.0.1:1", ""), runtime=runtime)

    with pytest.raises(EnrolmentRefused, match="archipelag-island join HOST:PORT CODE"):
        await agent.run(asyncio.Event())

    assert not runtime.looked


async def test_agent_waiting_for_a_coordinator_can_be_stopped(tmp_path: Path) -> None:
    stop = asyncio.Event()
    agent = asyncio.create_task(Agent(settings(tmp_path / "i", "127.0.0.1:1", "GOOD234")).run(stop))
    await asyncio.sleep(0)

    stop.set()
    async with asyncio.timeout(PATIENCE_S):
        await agent

    assert not (tmp_path / "i" / "identity.json").exists()
