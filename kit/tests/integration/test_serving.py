"""A Cargo on the kit as the Island meets it: a process that serves gRPC on a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2_grpc

CARGOS = Path(__file__).parents[1] / "cargos"
READY_S = 60.0
SLOTS = 2

MANIFEST = """
slug = "every-way"
version = "1.0.0"
name = "Every way"
description = "For tests."
license = "Apache-2.0"
kind = "json"
runtime = "native"
engine = "every-way"
resumable = true

[input]
type = "object"
required = ["do"]
[input.properties.do]
type = "string"
maxLength = 20
[input.properties.count]
type = "integer"
maximum = 100

[limits]
output_bytes_max = 16777216
output_items_max = 1000000
"""


@dataclass
class Serving:
    process: asyncio.subprocess.Process
    stub: cargo_pb2_grpc.CargoAsyncStub
    folder: Path

    async def settled(self) -> pb.DescribeReply:
        async with asyncio.timeout(READY_S):
            while True:
                reply = await self.stub.Describe(pb.DescribeRequest(), wait_for_ready=True)
                if reply.state != pb.DescribeReply.STATE_LOADING:
                    return reply
                await asyncio.sleep(0.02)


@dataclass
class Told:
    items: list[str] = field(default_factory=list)
    progress: list[pb.RunEvent.Progress] = field(default_factory=list)
    file: bytes = b""
    sha256: bytes = b""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    end: pb.RunEnd | None = None


@contextlib.asynccontextmanager
async def serving(
    folder: Path, module: str = "every_way", manifest: str = MANIFEST
) -> AsyncIterator[Serving]:
    (folder / "manifest.toml").write_text(manifest)
    socket = folder / "cargo.sock"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "archipelag_kit", module, "--socket", str(socket)),
        *("--manifest", str(folder / "manifest.toml"), "--slots", str(SLOTS)),
        stdin=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{CARGOS}:{folder}"},
    )
    try:
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            yield Serving(process, cargo_pb2_grpc.CargoStub(channel), folder)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(READY_S):
            await process.wait()


async def tell(cargo: Serving, request: pb.RunRequest | None = None, **given: Any) -> Told:
    request = request or pb.RunRequest()
    request.run_id = "run"
    request.input = request.input or json.dumps(given).encode()
    told = Told()
    position = request.first_position
    async for event in cargo.stub.Run(request):
        if event.texts:
            assert event.first == position
            position += len(event.texts)
            told.items += event.texts
        if event.HasField("progress"):
            told.progress.append(event.progress)
        if event.HasField("file"):
            assert len(event.file.data) <= 256 * 1024 and event.file.name == "out.bin"
            told.file += event.file.data
            told.sha256 = event.file.sha256
        if event.prompt_tokens:
            told.prompt_tokens = event.prompt_tokens
            told.cached_tokens = event.cached_tokens
        if event.HasField("end"):
            told.end = event.end
    return told


async def refusal(cargo: Serving, request: pb.RunRequest | None = None, **given: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tell(cargo, request, **given)
    return caught.value


async def test_the_cargo_from_start_to_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as cargo:
        ready = await cargo.settled()
        assert ready.state == pb.DescribeReply.STATE_READY, ready.error
        assert (ready.slots, ready.resumable) == (SLOTS, True)
        assert ready.determinism_class == "every-way-1"
        await answers(cargo)
        await tells_what_it_keeps(cargo)
        await sends_files_and_progress(cargo)
        await refuses_bad_input(cargo)
        await fails_in_one_sentence(cargo)
        await holds_no_more_than_its_slots(cargo)
    assert cargo.process.returncode == 0


async def answers(cargo: Serving) -> None:
    told = await tell(cargo, do="words", words=["a ", "b"])
    assert told.items == ["a ", "b"] and told.prompt_tokens == 3
    assert told.end is not None and told.end.finish_reason == "stop"
    assert (told.end.usage.output_items, told.end.usage.prompt_tokens) == (2, 3)

    short = await tell(cargo, pb.RunRequest(output_items_max=3), do="endless")
    assert short.items == ["0 ", "1 ", "2 "]
    assert short.end is not None and short.end.finish_reason == "length"

    words = json.dumps({"do": "words", "words": ["a", "b", "c"]}).encode()
    rest = pb.RunRequest(input=words, first_position=2, resume_texts=["a", "b"])
    assert (await tell(cargo, rest)).items == ["c"]


async def tells_what_it_keeps(cargo: Serving) -> None:
    assert not (await cargo.settled()).kept_runs
    told = await tell(cargo, pb.RunRequest(cache_salt=b"\x01\x02"), do="keep", count=4)
    assert (told.items, told.prompt_tokens, told.cached_tokens) == (["0102"], 5, 4)
    assert (await cargo.settled()).kept_runs == ["run"] * 16, "a thousand were claimed"


async def sends_files_and_progress(cargo: Serving) -> None:
    told = await tell(cargo, do="file", bytes=5 << 20)
    assert told.file == b"x" * (5 << 20)
    assert told.sha256 == hashlib.sha256(told.file).digest()

    told = await tell(cargo, do="progress")
    assert told.progress[-1].note == "from a thread"

    name = "file_" + "0" * 32
    inputs = cargo.folder / "in"
    inputs.mkdir()
    (inputs / name).write_text("inside")
    given = pb.RunRequest(input_folder=str(inputs))
    assert (await tell(cargo, given, do="read", file=name)).items == ["inside"]


async def refuses_bad_input(cargo: Serving) -> None:
    gap = pb.RunRequest(first_position=2, resume_texts=["a"])
    for request, given, words in (
        (None, {"do": "refuse"}, "say please"),
        (None, {}, "'do' is missing"),
        (None, {"do": 7}, "do: must be a text"),
        (None, {"do": "x" * 21}, "do: must have at most 20 characters"),
        (None, {"do": "from", "count": 101}, "count: 101 is greater than the maximum of 100"),
        (pb.RunRequest(input=b"[]"), {}, "must be a JSON object"),
        (pb.RunRequest(input=b'{"do": NaN}'), {}, "NaN"),
        (pb.RunRequest(input=b"\xff"), {}, "not JSON"),
        (pb.RunRequest(input=b"[" * 100_000), {}, "not JSON"),
        (gap, {"do": "endless"}, "first_position"),
        (pb.RunRequest(cache_salt=b"s" * 33), {"do": "endless"}, "cache_salt: 33 bytes"),
        (pb.RunRequest(cache_salt=bytes(1 << 20)), {"do": "endless"}, "32 at most"),
    ):
        error = await refusal(cargo, request, **given)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert words in (error.details() or "")


async def fails_in_one_sentence(cargo: Serving) -> None:
    told = await tell(cargo, do="fail")
    assert told.items == ["so far "]
    assert told.end is not None
    assert told.end.error == "the Cargo failed: ValueError: no luck"


async def holds_no_more_than_its_slots(cargo: Serving) -> None:
    calls = [cargo.stub.Run(pb.RunRequest(input=b'{"do": "thread"}')) for _ in range(SLOTS)]
    waiting = [asyncio.create_task(_first(call)) for call in calls]
    async with asyncio.timeout(READY_S):
        while (await _refused_code(cargo)) != grpc.StatusCode.RESOURCE_EXHAUSTED:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    for call in calls:
        call.cancel()
    await asyncio.gather(*waiting)

    async with asyncio.timeout(READY_S):
        while (await _refused_code(cargo)) == grpc.StatusCode.RESOURCE_EXHAUSTED:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _first(call: Any) -> None:
    with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
        await call.read()


async def _refused_code(cargo: Serving) -> grpc.StatusCode:
    return (await refusal(cargo, do="refuse")).code()  # type: ignore[no-any-return]


async def test_a_slow_reader_holds_up_its_own_run_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as cargo:
        await cargo.settled()
        slow = cargo.stub.Run(pb.RunRequest(input=b'{"do": "endless"}'))
        await slow.read()

        assert (await tell(cargo, do="words", words=["quick"])).items == ["quick"]
        first = _resident(cargo.process.pid)
        await asyncio.sleep(0.5)
        assert _resident(cargo.process.pid) - first < 32 << 20
        slow.cancel()


def _resident(pid: int) -> int:
    statm = Path(f"/proc/{pid}/statm")
    if not statm.exists():
        pytest.skip("needs Linux: its /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('no weights')", "RuntimeError: no weights"),
        ("x = 1", "has no function marked @cargo"),
        ("import not_there", "No module named 'not_there'"),
        ("def broken(:", "SyntaxError"),
        (
            "from archipelag_kit import cargo\n@cargo\nasync def a(run): ...\n"
            "@cargo.load\nasync def b(setup): raise OSError('disk')",
            "OSError: disk",
        ),
    ],
)
async def test_what_cannot_be_loaded_says_why(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "theirs.py").write_text(source)

    async with serving(tmp_path, "theirs") as cargo:
        failed = await cargo.settled()
        error = await refusal(cargo, do="words")

    assert failed.state == pb.DescribeReply.STATE_FAILED
    assert said in failed.error
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION and error.details() == failed.error


async def test_describe_answers_while_the_module_is_imported(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "import pathlib, time\n"
        "while not pathlib.Path(__file__).with_name('go').exists(): time.sleep(0.01)\n"
        "from archipelag_kit import cargo\n@cargo\nasync def a(run): return 1\n"
    )

    async with serving(tmp_path, "theirs") as cargo:
        early = await cargo.stub.Describe(pb.DescribeRequest(), wait_for_ready=True)
        (tmp_path / "go").touch()
        late = await cargo.settled()

    assert early.state == pb.DescribeReply.STATE_LOADING
    assert late.state == pb.DescribeReply.STATE_READY


async def test_the_cargo_dies_with_its_island(tmp_path: Path) -> None:
    # An Island that is killed cannot close anything: its Cargo's standard input is not a pipe here.
    island = (
        "import subprocess, sys\n"
        "cargo = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)\n"
        "print(cargo.pid, flush=True)\n"
        "cargo.wait()\n"
    )
    (tmp_path / "manifest.toml").write_text(MANIFEST)
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", island, sys.executable, "-m", "archipelag_kit", "every_way"),
        *("--socket", str(tmp_path / "s"), "--manifest", str(tmp_path / "manifest.toml")),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CARGOS)},
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
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


async def test_a_thread_without_end_does_not_hold_up_the_end(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "import threading\nfrom archipelag_kit import cargo\n@cargo\n"
        "async def a(run):\n    await run.progress(1, 2)\n"
        "    await run.in_thread(threading.Event().wait)\n"
    )

    async with serving(tmp_path, "theirs") as cargo:
        await cargo.settled()
        call = cargo.stub.Run(pb.RunRequest(input=b'{"do": "x"}'))
        await call.read()

    assert cargo.process.returncode == 0


def test_the_kit_is_light() -> None:
    import subprocess

    code = (
        "import sys, archipelag_kit, archipelag_kit.serving.main\n"
        "heavy = {'httpx', 'jsonschema', 'archipelag_oci', 'archipelag_island',"
        " 'archipelag_kit.commands', 'archipelag_kit.testing'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
