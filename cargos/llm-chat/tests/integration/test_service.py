"""The Cargo as the Island meets it: a process that serves gRPC on a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2_grpc

pytestmark = pytest.mark.real_model

MANIFEST = Path(__file__).parents[2] / "manifest.toml"
READY_S = 60.0
SLOTS = 3


@dataclass
class Serving:
    process: asyncio.subprocess.Process
    stub: cargo_pb2_grpc.CargoAsyncStub

    async def settled(self) -> pb.DescribeReply:
        """What Describe says once it is neither unreachable nor loading."""
        async with asyncio.timeout(READY_S):
            while True:
                reply = await self.stub.Describe(pb.DescribeRequest(), wait_for_ready=True)
                if reply.state != pb.DescribeReply.STATE_LOADING:
                    return reply
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, model: Path, slots: int = SLOTS) -> AsyncIterator[Serving]:
    socket = tmp_path / "cargo.sock"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "archipelag_llm_chat", "--socket", str(socket), "--manifest", str(MANIFEST)),
        *("--model", str(model), "--slots", str(slots), "--threads", "1"),
        stdin=asyncio.subprocess.PIPE,
    )
    try:
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            yield Serving(process, cargo_pb2_grpc.CargoStub(channel))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(READY_S):
            await process.wait()


def a_request(resumed: list[int] | None = None, **body: Any) -> pb.RunRequest:
    body = {
        "messages": [{"role": "user", "content": "Describe the sea in two sentences."}],
        "max_tokens": 40,
        "seed": 7,
        "temperature": 0.8,
    } | body
    return pb.RunRequest(
        run_id="run",
        input=json.dumps(body).encode(),
        first_position=len(resumed or []),
        resume_tokens=resumed or [],
    )


async def read(stub: cargo_pb2_grpc.CargoAsyncStub, request: pb.RunRequest) -> list[pb.RunEvent]:
    return [event async for event in stub.Run(request)]


def items_of(events: list[pb.RunEvent]) -> list[tuple[int, str]]:
    """Token and text of every item, after checking that the positions are gapless."""
    position = events[0].first
    items: list[tuple[int, str]] = []
    for event in events:
        if event.texts:
            assert event.first == position
            assert len(event.texts) == len(event.tokens)
            items += zip(event.tokens, event.texts, strict=True)
            position += len(event.texts)
    return items


async def refusal(stub: cargo_pb2_grpc.CargoAsyncStub, request: pb.RunRequest) -> tuple[Any, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(stub, request)
    return caught.value.code(), caught.value.details() or ""


async def test_the_cargo_from_start_to_end(tmp_path: Path, model_path: Path) -> None:
    async with serving(tmp_path, model_path) as cargo:
        first = await cargo.stub.Describe(pb.DescribeRequest(), wait_for_ready=True)
        ready = await cargo.settled()
        await describes_itself(first, ready)
        await streams_and_resumes(cargo.stub)
        await keeps_for_one_customer_alone(cargo.stub)
        await refuses_bad_input(cargo.stub)
        await refuses_one_run_too_many(cargo.stub)
    assert cargo.process.returncode == 0


async def describes_itself(first: pb.DescribeReply, ready: pb.DescribeReply) -> None:
    assert first.state in (pb.DescribeReply.STATE_LOADING, pb.DescribeReply.STATE_READY)
    assert first.slots == SLOTS
    assert ready.state == pb.DescribeReply.STATE_READY, ready.error
    assert ready.resumable
    assert ready.context_tokens == 2048
    assert ready.determinism_class
    assert min(ready.items_per_s, ready.first_item_ms, ready.prompt_tokens_per_s) > 0


async def streams_and_resumes(stub: cargo_pb2_grpc.CargoAsyncStub) -> None:
    whole, other = await asyncio.gather(
        read(stub, a_request()), read(stub, a_request(seed=8, max_tokens=30))
    )
    items = items_of(whole)
    assert whole[0].prompt_tokens > 10
    assert whole[-1].end.usage.prompt_tokens == whole[0].prompt_tokens
    assert whole[-1].end.usage.output_items == len(items)
    assert whole[-1].end.usage.memory_peak_bytes > 100 << 20
    assert whole[-1].end.finish_reason in ("stop", "length")
    assert items_of(other) != items

    resumed = await read(stub, a_request([token for token, _ in items[:9]]))
    assert resumed[0].first == 9
    assert items_of(resumed) == items[9:]

    fewer = a_request()
    fewer.output_items_max = 4
    short = await read(stub, fewer)
    assert items_of(short)[:3] == items[:3]
    assert short[-1].end.finish_reason == "length"
    assert short[-1].end.usage.output_items == 4


async def keeps_for_one_customer_alone(stub: cargo_pb2_grpc.CargoAsyncStub) -> None:
    async def told(salt: bytes, run_id: str) -> list[pb.RunEvent]:
        request = a_request(max_tokens=3)
        request.cache_salt, request.run_id = salt, run_id
        events = await read(stub, request)
        # What a run took is not the same twice.
        events[-1].end.usage.cpu_ms = events[-1].end.usage.wall_ms = 0
        events[-1].end.usage.memory_peak_bytes = 0
        return [pb.RunEvent.FromString(event.SerializeToString()) for event in events]

    fresh = await told(b"", "nobody's")
    mine = await told(b"m" * 32, "mine")
    theirs = await told(b"t" * 32, "theirs")
    again = await told(b"m" * 32, "again")

    size = fresh[0].prompt_tokens
    assert items_of(fresh) == items_of(mine) == items_of(theirs) == items_of(again)
    assert mine[0] == theirs[0] == fresh[0], "nothing in it tells that somebody asked the same"
    assert fresh[0].cached_tokens == 0 and again[0].cached_tokens == size - 1
    assert again[0].prompt_tokens == size and theirs[-1].end == fresh[-1].end
    described = await stub.Describe(pb.DescribeRequest())
    assert list(described.kept_runs) == ["again", "theirs"]


async def refuses_bad_input(stub: cargo_pb2_grpc.CargoAsyncStub) -> None:
    long = [{"role": "user", "content": "word " * 2500}]
    bad = pb.RunRequest(input=b'{"messages": NaN}')
    gap = a_request([5])
    gap.first_position = 3
    salted = a_request()
    salted.cache_salt = bytes(1 << 20)
    for request, words in (
        (salted, "cache_salt: 1048576 bytes came, 32 at most"),
        (a_request(messages=long), "2048"),
        (bad, "NaN"),
        (a_request(temperature=9), "temperature"),
        (gap, "first_position"),
    ):
        code, details = await refusal(stub, request)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert words in details


async def refuses_one_run_too_many(stub: cargo_pb2_grpc.CargoAsyncStub) -> None:
    calls = [stub.Run(a_request(max_tokens=1000, seed=n)) for n in range(SLOTS)]
    for call in calls:
        await call.read()

    code, details = await refusal(stub, a_request())
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(SLOTS) in details

    calls[0].cancel()
    async with asyncio.timeout(READY_S):
        again = await _read_once_free(stub, a_request(max_tokens=3))
    assert len(items_of(again)) == 3
    for call in calls[1:]:
        call.cancel()


async def _read_once_free(
    stub: cargo_pb2_grpc.CargoAsyncStub, request: pb.RunRequest
) -> list[pb.RunEvent]:
    """The cancelling of another call is still on its way to the server."""
    while True:
        try:
            return await read(stub, request)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise


async def test_a_wrong_file_fails_with_a_reason(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF but not really")

    async with serving(tmp_path, other) as cargo:
        failed = await cargo.settled()
        code, details = await refusal(cargo.stub, a_request())

    assert failed.state == pb.DescribeReply.STATE_FAILED
    assert "sha256" in failed.error
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert details == failed.error


async def test_the_cargo_dies_with_its_island(tmp_path: Path, model_path: Path) -> None:
    # An Island that is killed cannot close anything: its Cargo's standard input is not a pipe here.
    island = (
        "import subprocess, sys, time\n"
        "cargo = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)\n"
        "print(cargo.pid, flush=True)\n"
        "cargo.wait()\n"
    )
    socket = tmp_path / "cargo.sock"
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", island, sys.executable, "-m", "archipelag_llm_chat"),
        *("--socket", str(socket), "--manifest", str(MANIFEST), "--model", str(model_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        stub = cargo_pb2_grpc.CargoStub(channel)
        await stub.Describe(pb.DescribeRequest(), wait_for_ready=True)

    parent.send_signal(signal.SIGKILL)
    await parent.wait()

    async with asyncio.timeout(READY_S):
        while _runs(pid):  # noqa: ASYNC110 (another process sets no event of ours)
            await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether the process lives; a zombie that nobody has collected does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
