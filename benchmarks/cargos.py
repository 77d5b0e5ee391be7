"""What does the Cargo protocol add to image-gen and transcode, beside the same library called directly in the same run?

    python benchmarks/cargos.py [--turns 5]

Each Cargo is started as an Island starts it, and asked over its Unix socket; the library is called in this process
(onnxruntime) or as a bare command (FFmpeg). Turns of both alternate, so that a busy machine is busy for both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.cargo_pb2_grpc import CargoStub
from archipelag_image_gen import asked as image_asked
from archipelag_image_gen import canvas, small
from archipelag_transcode import asked as media_asked
from archipelag_transcode import ffmpeg, writing
from figures import Beside, Figure
from telling import need, state

HOW = (
    "The whole job through a Cargo that is up, over its Unix socket; medians of turns that alternate. Limit: the same "
    "library called directly."
)
CARGOS = Path(__file__).parents[1] / "cargos"
FILE = "file_" + "0" * 32
PICTURE = {"prompt": "a big red circle on a white background", "seed": 1, "steps": 20}
MEDIA = {"file": FILE, "operation": "transcode", "width": 320}
READY_S = 60.0


async def timed(call: Callable[[], Awaitable[None]]) -> float:
    begun = time.perf_counter()
    await call()
    return time.perf_counter() - begun


async def compare(
    name: str,
    ours: Callable[[], Awaitable[None]],
    theirs: Callable[[], Awaitable[None]],
    turns: int,
) -> Figure:
    """The first turn of each warms up."""
    through, direct = [], []
    for _ in range(turns + 1):
        through.append(await timed(ours))
        direct.append(await timed(theirs))
    a, b = median(through[1:]), median(direct[1:])
    limit = Beside("the library", 1000 * b)
    return Figure("Cargo protocol", name, 1000 * a, "ms", HOW, limit=limit)


@asynccontextmanager
async def served(slug: str, module: str, folder: Path) -> AsyncIterator[CargoStub]:
    socket = folder / f"{slug}.sock"
    command = [sys.executable, "-m", module, "--socket", str(socket), "--slots", "1"]
    command += ["--threads", "1", "--manifest", str(CARGOS / slug / "manifest.toml")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: ASYNC220 - in a benchmark
    try:
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            stub = CargoStub(channel)
            async with asyncio.timeout(READY_S):
                while not await ready(stub):  # noqa: ASYNC110 - a Cargo does not call back
                    await asyncio.sleep(0.05)
            yield stub
    finally:
        child.terminate()
        child.wait()


async def ready(stub: CargoStub) -> bool:
    try:
        reply = await stub.Describe(pb.DescribeRequest(), wait_for_ready=True)
    except grpc.aio.AioRpcError:
        return False
    if reply.state == pb.DescribeReply.STATE_FAILED:
        raise SystemExit(reply.error)
    return bool(reply.state == pb.DescribeReply.STATE_READY)


async def run(stub: CargoStub, said: dict[str, Any], folder: Path | None = None) -> None:
    request = pb.RunRequest(
        run_id="bench",
        input=json.dumps(said).encode(),
        output_items_max=512,
        input_folder=str(folder) if folder else "",
    )
    async for event in stub.Run(request):
        if event.end.error:
            raise SystemExit(event.end.error)


async def pictures(turns: int, folder: Path) -> Figure:
    painter = small.load()
    asked = image_asked.read(PICTURE)

    async def direct() -> None:
        painted = painter.paint(asked, lambda _step, _preview: True)
        canvas.png(canvas.fit(painted.picture, asked.width, asked.height))

    async with served("image-gen", "archipelag_image_gen", folder) as stub:
        return await compare("image-gen, 20 steps", lambda: run(stub, PICTURE), direct, turns)


async def media(turns: int, folder: Path) -> Figure:
    binary, given = ffmpeg.find(), folder / "in"
    given.mkdir()
    source = ["-f", "lavfi", "-i", "testsrc2=duration=10:size=640x360:rate=25"]
    command = [str(binary), "-loglevel", "error", *source, "-c:v", "libx264", "-f", "mp4"]
    await asyncio.to_thread(subprocess.run, [*command, str(given / FILE)], check=True)
    asked = media_asked.read(MEDIA)

    async def direct() -> None:
        said = writing.arguments(asked, given / FILE, folder / "out", threads=1, cpu_s=500)
        child = await asyncio.create_subprocess_exec(
            binary, *said, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        assert await child.wait() == 0

    async with served("transcode", "archipelag_transcode", folder) as stub:
        return await compare(
            "transcode, 10 s of 360p", lambda: run(stub, MEDIA, given), direct, turns
        )


async def main(turns: int) -> None:
    need("onnxruntime", "imageio_ffmpeg", by="make cargos")
    with tempfile.TemporaryDirectory() as scratch:
        state([await pictures(turns, Path(scratch)), await media(turns, Path(scratch))])


if __name__ == "__main__":
    settings = argparse.ArgumentParser(description=__doc__)
    settings.add_argument("--turns", type=int, default=5)
    asyncio.run(main(settings.parse_args().turns))
