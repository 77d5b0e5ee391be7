"""A real GPU, where the host has one: it is seen, reached by the Cargo that asked for it, and by no other."""

from __future__ import annotations

import json
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from archipelag_contracts.tiers import TIERS
from archipelag_island.adapters.probe.gpu import gpus
from archipelag_island.adapters.runtimes.exchange import Exchange
from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.adapters.runtimes.native.plan import Plan
from archipelag_island.adapters.runtimes.native.runtime import _furnish_for_trial, _start
from archipelag_island.adapters.runtimes.native.sandbox import MODELS, gpu_devices
from archipelag_island.domain.capability import Gpu

pytestmark = pytest.mark.skipif(not gpu_devices(), reason="needs a GPU: none is in /dev")

# What every program on CUDA does first, without its libraries: memory of the card is had, written and read again.
CUDA = """
import ctypes, json, os, sys
def say(value):
    print(json.dumps(value), file=sys.stderr, flush=True)
nodes = sorted(name for name in os.listdir("/dev") if name.startswith(("nvidia", "kfd", "dri")))
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    say({"nodes": nodes, "failed": str(error)})
    sys.exit()
def call(name, *arguments):
    if status := getattr(cuda, name)(*arguments):
        say({"nodes": nodes, "failed": f"{name} {status}"})
        sys.exit()
count, device, context, at = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
size = 64 << 20
read = ctypes.create_string_buffer(size)
call("cuInit", 0)
call("cuDeviceGetCount", ctypes.byref(count))
call("cuDeviceGet", ctypes.byref(device), 0)
call("cuCtxCreate_v2", ctypes.byref(context), 0, device)
call("cuMemAlloc_v2", ctypes.byref(at), ctypes.c_size_t(size))
call("cuMemsetD8_v2", at, ctypes.c_ubyte(7), ctypes.c_size_t(size))
call("cuMemcpyDtoH_v2", read, at, ctypes.c_size_t(size))
say({"nodes": nodes, "count": count.value, "same": read.raw == bytes([7]) * size})
"""


@dataclass
class Inside:
    folder: Path

    async def says(self, script: str, *, gpu: bool) -> dict[str, object]:
        """What a script says that runs as a native Cargo would, on its standard error."""
        host = await NativeRuntime()._find_host()
        if not host.rights.bubblewrap:
            pytest.skip("needs user namespaces: bubblewrap builds no sandbox on this host")
        file = self.folder / "script.py"
        file.write_text(textwrap.dedent(script))
        file.chmod(0o644)
        exchange = Exchange(self.folder / "exchange")
        exchange.folder.mkdir()
        _furnish_for_trial(exchange, host.rights)
        tier = replace(TIERS["elevated"], syscalls="gpu" if gpu else "default")
        target = str(MODELS / file.name)
        plan = Plan(host.rights, host.interpreter, exchange, tier, target, model=file, gpu=gpu)
        name = f"archipelag-{self.folder.name}"
        group = host.groups.make(name, tier) if host.groups else None
        process = await _start(plan, group)
        try:
            ended = await process.wait()
        finally:
            await process.stop(0)
        assert ended.status == 0, ended
        said = json.loads(ended.last_words)
        assert isinstance(said, dict)
        return said


@pytest.fixture
def inside() -> Iterator[Inside]:
    # Not pytest's own folder, which is closed to the Cargo's user.
    with tempfile.TemporaryDirectory(prefix="archipelag-test-") as folder:
        Path(folder).chmod(0o755)
        yield Inside(Path(folder))


def test_probe_tells_name_memory_and_driver() -> None:
    found = gpus()

    assert found and all(one.memory_bytes > 1 << 30 and one.name and one.driver for one in found)
    assert all(isinstance(one, Gpu) for one in found)


async def test_cargo_that_asked_for_it_uses_it(inside: Inside) -> None:
    said = await inside.says(CUDA, gpu=True)

    assert said.get("same") is True, said


async def test_cargo_that_did_not_ask_finds_none(inside: Inside) -> None:
    said = await inside.says(CUDA, gpu=False)

    assert said["nodes"] == [] and "failed" in said, said
