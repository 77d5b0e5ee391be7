"""The whole agent over a real broker, with the echo Cargo as a real process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as job
from archipelag_contracts.signing import SigningKey, chain
from archipelag_island.testing.builders import a_key, an_assignment, an_input

if TYPE_CHECKING:
    Coordinator = Any
    StartAgent = Any
    Broker = Any


async def test_assignment_is_run_streamed_and_reported(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    start_agent()
    await coordinator.until_warm()

    reply = await coordinator.assign(an_assignment(input=an_input("hello my friend")))
    await coordinator.until(lambda: coordinator.reports, "a report")

    assert reply.accepted
    assert coordinator.texts() == ["hello ", "my ", "friend "]
    assert coordinator.chunks[0].prompt_tokens == 3
    assert coordinator.end is not None
    assert coordinator.end.cause == common.CAUSE_COMPLETED
    assert coordinator.end.next == 3
    report = coordinator.reports[0]
    assert list(report.texts) == coordinator.texts()
    assert list(report.tokens) == [0, 1, 2]
    assert report.output_chain == chain([("hello ", 0), ("my ", 1), ("friend ", 2)])
    assert report.usage.output_items == 3
    assert report.finish_reason == "stop"


async def test_first_heartbeat_says_what_the_host_can_do(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    start_agent()
    await coordinator.until_warm()

    first = coordinator.beats[0]

    assert first.capabilities.cores >= 1
    assert "echo" in first.capabilities.engines
    told = {runtime.name: runtime for runtime in first.capabilities.runtimes}
    assert told["native"].not_isolated
    assert not coordinator.beats[-1].HasField("capabilities")
    sequences = [beat.sequence for beat in coordinator.beats]
    assert sequences == sorted(set(sequences))


async def test_cancelled_run_ends_and_says_so(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    start_agent()
    await coordinator.until_warm()
    await coordinator.assign(an_assignment(input=an_input("again", items=1000, delay_ms=20)))
    await coordinator.until(lambda: len(coordinator.texts()) >= 2, "two items")

    await coordinator.cancel(a_key())
    await coordinator.until(lambda: coordinator.reports, "a report")

    report = coordinator.reports[0]
    assert report.cause == common.CAUSE_CANCELLED
    assert report.next_position == len(coordinator.texts()) < 1000


async def test_dead_cargo_is_reported_and_started_again(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    start_agent()
    await coordinator.until_warm()
    await coordinator.assign(an_assignment(input=an_input("a b c", die_at=2)))
    await coordinator.until(lambda: coordinator.reports, "a report")
    beats = len(coordinator.beats)

    await coordinator.until(lambda: len(coordinator.beats) > beats, "a heartbeat")
    await coordinator.until_warm()
    reply = await coordinator.assign(
        an_assignment(
            a_key(epoch=2), input=an_input("a b c"), first_position=2, resume_tokens=(0, 1)
        )
    )
    await coordinator.until(lambda: len(coordinator.reports) == 2, "a second report")

    first, second = coordinator.reports
    assert first.cause == common.CAUSE_CARGO_DIED
    assert "told to die" in first.error
    assert reply.accepted
    assert second.cause == common.CAUSE_COMPLETED
    assert coordinator.texts() == ["a ", "b ", "c "]


async def test_bad_input_is_for_the_customer(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    start_agent()
    await coordinator.until_warm()

    await coordinator.assign(an_assignment(input=b"{}"))
    await coordinator.until(lambda: coordinator.reports, "a report")

    assert coordinator.reports[0].cause == common.CAUSE_BAD_INPUT
    assert "text" in coordinator.reports[0].error


async def test_hostile_assignments_are_refused(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    start_agent()
    await coordinator.until_warm()
    good = an_assignment()
    await coordinator.assign(good)
    await coordinator.until(lambda: coordinator.reports, "a report")

    wrong_key = await coordinator.assign(an_assignment(a_key(2)), key=SigningKey.generate())
    replayed = await coordinator.assign(good)
    other_digest = await coordinator.assign(
        an_assignment(a_key(3), cargo_digest="sha256:" + "0" * 64)
    )
    other_island = await coordinator.assign(an_assignment(a_key(4), island_id="isl_" + "z" * 26))

    assert wrong_key.refusal.code == job.Refusal.CODE_BAD_SIGNATURE
    assert replayed.refusal.code == job.Refusal.CODE_STALE
    assert other_digest.refusal.code == job.Refusal.CODE_DIGEST_MISMATCH
    assert other_island.refusal.code == job.Refusal.CODE_BAD_SIGNATURE
    assert len(coordinator.reports) == 1


async def test_stopped_island_reports_what_it_ran_and_leaves_nothing(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    running = start_agent()
    await coordinator.until_warm()
    await coordinator.assign(an_assignment(input=an_input("again", items=1000, delay_ms=20)))
    await coordinator.until(coordinator.texts, "an item")

    await running.stop()
    await coordinator.until(lambda: coordinator.reports, "a report")

    assert coordinator.reports[0].cause == common.CAUSE_ISLAND_STOPPED
    assert not running.agent.runtime._several["native"]._started
    assert not (start_agent.home / "status.json").exists()
    assert len(asyncio.all_tasks()) < 50


async def test_crashed_island_reports_after_its_restart_until_told_to_forget(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    first = start_agent()
    await coordinator.until_warm()
    await coordinator.assign(an_assignment(input=an_input("again", items=1000, delay_ms=20)))
    await coordinator.until(coordinator.texts, "an item")
    await first.crash()
    reports = len(coordinator.reports)

    start_agent()
    await coordinator.until(lambda: len(coordinator.reports) > reports, "a report")
    coordinator.next_reply = {"resend": [a_key()]}
    await coordinator.until(lambda: len(coordinator.reports) > reports + 1, "it again")
    coordinator.next_reply = {"forget": [a_key()]}
    await coordinator.until(lambda: not coordinator.beats[-1].held, "nothing held")

    assert coordinator.reports[-1].cause == common.CAUSE_ISLAND_STOPPED
    assert coordinator.reports[-1].job_id == a_key().job_id


async def test_attempt_that_is_no_longer_ours_ends_without_a_report(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    start_agent()
    await coordinator.until_warm()
    await coordinator.assign(an_assignment(input=an_input("again", items=1000, delay_ms=20)))
    await coordinator.until(coordinator.texts, "an item")

    coordinator.next_reply = {"stop": [a_key()]}
    await coordinator.until(lambda: not coordinator.beats[-1].held, "nothing held")

    assert not coordinator.reports


async def test_island_comes_back_when_the_broker_does(
    coordinator: Coordinator, start_agent: StartAgent, broker: Broker
) -> None:
    start_agent()
    await coordinator.until_warm()
    await broker.stop()
    await broker.start()
    beats = len(coordinator.beats)

    await coordinator.until(lambda: len(coordinator.beats) > beats, "a heartbeat")
    reply = await coordinator.assign(an_assignment(input=an_input("still here")))
    await coordinator.until(lambda: coordinator.end is not None, "the end")

    assert reply.accepted
    assert coordinator.texts() == ["still ", "here "]


async def test_what_was_on_a_line_that_broke_is_said_again(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    running = start_agent()
    await coordinator.until_warm()
    await coordinator.assign(an_assignment(input=an_input("again", items=60, delay_ms=20)))
    await coordinator.until(lambda: len(coordinator.texts()) >= 5, "five items")
    client = running.agent.world.link._client
    transport = client._transport._io_writer.transport

    # A router forgets the connection: what is written goes nowhere until the end is noticed.
    client._transport._io_writer.write = lambda data: None
    client._transport._io_writer.writelines = lambda data: None
    await asyncio.sleep(0.1)
    transport.abort()
    await coordinator.until(lambda: coordinator.end is not None, "the end")

    accepted = 0
    for chunk in coordinator.chunks:
        if chunk.texts:
            assert chunk.first <= accepted, "no gap, in whatever order"
            accepted = max(accepted, chunk.first + len(chunk.texts))
    assert accepted == 60 and coordinator.end.next == 60
    assert sum(chunk.first == 0 and bool(chunk.texts) for chunk in coordinator.chunks) >= 2
