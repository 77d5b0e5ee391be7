"""Serves the Cargo protocol for one compiled module. Runs as the engine of a native Cargo, inside that sandbox."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.cargo_pb2_grpc import (
    CargoServicer,
    add_CargoServicer_to_server,
)

from archipelag_island.adapters.runtimes.wasm.lines import End, Event, Note, PromptTokens, Text
from archipelag_island.adapters.runtimes.wasm.machine import Limits, Slot
from archipelag_island.adapters.runtimes.wasm.running import Running, standard_input

# JSON writes a character in up to six; progress and the like come on top.
OUTPUT_SHARE: Final = 6
OUTPUT_BYTES_MIN: Final = 1 << 20
CLASS: Final = "wasm-1"


@dataclass(frozen=True)
class Manifest:
    """What of it is needed here. Read by hand: the contracts' own reader takes longer to load than we to start."""

    resumable: bool
    output_items_max: int
    output_bytes_max: int

    @classmethod
    def read(cls, path: str) -> Manifest:
        raw = json.loads(Path(path).read_bytes())
        limits = raw["limits"]
        return cls(raw["resumable"], limits["output_items_max"], limits["output_bytes_max"])


class Module(CargoServicer):
    def __init__(self, manifest: Manifest, slots: list[Slot], limits: Limits) -> None:
        self._manifest = manifest
        self._count = len(slots)
        self._free = slots
        self._limits = limits

    async def Describe(  # noqa: N802 - gRPC's name
        self, request: pb.DescribeRequest, context: object
    ) -> pb.DescribeReply:
        del request, context
        return pb.DescribeReply(
            state=pb.DescribeReply.STATE_READY,
            progress=1.0,
            slots=self._count,
            resumable=self._manifest.resumable,
            determinism_class=CLASS,
        )

    async def Run(  # noqa: N802 - gRPC's name
        self, request: pb.RunRequest, context: grpc.aio.ServicerContext[pb.RunRequest, pb.RunEvent]
    ) -> AsyncIterator[pb.RunEvent]:
        try:
            data, chance = standard_input(request)
        except (ValueError, RecursionError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not acceptable: {error}")
        if not self._free:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "every slot is taken")
        slot = self._free.pop()
        most = request.output_items_max or self._manifest.output_items_max
        running = Running(
            slot,
            self._limits,
            lambda: self._free.append(slot),
            bytes_max=OUTPUT_BYTES_MIN + OUTPUT_SHARE * self._manifest.output_bytes_max,
            items_max=most - request.first_position,
        )
        position = request.first_position
        async with aclosing(running.events(data, chance)) as batches:
            async for batch in batches:
                for message in _messages(batch, position):
                    position += len(message.texts)
                    yield message
                if isinstance(end := batch[-1], End) and end.bad_input:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, end.bad_input)


def _messages(batch: list[Event], position: int) -> list[pb.RunEvent]:
    """Texts that follow each other travel together."""
    found: list[pb.RunEvent] = []
    for event in batch:
        match event:
            case Text(text):
                if not found or not found[-1].texts:
                    found.append(pb.RunEvent(first=position))
                found[-1].texts.append(text)
                position += 1
            case Note(step, total, note):
                told = pb.RunEvent.Progress(step=step, total=total, note=note)
                found.append(pb.RunEvent(progress=told))
            case PromptTokens(count):
                found.append(pb.RunEvent(prompt_tokens=count))
            case End(reason, error, bad_input):
                if not bad_input:
                    found.append(pb.RunEvent(end=pb.RunEnd(finish_reason=reason, error=error)))
    return found


async def serve(socket: str, module: Module) -> None:
    server = grpc.aio.server()
    add_CargoServicer_to_server(module, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(grace=0.2)


async def _main(arguments: argparse.Namespace) -> None:
    manifest = Manifest.read(arguments.manifest)
    limits = Limits(arguments.memory_bytes, arguments.fuel, arguments.seconds)
    slots = [Slot(arguments.model) for _ in range(arguments.slots)]
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(arguments.slots))
    await serve(arguments.socket, Module(manifest, slots, limits))


def main() -> None:
    parser = argparse.ArgumentParser(prog="wasm_engine", description=__doc__)
    parser.add_argument("--socket", required=True, help="Unix socket to serve on")
    parser.add_argument("--manifest", required=True, help="the Cargo's manifest")
    parser.add_argument("--model", required=True, help="the compiled module")
    parser.add_argument("--slots", type=int, default=1, help="runs at once")
    parser.add_argument("--threads", type=int, default=1, help="not needed")
    parser.add_argument("--memory-bytes", type=int, required=True, help="of one run, at most")
    parser.add_argument("--fuel", type=int, required=True, help="steps of one run, at most")
    parser.add_argument("--seconds", type=int, required=True, help="of one run, at most")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
