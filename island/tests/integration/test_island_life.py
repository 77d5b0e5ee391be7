"""An Island's life with its owner: drained, resumed, paused, killed, cut off and back."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as job
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters import orders
from archipelag_island.adapters.senses.processors import Others
from archipelag_island.domain.caps import Caps
from archipelag_island.domain.owner import Readings, Rules
from archipelag_island.services.yield_to_owner import LOOK_S
from archipelag_island.testing.builders import a_key, an_assignment, an_input

Coordinator = Any
StartAgent = Any
Command = Any

LONG = {"input": an_input("again", items=1000, delay_ms=20)}


def draining(coordinator: Coordinator) -> Callable[[], bool]:
    return lambda: coordinator.beats[-1].draining and coordinator.beats[-1].slots_free == 0


async def working(coordinator: Coordinator, number: int = 1, **changes: Any) -> None:
    """An Island that has begun with a job."""
    await coordinator.until_warm()
    reply = await coordinator.assign(an_assignment(a_key(number), **(LONG | changes)))
    assert reply.accepted, reply
    await coordinator.until(coordinator.texts, "an item")


async def test_drain_lets_a_run_finish_refuses_others_and_says_so(
    coordinator: Coordinator, start_agent: StartAgent, command: Command
) -> None:
    start_agent.enrolled()
    await command.start("run")
    await working(coordinator, input=an_input("again", items=160, delay_ms=50))

    draining_now = await command.start("drain", "--within", "60")
    await coordinator.until(draining(coordinator), "a heartbeat that says so")
    refused = await coordinator.assign(an_assignment(a_key(2)))
    async with asyncio.timeout(PATIENCE_S):
        out, err = await draining_now.communicate()
    await command.status_with("no, drained;")
    resumed, _ = await command.ask("resume")
    accepted = await coordinator.assign(an_assignment(a_key(3)))

    assert draining_now.returncode == 0, err.decode()
    assert "1 still run" in out.decode() and "drained;" in out.decode()
    assert refused.refusal.code == job.Refusal.CODE_DRAINING
    assert coordinator.reports[0].cause == common.CAUSE_COMPLETED
    assert resumed == 0
    assert accepted.accepted


async def test_drain_hands_over_what_does_not_finish_in_time(
    coordinator: Coordinator, start_agent: StartAgent, command: Command
) -> None:
    start_agent.enrolled()
    await command.start("run")
    await working(coordinator)

    status, told = await command.ask("drain", "--within", "0.5")

    report = coordinator.reports[0]
    assert status == 0, told
    assert "1 handed over" in told
    assert (report.cause, "drained" in report.error) == (common.CAUSE_ISLAND_STOPPED, True)
    assert report.next_position == len(coordinator.texts()) > 0
    assert coordinator.end.next == report.next_position


async def test_drain_without_waiting_returns_while_the_run_goes_on_and_resume_keeps_it(
    coordinator: Coordinator, start_agent: StartAgent, command: Command
) -> None:
    start_agent.enrolled()
    await command.start("run")
    await working(coordinator, input=an_input("again", items=4000, delay_ms=10))

    status, told = await command.ask("drain", "--within", "3600", "--no-wait")
    waiting = await command.start("drain", "--within", "3600")
    await coordinator.until(draining(coordinator), "a heartbeat that says so")
    assert waiting.stdout is not None
    await waiting.stdout.readline()
    await command.ask("resume")
    async with asyncio.timeout(PATIENCE_S):
        _, err = await waiting.communicate()
    said = len(coordinator.texts())
    await coordinator.until(lambda: len(coordinator.texts()) > said, "another item")

    assert status == 0 and "1 still run" in told
    assert waiting.returncode == 4 and "resumed" in err.decode()
    assert not coordinator.reports


async def test_status_of_an_agent_of_another_version_is_no_riddle(
    start_agent: StartAgent, command: Command
) -> None:
    start_agent.enrolled()
    old = {"pid": os.getpid(), "island_id": "isl", "name": "old"}
    (start_agent.home / "status.json").write_text(json.dumps(old))

    status, told = await command.ask("status")
    _, advice = await command.ask("doctor")

    assert status == 0 and "another version" in told
    assert "another version" in advice


async def test_order_to_nobody_fails_and_says_why(command: Command) -> None:
    for order in ("drain", "resume"):
        status, told = await command.ask(order)
        assert status == 1
        assert "no agent runs" in told and "Traceback" not in told


async def test_killed_agent_leaves_a_socket_that_its_successor_replaces(
    coordinator: Coordinator, start_agent: StartAgent, command: Command
) -> None:
    start_agent.enrolled()
    first = await command.start("run")
    await coordinator.until_warm()
    first.kill()
    await first.communicate()
    left = os.access(start_agent.home / "control.sock", os.F_OK)
    nobody, told = await command.ask("drain")

    await command.start("run")
    await coordinator.until_warm(again=True)
    drained, _ = await command.ask("drain")

    assert left
    assert (nobody, drained) == (1, 0), told


async def test_second_agent_on_the_same_folder_takes_nothing_from_the_first(
    coordinator: Coordinator, start_agent: StartAgent, command: Command
) -> None:
    start_agent()
    await coordinator.until_warm()

    second, _ = await command.ask("run")
    far = await asyncio.to_thread(orders.order, start_agent.home, "drain")
    after, _ = await command.ask("status", "--json")

    assert (second, after) == (1, 0)
    assert far.draining


async def test_restart_ends_a_drain(coordinator: Coordinator, start_agent: StartAgent) -> None:
    first = start_agent()
    await coordinator.until_warm()
    await asyncio.to_thread(orders.order, start_agent.home, "drain")
    await first.stop()

    start_agent()
    await coordinator.until_warm(again=True)
    reply = await coordinator.assign(an_assignment())

    assert reply.accepted


async def test_agent_killed_in_mid_run_reports_it_after_its_restart_from_a_torn_journal(
    coordinator: Coordinator, start_agent: StartAgent, command: Command
) -> None:
    start_agent.enrolled()
    first = await command.start("run")
    await working(coordinator)
    first.kill()
    await first.communicate()
    with (start_agent.home / "journal").open("ab") as journal:
        journal.write(b'1234abcd {"job":"job_')

    await command.start("run")
    await coordinator.until(lambda: coordinator.reports, "a report")
    await coordinator.until_warm(again=True)
    replayed = await coordinator.assign(an_assignment(**LONG))
    resumed = await coordinator.assign(an_assignment(a_key(1, epoch=2)))
    coordinator.next_reply = {"forget": [a_key(1)]}
    await coordinator.until(
        lambda: [h.epoch for h in coordinator.beats[-1].held] == [2], "only the new attempt held"
    )

    report = coordinator.reports[0]
    assert (report.cause, report.epoch) == (common.CAUSE_ISLAND_STOPPED, 1)
    assert replayed.refusal.code == job.Refusal.CODE_STALE
    assert resumed.accepted


async def test_island_cut_off_and_back_ends_what_it_lost_and_its_old_epoch_is_refused(
    coordinator: Coordinator, start_agent: StartAgent, broker: Any
) -> None:
    running = start_agent()
    await working(coordinator, input=an_input("again", items=5000, delay_ms=20))
    await broker.stop()
    held_alone = dict(running.agent.world.now.runs)
    coordinator.next_reply = {"stop": [a_key()]}
    await broker.start()

    await coordinator.until(
        lambda: coordinator.beats and not coordinator.beats[-1].held, "nothing held"
    )
    old = await coordinator.assign(an_assignment(**LONG))
    new = await coordinator.assign(an_assignment(a_key(epoch=2)))
    await coordinator.until(lambda: coordinator.reports, "a report")

    assert list(held_alone) == [a_key()]
    assert old.refusal.code == job.Refusal.CODE_STALE
    assert new.accepted
    assert [report.epoch for report in coordinator.reports] == [2]


class Turned:
    """Senses that a test turns."""

    def __init__(self) -> None:
        self.seen = Readings(cpu_others=0.0, input_age_s=999.0)

    def read(self) -> Readings:
        return self.seen


async def test_pause_reaches_the_coordinator_at_once_and_ends_by_itself(
    coordinator: Coordinator, start_agent: StartAgent, command: Command
) -> None:
    senses = Turned()
    rules = Rules(on_input=True, quiet_s=3 * LOOK_S)
    start_agent({"rules": rules}, senses=senses)
    await working(coordinator)
    beats = len(coordinator.beats)

    senses.seen = Readings(input_age_s=0.0)
    await coordinator.until(draining(coordinator), "a heartbeat that says so")
    await coordinator.until(lambda: coordinator.reports, "a report")
    refused = await coordinator.assign(an_assignment(a_key(2)))
    await command.status_with("paused: somebody uses")
    _, advice = await command.ask("doctor")
    senses.seen = Readings(input_age_s=999.0)
    await coordinator.until(lambda: not coordinator.beats[-1].draining, "work again")
    accepted = await coordinator.assign(an_assignment(a_key(3)))

    assert len(coordinator.beats) > beats
    assert coordinator.reports[0].cause == common.CAUSE_ISLAND_STOPPED
    assert refused.refusal.code == job.Refusal.CODE_OWNER_BUSY
    assert "keyboard" in refused.refusal.reason
    assert "paused: somebody uses" in advice
    assert accepted.accepted


BURN = """
import os, sys, time
uid = int(sys.argv[1])
if uid != os.getuid():
    os.setgid(uid)
    os.setuid(uid)
    os.setsid()
end = time.monotonic() + 3.0
while time.monotonic() < end:
    pass
"""


@contextmanager
def burning(count: int, uid: int | None = None) -> Iterator[list[int]]:
    """Programs that use a processor each, for three seconds at most; their process ids."""
    program = [sys.executable, "-I", "-S", "-c", BURN, str(os.getuid() if uid is None else uid)]
    burners = [subprocess.Popen(program) for _ in range(count)]
    try:
        yield [burner.pid for burner in burners]
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@contextmanager
def a_stranger() -> Iterator[int]:
    """Some other program that does nothing; its process id."""
    program = [sys.executable, "-I", "-S", "-c", "input()"]
    stranger = subprocess.Popen(program, stdin=subprocess.PIPE)
    try:
        yield stranger.pid
    finally:
        stranger.communicate()


async def test_other_programs_at_work_pause_an_island(
    coordinator: Coordinator, start_agent: StartAgent, command: Command
) -> None:
    command.settings = {"ISLAND_PAUSE_CPU_PERCENT": "80", "ISLAND_QUIET_S": "1"}
    start_agent.enrolled()
    await command.start("run")
    await coordinator.until_warm()
    for _ in range(round(2 * PATIENCE_S)):
        reply = await coordinator.assign(an_assignment(**LONG))
        if reply.accepted:
            break
        assert reply.refusal.code == job.Refusal.CODE_OWNER_BUSY, reply
        await asyncio.sleep(0.5)
    else:
        pytest.skip("needs a quiet minute: other programs use this machine all the time")

    with burning(2 * (os.cpu_count() or 1)):
        await coordinator.until(lambda: coordinator.reports, "a report")

    report = coordinator.reports[0]
    assert report.cause == common.CAUSE_ISLAND_STOPPED
    assert "other programs use the processors" in report.error


@pytest.mark.parametrize("uid", [None, 65_534])
async def test_program_is_the_owners_unless_it_descends_from_us(uid: int | None) -> None:
    if uid is not None and os.getuid() != 0:
        pytest.skip("only root can start a Cargo as another user")
    shares: list[tuple[float, float]] = []
    with a_stranger() as stranger:
        ours, theirs = (Others(Path("/proc"), pid) for pid in (os.getpid(), stranger))
        with burning(1, uid):
            for _ in range(8):
                both = (ours.read(), theirs.read())
                if both[0] is not None and both[1] is not None:
                    shares.append((both[0], both[1]))
                await asyncio.sleep(LOOK_S)

    # What else runs on this machine is in both; only the burner makes the difference.
    assert shares
    difference = sum(as_theirs - as_ours for as_ours, as_theirs in shares) / len(shares)
    assert difference > 0.05 / (os.cpu_count() or 1)


async def test_status_for_programs_has_every_rule_and_cap_with_its_reading(
    coordinator: Coordinator, start_agent: StartAgent, command: Command
) -> None:
    command.settings = {
        "ISLAND_PAUSE_CPU_PERCENT": "100",
        "ISLAND_PAUSE_ON_INPUT": "no",
        "ISLAND_SCHEDULE": "mon-sun",
        "ISLAND_CORES_MAX": "1",
        "ISLAND_MEMORY_MB_MAX": "2048",
        "ISLAND_SEND_KB_S_MAX": "5000",
        "ISLAND_DISK_MB_MAX": "100000",
    }
    start_agent.enrolled()
    await command.start("run")
    await coordinator.until_warm()
    await coordinator.assign(an_assignment())
    await coordinator.until(lambda: coordinator.reports, "a report")

    async with asyncio.timeout(PATIENCE_S):
        while True:
            status, out = await command.ask("status", "--json")
            told = json.loads(out)
            if told["caps"]["memory_bytes"]["taken"] and told["completed"]:
                break
            await asyncio.sleep(0.2)
    _, page = await command.ask("status")

    caps, rules = told["caps"], told["rules"]
    assert status == 0
    assert caps["cores"]["cap"] == 1
    assert caps["memory_bytes"]["cap"] == 2048 << 20
    assert caps["memory_bytes"]["claimed"] > 0
    assert caps["send_bytes_per_s"]["sent_bytes"] > 0
    assert caps["disk_bytes"]["taken"] > 0
    assert rules["cpu"]["others_percent_max"] == 100
    assert rules["cpu"]["others_percent"] is not None
    assert rules["schedule"] == {"times": "mon-sun", "open": True}
    assert "MB claimed" in page and "schedule" in page


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two processors to lend one",
)
async def test_cargo_runs_on_the_processors_that_are_lent(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    running = start_agent({"caps": Caps(cores=1)})
    await coordinator.until_warm()

    (started,) = running.agent.runtime._several["native"]._started.values()
    bound = os.sched_getaffinity(started.living.pid)

    assert bound == {max(os.sched_getaffinity(0))}
    assert coordinator.beats[0].capabilities.cores == 1


async def test_sending_keeps_to_its_cap_and_loses_nothing(
    coordinator: Coordinator, start_agent: StartAgent
) -> None:
    running = start_agent({"caps": Caps(send_bytes_per_s=20_000)})
    await coordinator.until_warm()
    began = asyncio.get_running_loop().time()
    before = running.agent.bucket.sent_bytes

    # 60 items of a kilobyte: three times what a second may take.
    words = " ".join(f"{n:03d}" + "x" * 1000 for n in range(60))
    await coordinator.assign(an_assignment(input=an_input(words)))
    await coordinator.until(lambda: coordinator.reports, "a report")
    passed_s = asyncio.get_running_loop().time() - began
    sent = running.agent.bucket.sent_bytes - before

    assert [text[:3] for text in coordinator.texts()] == [f"{n:03d}" for n in range(60)]
    assert coordinator.reports[0].cause == common.CAUSE_COMPLETED
    assert sent > 120_000, "the output and the report"
    # A second's worth was saved up; the last chunk and the report were owed when they were sent.
    assert passed_s > 1.0
