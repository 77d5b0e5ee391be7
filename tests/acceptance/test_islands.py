"""What an Island may do and what it may not: its own subjects only, honest work paid once, and cut off when told so."""

from __future__ import annotations

import asyncio
import contextlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import psutil
import pytest
from archipelag_contracts import ids, subjects
from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from archipelag_contracts.signing import SigningKey
from archipelag_embedded.fixtures import PATIENCE_S

from .conftest import CHAT_MODEL, Network, address, assignment_key, wait_for
from .raw_island import RawIsland, until

SOME_JOB = JobId("job_00000000000000000000000000")
ASK = {"model": "trap-model", "messages": [{"role": "user", "content": "Hello?"}]}


def credits_of(network: Network, key: str) -> Decimal:
    with network.http(key) as http:
        return Decimal(str(http.get("/account").json()["data"]["credits"]))


# --- Only its own ---------------------------------------------------------------------------------


async def test_real_credentials_reach_nothing_but_their_own(
    network: Network, hostile: RawIsland
) -> None:
    home: Path = network.home / "island"
    victim = RawIsland.of_home(home).id
    relay = RelayId("rly_00000000000000000000000000")
    root = f"{subjects.ISLANDS}.{victim}"

    for subject in (
        *(f"{root}.{kind}" for kind in ("heartbeat", "report", "assign", "cancel")),
        subjects.out(victim, relay, SOME_JOB, Epoch(1)),
        f"{subjects.inbox_prefix(victim)}.x",
        f"_INBOX.{relay}.x",
        "_INBOX.x",
        subjects.assign(hostile.id),
        subjects.ended(relay),
        subjects.KEYS_CHANGED,
        "$SYS.REQ.CLAIMS.UPDATE",
        "$SYS.REQ.SERVER.PING",
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.PURGE.REPORTS",
        "$JS.API.STREAM.MSG.GET.OUTPUT",
        "$JS.API.DIRECT.GET.OUTPUT",
        "$JS.API.CONSUMER.MSG.NEXT.REPORTS.coordinators",
        "$JS.ACK.REPORTS.coordinators.1.1.1.1.1",
    ):
        assert await hostile.refused(publish=subject), f"published on {subject}"
    for subject in (
        *(f"{root}.{kind}" for kind in ("heartbeat", "report", "assign", "cancel", "out.>", ">")),
        f"{subjects.ISLANDS}.*.assign",
        f"{subjects.inbox_prefix(victim)}.>",
        "_INBOX.>",
        f"_INBOX.{relay}.>",
        subjects.ALL_HEARTBEATS,
        subjects.ALL_OUTPUT,
        subjects.ended(relay),
        subjects.KEYS_CHANGED,
        "$SYS.>",
        "$JS.>",
        ">",
    ):
        assert await hostile.refused(subscribe=subject), f"subscribed to {subject}"
    assert not await hostile.refused(publish=subjects.heartbeat(hostile.id))
    assert not await hostile.refused(subscribe=subjects.assign(hostile.id))


async def test_a_pairing_code_lets_one_island_join_and_no_key_is_taken_for_anothers(
    network: Network,
) -> None:
    with network.http(network.user("pairing@example.org", "0")) as http:
        code = http.post("/pairing-codes").json()["data"]["code"]
    first = await RawIsland.enrol(address(network), code, "first")
    with pytest.raises(grpc.aio.AioRpcError):
        await RawIsland.enrol(address(network), code, "second")

    thief = RawIsland(first.id, SigningKey.generate(), first.token, first.url)
    with pytest.raises(grpc.aio.AioRpcError):
        await thief.renew(address(network))
    assert await thief.turned_away(), "a token without its key"
    await first.renew(address(network))
    assert not await first.turned_away()


# --- Suspended ------------------------------------------------------------------------------------


async def test_a_suspended_island_is_cut_off_and_its_streams_end_clearly(
    network: Network, hostile: RawIsland, trap: tuple[str, str]
) -> None:
    await hostile.offer(assignment_key(network), *trap)
    key = network.user("suspended@example.org", "10")
    reading = asyncio.create_task(_stream(network, key))
    assignment = await asyncio.wait_for(hostile.assignments.get(), PATIENCE_S)
    await hostile.say(assignment, pb.Chunk(texts=["one ", "two "], prompt_tokens=3))

    await asyncio.to_thread(_admin, network, hostile.id, "suspend")

    await asyncio.wait_for(hostile.closed.wait(), PATIENCE_S)
    status, events = await asyncio.wait_for(reading, PATIENCE_S)
    assert status == 200 and events[-1] == "[DONE]"
    error = json.loads(events[-2])["error"]
    assert error["code"] == "lease_lost" and "Island" in error["message"]
    assert await asyncio.to_thread(credits_of, network, key) == 10
    assert await hostile.turned_away()
    with pytest.raises(grpc.aio.AioRpcError):
        await hostile.renew(address(network))

    await asyncio.to_thread(_admin, network, hostile.id, "restore")
    await _comes_back(network, hostile)


async def _comes_back(network: Network, island: RawIsland) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await island.renew(address(network))
            if not await island.turned_away():
                return
            await asyncio.sleep(0.2)


def _admin(network: Network, island: IslandId, word: str) -> None:
    with network.http() as http:
        http.post(f"/admin/islands/{island}/{word}").raise_for_status()


async def _stream(
    network: Network, key: str, ask: dict[str, Any] | None = None
) -> tuple[int, list[str]]:
    """Status and the data of every event."""
    headers = {"Authorization": f"Bearer {key}"}
    body = (ask or ASK) | {"stream": True}
    async with httpx.AsyncClient(timeout=60, headers=headers) as http:
        url = f"{network.openai_url}/chat/completions"
        async with http.stream("POST", url, json=body) as answer:
            events = [
                line[5:].strip() async for line in answer.aiter_lines() if line.startswith("data:")
            ]
            return answer.status_code, events


@pytest.mark.real_model
def test_a_real_island_that_was_suspended_comes_back_by_itself(network: Network) -> None:
    island = RawIsland.of_home(network.home / "island").id
    body = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}

    with network.http() as http:
        http.post(f"/admin/islands/{island}/suspend").raise_for_status()
        try:
            wait_for(
                lambda: not _connected(network), "the agent says that it is cut off", PATIENCE_S
            )
        finally:
            http.post(f"/admin/islands/{island}/restore").raise_for_status()
        wait_for(lambda: _connected(network), "the agent is back")
        wait_for(
            lambda: http.post("/chat/completions", json=body).status_code == 200, "it answers", 30
        )


def _connected(network: Network) -> bool:
    status = json.loads((network.home / "island" / "status.json").read_text())
    return bool(status["broker_connected"])


# --- Lies -----------------------------------------------------------------------------------------


async def test_lies_move_no_money_and_disturb_nobody(
    network: Network, hostile: RawIsland, trap: tuple[str, str]
) -> None:
    await hostile.offer(assignment_key(network), *trap, slots=2 * len(LIES))
    payer = network.user("lied-to@example.org", "10")
    other = network.user("beside@example.org", "10")
    beside = asyncio.create_task(_echo(network, other, items=60, delay_ms=60))

    earned = await asyncio.to_thread(_balance_of_owner, network)
    asked = {name: asyncio.create_task(_ask(network, payer, name)) for name in LIES}
    while not all(task.done() for task in asked.values()):
        with contextlib.suppress(TimeoutError):
            assignment = await asyncio.wait_for(hostile.assignments.get(), 0.2)
            said = json.loads(assignment.input)["messages"][-1]["content"]
            await LIES[said](hostile, assignment)

    for name, task in asked.items():
        status, events = task.result()
        assert status in (200, 503), name
        end = json.loads(events[-2] if status == 200 else events[0])
        assert "error" in end, f"{name}: {events[-3:]}"
    assert await asyncio.to_thread(credits_of, network, payer) == 10
    assert len((await beside).split()) == 60
    # One item and a token of the prompt each of the two attempts that failed through the Cargo, and not a lie's worth
    # more.
    assert await asyncio.to_thread(_balance_of_owner, network) - earned == 2 * (85 + 17)


async def _ask(network: Network, key: str, question: str) -> tuple[int, list[str]]:
    body = ASK | {"messages": [{"role": "user", "content": question}], "stream": True}
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(timeout=PATIENCE_S, headers=headers) as http:
        url = f"{network.openai_url}/chat/completions"
        async with http.stream("POST", url, json=body) as answer:
            whole = (await answer.aread()).decode()
            if answer.status_code != 200:
                return answer.status_code, [whole]
            lines = [line[5:].strip() for line in whole.splitlines() if line.startswith("data:")]
            return 200, lines


async def _echo(network: Network, key: str, *, items: int, delay_ms: int) -> str:
    body = {
        "workload": "echo",
        "input": {"text": "word", "items": items, "delay_ms": delay_ms},
    }
    headers = {"Authorization": f"Bearer {key}"}
    base = network.api_url.removesuffix("/api/v1") + "/api/v1"
    async with httpx.AsyncClient(base_url=base, timeout=60, headers=headers) as http:
        job = (await http.post("/jobs", json=body)).json()["data"]["id"]
        text = ""
        async with http.stream("GET", f"/jobs/{job}/stream") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    said = json.loads(line[5:])
                    assert said["type"] != "error", said
                    text += said.get("content", "") if said["type"] == "token" else ""
        return text


def _balance_of_owner(network: Network) -> Decimal:
    import psycopg

    with psycopg.connect(network.database_url) as connection:
        row = connection.execute(
            "SELECT coalesce(sum(a.balance), 0) FROM accounts a JOIN users u"
            " ON a.id = 'island_owner:' || u.id WHERE u.email = 'hostile-host@example.org'"
        ).fetchone()
    assert row is not None
    return Decimal(row[0])


async def _other_items(island: RawIsland, a: pb.Assignment) -> None:
    await island.say(a, pb.Chunk(texts=["shown "], prompt_tokens=1))
    await island.settle()
    await island.report(island.report_on(a, ["reported "]))


async def _wrong_chain(island: RawIsland, a: pb.Assignment) -> None:
    await island.report(island.report_on(a, ["a ", "b "], output_chain=b"x" * 32))


async def _more_than_shown(island: RawIsland, a: pb.Assignment) -> None:
    await island.report(island.report_on(a, ["a "], next_position=200))


async def _more_than_allowed(island: RawIsland, a: pb.Assignment) -> None:
    await island.report(island.report_on(a, ["a "] * 300))


async def _another_cargo(island: RawIsland, a: pb.Assignment) -> None:
    await island.report(island.report_on(a, ["a "], cargo_digest="sha256:" + "0" * 64))


async def _gap(island: RawIsland, a: pb.Assignment) -> None:
    await island.say(a, pb.Chunk(first=7, texts=["late "]))


async def _garbage(island: RawIsland, a: pb.Assignment) -> None:
    await island.say(a, b"\x12\x04\xff\xfe\xfd\xfc")


async def _huge(island: RawIsland, a: pb.Assignment) -> None:
    await island.say(a, pb.Chunk(texts=["x" * 600_000]))


async def _flood(island: RawIsland, a: pb.Assignment) -> None:
    for first in range(0, 100_000, 20):
        await island.say(a, pb.Chunk(first=first, texts=["x"] * 20))
    await island.settle()


async def _after_the_end(island: RawIsland, a: pb.Assignment) -> None:
    end = pb.End(cause=common.CAUSE_CARGO_FAILED, error="broke", next=1)
    await island.say(a, pb.Chunk(texts=["x "], end=end))
    await island.say(a, pb.Chunk(first=1, texts=["data: [DONE]\n\n"]))
    await island.settle()
    await island.report(island.report_on(a, ["x "], cause=common.CAUSE_CARGO_FAILED))


async def _nul(island: RawIsland, a: pb.Assignment) -> None:
    """Text that PostgreSQL cannot store must end the job all the same."""
    await island.say(a, pb.Chunk(texts=["a\x00b "], prompt_tokens=1))
    end = pb.End(cause=common.CAUSE_CARGO_FAILED, error="nul\x00", next=1)
    await island.say(a, pb.Chunk(first=1, end=end))
    report = island.report_on(a, ["a\x00b "], cause=common.CAUSE_CARGO_FAILED, error="nul\x00")
    await island.report(report)


LIES = {
    "other items than were streamed": _other_items,
    "a wrong hash chain": _wrong_chain,
    "more positions than shown": _more_than_shown,
    "more items than allowed": _more_than_allowed,
    "another Cargo": _another_cargo,
    "a gap": _gap,
    "not UTF-8": _garbage,
    "a huge item": _huge,
    "a flood of items": _flood,
    "items after the end": _after_the_end,
    "NUL": _nul,
}


async def test_honest_work_is_paid_once_whatever_else_is_reported(
    network: Network, hostile: RawIsland, trap: tuple[str, str]
) -> None:
    await hostile.offer(assignment_key(network), *trap)
    key = network.user("honest@example.org", "10")
    asked = ASK | {"max_tokens": 8}

    victim = asyncio.create_task(_stream(network, key, asked))
    theirs = await asyncio.wait_for(hostile.assignments.get(), PATIENCE_S)
    mine = theirs
    await hostile.say(mine, pb.Chunk(texts=["a ", "b "], prompt_tokens=4_000_000_000))
    end = pb.End(cause=common.CAUSE_COMPLETED, finish_reason="stop", next=2)
    await hostile.say(mine, pb.Chunk(first=2, end=end))
    inflated = common.Usage(
        prompt_tokens=4_000_000_000,
        output_items=4_000_000_000,
        cpu_ms=4_000_000_000,
        memory_peak_bytes=2**64 - 1,
        wall_ms=4_000_000_000,
    )
    # An epoch that never was, another key, another Island's name: none of it counts.
    await hostile.report(hostile.report_on(mine, ["a ", "b "] * 3, epoch=7))
    await hostile.report(hostile.report_on(mine, ["x "] * 8), key=SigningKey.generate())
    await hostile.report(hostile.report_on(mine, ["x "] * 8, island_id=ids.island_id(_other())))
    report = hostile.report_on(mine, ["a ", "b "], usage=inflated)
    await hostile.report(report)
    await hostile.report(report)
    await hostile.report(hostile.report_on(mine, ["a ", "b ", "c "]))
    status, events = await asyncio.wait_for(victim, PATIENCE_S)

    assert status == 200 and events[-1] == "[DONE]" and '"a b "' in "".join(events)
    paid = 10 - await asyncio.to_thread(credits_of, network, key)
    bound = 20 * len(mine.input) + 100 * 2
    assert 0 < paid <= Decimal(bound) / 1_000_000, "no more than the prompt's bytes and two items"
    await until(lambda: _finished_reports(network, mine.job_id) >= 2, "the reports are dealt with")
    assert await asyncio.to_thread(credits_of, network, key) == 10 - paid


def _other() -> str:
    return "isl_00000000000000000000000000"


def _finished_reports(network: Network, job: str) -> int:
    log = (network.home / "logs" / "coordinator.log").read_text()
    return sum("report_" in line and job in line for line in log.splitlines())


# --- Killed ---------------------------------------------------------------------------------------


@pytest.mark.real_model
def test_the_only_island_killed_mid_answer_goes_on_once_it_is_started_again(
    network: Network,
) -> None:
    key = network.user("island-killed@example.org", "100")
    body = {
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": "Tell me a long story about a lighthouse."}],
        "max_tokens": 150,
        "temperature": 0.8,
        "seed": 4,
    }
    with network.http(key) as http:
        whole = http.post("/chat/completions", json=body).json()
        events = []
        killed = False
        with http.stream("POST", "/chat/completions", json=body | {"stream": True}) as answer:
            job_id = answer.headers["x-archipelag-job"]
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    events.append(line[5:].strip())
                if len(events) == 5 and not killed:
                    killed = True
                    for process in network.processes("archipelag_island"):
                        with contextlib.suppress(psutil.NoSuchProcess):  # Cargos die with it.
                            process.kill()
        job = http.get(f"/jobs/{job_id}").json()["data"]

    # Where it takes longer to start than a reader is kept waiting, the answer ends with a clear error, free of charge.
    if job["status"] == "completed":
        assert job["output"] == whole["choices"][0]["message"]["content"]
        assert {one["island_id"] for one in job["attempts"]} == {job["attempts"][0]["island_id"]}
        assert len(job["attempts"]) >= 2
    else:
        error = json.loads(events[-2])["error"]
        assert error["code"] in ("lease_lost", "island_stopped", "no_capacity")
        assert job["usage"]["credits_used"] == "0"
    assert events[-1] == "[DONE]"

    def answers() -> bool:
        short = body | {"max_tokens": 2}
        with network.http() as http:
            return http.post("/chat/completions", json=short).status_code == 200

    wait_for(answers, "the Island was started again", 90)
