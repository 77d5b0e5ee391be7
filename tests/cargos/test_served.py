"""Each Cargo of this repository as an Island starts it: its own process, its own manifest, over its own socket."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path

import grpc
import pytest
from archipelag_contracts.manifest import Manifest, parse_toml
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.cargo_pb2_grpc import CargoStub
from archipelag_contracts.tiers import exceeds
from archipelag_llm_chat.errors import ModelUnavailable
from archipelag_llm_chat.fetch_model import fetch_model

ROOT = Path(__file__).parents[2]
ENGINES = {
    "embeddings": "numpy",
    "image-gen": "onnxruntime",
    "ocr": "rapidocr",
    "speech-to-text": "faster_whisper",
    "text-to-speech": "hibari",
    "transcode": "imageio_ffmpeg",
}
READY_S = 100.0


def manifest_of(slug: str) -> Manifest:
    return parse_toml((ROOT / "cargos" / slug / "manifest.toml").read_text())


@pytest.fixture(params=sorted(ENGINES))
def slug(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(ENGINES[request.param], reason="needs the Cargos' engines")
    return str(request.param)


def test_a_manifest_asks_for_no_more_than_its_tier_has(slug: str) -> None:
    manifest = manifest_of(slug)

    assert exceeds(manifest) == []
    assert manifest.slug == slug == manifest.engine
    assert manifest.input["additionalProperties"] is False
    assert set(manifest.example) <= set(manifest.input["properties"])
    assert manifest.price.job_ucredits or manifest.price.prompt_token_ucredits


@asynccontextmanager
async def served(slug: str, folder: Path) -> AsyncIterator[CargoStub]:
    manifest = manifest_of(slug)
    [module] = [p.value for p in entry_points(group="archipelag.engines") if p.name == slug]
    command = [sys.executable, "-m", module, "--socket", str(folder / "s"), "--slots", "1"]
    command += ["--threads", "1", "--manifest", str(ROOT / "cargos" / slug / "manifest.toml")]
    if manifest.model is not None:
        try:
            command += ["--model", str(fetch_model(manifest.model, ROOT / ".venv" / "models"))]
        except ModelUnavailable as why:
            pytest.skip(f"needs the model's weights: {why}")
    child = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE)
    try:
        async with grpc.aio.insecure_channel(f"unix:{folder / 's'}") as channel:
            stub = CargoStub(channel)
            async with asyncio.timeout(READY_S):
                while (await described(stub)).state == pb.DescribeReply.STATE_LOADING:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            yield stub
    finally:
        child.terminate()
        await child.wait()


async def described(stub: CargoStub) -> pb.DescribeReply:
    try:
        return await stub.Describe(pb.DescribeRequest())
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            raise
        return pb.DescribeReply(state=pb.DescribeReply.STATE_LOADING)


async def test_a_cargo_becomes_ready_answers_and_refuses(slug: str, tmp_path: Path) -> None:
    example = manifest_of(slug).example
    async with served(slug, tmp_path) as stub:
        told = await described(stub)
        assert told.state == pb.DescribeReply.STATE_READY, told.error

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await answer(stub, {"nonsense": 1})
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT

        if "file" in example:
            with pytest.raises(grpc.aio.AioRpcError, match="was not sent along"):
                await answer(stub, example)
        else:
            assert json.loads(await answer(stub, example))


async def answer(stub: CargoStub, said: object) -> str:
    request = pb.RunRequest(run_id="r", input=json.dumps(said).encode(), output_items_max=4_096)
    texts: list[str] = []
    async for event in stub.Run(request):
        texts += event.texts
        assert not event.end.error
    return "".join(texts)
