"""The Cargo as its Island meets it: with llama.cpp's real server behind it, one that dies, one that is given."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from archipelag_contracts.manifest import Manifest, parse_toml
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.cargo_pb2_grpc import CargoStub
from archipelag_contracts.tiers import exceeds
from archipelag_island.adapters.models import FetchedModels
from archipelag_kit import Setup
from archipelag_llm_server import llama_cpp, vllm
from archipelag_llm_server.asked import request
from archipelag_llm_server.engine import Engine, Start
from archipelag_llm_server.errors import ServerFailed
from archipelag_llm_server.serving import load
from stand_in import DONE, STREAM, StandIn, delta, usage

ROWS = Path(__file__).parents[1]
MANIFEST = ROWS / "llama-cpp" / "manifest.toml"
READY_S = 90.0
ADDED = {"model", "stream", "stream_options"}
OTHERS = {"temperature", "top_k", "top_p", "min_p", "stop"}
OTHERS |= {"frequency_penalty", "presence_penalty"}
HELLO = {"messages": [{"role": "user", "content": "Count to five."}], "temperature": 0}


def manifest_of(row: str = "llama-cpp") -> Manifest:
    return parse_toml((ROWS / row / "manifest.toml").read_text())


@dataclass
class Serving:
    process: asyncio.subprocess.Process
    stub: CargoStub

    async def settled(self) -> pb.DescribeReply:
        async with asyncio.timeout(READY_S):
            while True:
                reply = await self.stub.Describe(pb.DescribeRequest(), wait_for_ready=True)
                if reply.state != pb.DescribeReply.STATE_LOADING:
                    return reply
                await asyncio.sleep(0.05)

    def servers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


@asynccontextmanager
async def serving(folder: Path, *own: str) -> AsyncIterator[Serving]:
    socket = folder / "cargo.sock"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "archipelag_llm_server.llama_cpp", *own),
        *("--socket", str(socket), "--manifest", str(MANIFEST), "--slots", "2", "--threads", "1"),
        stdin=subprocess.PIPE,
    )
    try:
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            yield Serving(process, CargoStub(channel))
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(20):
            await process.wait()


async def run(stub: CargoStub, **more: Any) -> list[pb.RunEvent]:
    request = pb.RunRequest(run_id="r", input=json.dumps(HELLO | more).encode())
    return [event async for event in stub.Run(request)]


@pytest.mark.real_model
async def test_the_real_server_answers_and_both_end_together(socket: Path, weights: Path) -> None:
    pytest.importorskip("xllamacpp")
    async with serving(socket.parent, "--model", str(weights)) as cargo:
        described = await cargo.settled()
        assert described.state == pb.DescribeReply.STATE_READY, described.error
        assert described.items_per_s > 0 and described.slots == 2
        assert not described.resumable and not described.determinism_class

        first, second = await asyncio.gather(
            run(cargo.stub, max_tokens=5), run(cargo.stub, max_tokens=300, stop=["3"])
        )

        items = [text for event in first for text in event.texts]
        assert 1 < len(items) <= 5 and first[-1].end.finish_reason == "length"
        assert first[-1].end.usage.prompt_tokens > 10
        assert "3" not in "".join(t for event in second for t in event.texts)
        assert second[-1].end.finish_reason == "stop"
        with pytest.raises(grpc.aio.AioRpcError, match="context size") as refused:
            await run(cargo.stub, messages=[{"role": "user", "content": "word " * 6_000}])
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT

        (server,) = cargo.servers()
        cargo.process.kill()
        gone, _ = await asyncio.to_thread(psutil.wait_procs, [server], timeout=20)

        assert gone, "a server that outlives its Cargo keeps a GPU's memory"


async def test_a_server_that_is_given_is_used(socket: Path) -> None:
    stand_in = StandIn(STREAM, delta("Land "), delta("ho", "stop"), usage(9), DONE)
    async with (
        stand_in.open(socket),
        serving(socket.parent, "--upstream", f"unix:{socket}") as cargo,
    ):
        described = await cargo.settled()
        assert described.state == pb.DescribeReply.STATE_READY, described.error

        events = await run(cargo.stub)

    assert [text for event in events for text in event.texts] == ["Land ", "ho"]
    assert events[-1].end.usage.prompt_tokens == 9


async def test_no_model_and_no_server_is_a_clear_failure(socket: Path) -> None:
    async with serving(socket.parent) as cargo:
        described = await cargo.settled()

    assert described.state == pb.DescribeReply.STATE_FAILED
    assert "the manifest names no model" in described.error


def that_runs(script: str) -> Engine:
    return Engine("the server", lambda start: [sys.executable, "-c", script, str(start.socket)])


async def loaded(script: str) -> None:
    setup = Setup(manifest_of(), Path("weights"), 1, 1)
    await load(setup, engine=that_runs(script), upstream="", weights=None)


async def test_a_server_that_ends_while_it_loads_says_why() -> None:
    with pytest.raises(ServerFailed, match="ended with status 3: CUDA is lost / really"):
        await loaded("import sys; print('CUDA is lost\\nreally', file=sys.stderr); sys.exit(3)")


async def test_a_server_is_told_that_it_is_offline() -> None:
    with pytest.raises(ServerFailed, match="offline 1"):
        await loaded("import os, sys; sys.exit('offline ' + os.environ['HF_HUB_OFFLINE'])")


async def test_a_flood_of_words_is_no_trouble() -> None:
    with pytest.raises(ServerFailed, match="by signal 9"):
        await loaded(
            "import os, sys\nfor _ in range(64): os.write(2, b'x' * 65536)\nos.kill(os.getpid(), 9)"
        )


DIES_LATER = """
import socketserver, sys, http.server
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer): pass
class Answer(http.server.BaseHTTPRequestHandler):
    asked = 0
    def address_string(self): return ""
    def do_GET(self): self.send_response(200); self.end_headers()
    def do_POST(self):
        Answer.asked += 1
        self.send_response(200); self.send_header("Content-Type", "text/event-stream"); self.end_headers()
        self.wfile.write(b'data: {"choices": [{"delta": {"content": "x"}, "finish_reason": null}]}\\n\\n')
        if Answer.asked > 1:
            print("out of memory", file=sys.stderr, flush=True)
            import os; os._exit(7)
        self.wfile.write(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\\n\\ndata: [DONE]\\n\\n')
Server(sys.argv[1], Answer).serve_forever()
"""
CARGO = f"""
import sys
from archipelag_llm_server.engine import Engine
from archipelag_llm_server.serving import main
main(Engine("the server", lambda s: [sys.executable, "-c", {DIES_LATER!r}, str(s.socket)]))
"""


async def test_when_the_server_dies_its_runs_say_so_and_the_cargo_ends(socket: Path) -> None:
    where = socket.parent / "cargo.sock"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CARGO, "--socket", str(where), "--manifest", str(MANIFEST)),
        *("--model", str(MANIFEST)),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with grpc.aio.insecure_channel(f"unix:{where}") as channel:
        cargo = Serving(process, CargoStub(channel))
        described = await cargo.settled()
        assert described.state == pb.DescribeReply.STATE_READY, described.error

        events = await run(cargo.stub)

        async with asyncio.timeout(30):
            _, words = await process.communicate()
    assert "the server ended with status 7" in events[-1].end.error
    assert "out of memory" in events[-1].end.error
    assert b"the server ended with status 7" in words.splitlines()[-1]


@pytest.mark.parametrize("row", ["llama-cpp", "vllm"])
def test_a_row_asks_for_a_gpu_within_its_tier(row: str) -> None:
    manifest = manifest_of(row)

    assert exceeds(manifest) == []
    assert manifest.devices == ("gpu",) and manifest.limits.tier == "elevated"
    assert not manifest.resumable
    asked = json.loads(request(manifest.example, "m", 10_000))
    assert asked["max_tokens"] == manifest.example["max_tokens"]
    assert set(manifest.input["properties"]) == {*asked, *OTHERS} - ADDED
    assert manifest.engine in {
        point.name for point in importlib.metadata.entry_points(group="archipelag.engines")
    }


async def test_weights_are_fetched_as_for_llm_chat(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF")
    manifest = manifest_of()
    assert manifest.model is not None
    sha256 = hashlib.sha256(b"GGUF").hexdigest()
    model = replace(manifest.model, file=file.name, sha256=sha256, source=str(file))

    found = await FetchedModels(tmp_path / "models").fetch(
        "archipelag_llm_server.llama_cpp", replace(manifest, model=model)
    )

    assert found == file


def test_each_server_is_started_on_a_socket_with_what_the_island_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = Start(Path("/m/a.gguf"), "a", Path("/s/s.sock"), 4, 2, 1000)
    monkeypatch.setattr(vllm, "find_spec", lambda name: name)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")

    ours, theirs = llama_cpp.command(start), vllm.command(start)

    assert ours[0] == "/usr/bin/llama-server" and "--host /s/s.sock" in " ".join(ours)
    assert "--ctx-size 4000" in " ".join(ours)
    assert theirs[1:5] == ["-m", "vllm.entrypoints.cli.main", "serve", "/m/a.gguf"]
    assert "--uds /s/s.sock" in " ".join(theirs) and "--max-num-seqs 4" in " ".join(theirs)


@pytest.mark.parametrize("engine", [vllm, llama_cpp])
def test_a_server_that_is_not_there_is_named(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda _: None)

    with pytest.raises(ServerFailed, match="is not"):
        engine.command(Start(Path("m"), "m", Path("s"), 1, 1, 1))


def test_a_child_whose_parent_has_gone_does_not_become_a_server() -> None:
    command = [sys.executable, "-m", "archipelag_llm_server.child", "1", sys.executable, "-c"]

    ended = subprocess.run([*command, "print('serves')"], capture_output=True, check=False)

    assert (ended.returncode, ended.stdout) == (0, b"")
