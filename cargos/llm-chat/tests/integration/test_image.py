"""The Cargo as an image: built by its own recipe, run in a container with the model's file, the same to the byte."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.manifest import Manifest, parse_canonical
from archipelag_island.errors import NotUsable
from archipelag_island.runtime import CargoSpec, CargoState, Handle, RunRequest
from archipelag_kit.commands import main
from archipelag_kit.conformance import rooms
from archipelag_oci.layout import read_layout
from archipelag_oci.manifests import parse_config

pytestmark = pytest.mark.real_model

CARGO = Path(__file__).parents[2]
READY_S = 60.0
ASKED = {
    "messages": [{"role": "user", "content": "Describe the sea in two sentences."}],
    "max_tokens": 24,
    "seed": 7,
    "temperature": 0.8,
}


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Short, as a socket lies in it, and open to a sandbox's users."""
    with tempfile.TemporaryDirectory(prefix="archipelag-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def model(model_path: Path, scratch: Path) -> Path:
    """A copy that every user can reach."""
    path = scratch / model_path.name
    shutil.copyfile(model_path, path)
    path.chmod(0o444)
    return path


# Its packages are installed by their lock, and an interpreter is packed.
@pytest.mark.timeout(400)
async def test_image_and_native_engine_give_one_answer(
    scratch: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        contained = await rooms.open_room("oci", scratch)
    except NotUsable as why:
        pytest.skip(f"needs containers: {why}")
    native = await rooms.open_room("native", scratch)
    cargo, manifest = built(scratch, monkeypatch)
    image = read_layout(cargo / "build" / "oci")
    layers, config = rooms.layers_of(image), parse_config(image.config)

    with rooms.image_spec(manifest, config, layers, scratch, model) as spec:
        inside = await answered(contained, spec)
    outside = await answered(native, rooms.native_spec(manifest, "archipelag_llm_chat", model))

    assert inside == outside
    assert len(inside[0]) > 20 and inside[1]


def built(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Manifest]:
    cargo = scratch / "llm-chat"
    shutil.copytree(CARGO, cargo, ignore=shutil.ignore_patterns("tests", "build", "*.egg-info"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(scratch / "cache"))
    assert main(["build", str(cargo), "--json"]) == 0
    manifest = parse_canonical((cargo / "build" / "manifest.json").read_bytes())
    assert manifest.image is not None and manifest.engine == "llm-chat"
    return cargo, manifest


async def answered(room: rooms.Room, spec: CargoSpec) -> tuple[list[Any], str]:
    """Token and text of every item, and the class in which answers are equal."""
    async with started(room, spec) as handle:
        described = await room.runtime.describe(handle)
        async with asyncio.timeout(READY_S):
            while described.state is CargoState.LOADING:
                await asyncio.sleep(0.05)
                described = await room.runtime.describe(handle)
        assert described.state is CargoState.READY, described.error
        items: list[Any] = []
        request = RunRequest("r", json.dumps(ASKED).encode(), output_items_max=100)
        async with aclosing(room.runtime.run(handle, request)) as events:
            async for event in events:
                items += zip(event.tokens, event.texts, strict=True)
                assert event.end is None or not event.end.error
        return items, described.determinism_class


@asynccontextmanager
async def started(room: rooms.Room, spec: CargoSpec) -> AsyncIterator[Handle]:
    handle = await room.runtime.start(spec)
    try:
        yield handle
    finally:
        await room.runtime.stop(handle, 1.0)
