"""A Cargo without the kit: a gRPC server for the two calls of the Cargo protocol, as any language may write it."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2_grpc

TEXT_MAX = 10_000


class Shouting(cargo_pb2_grpc.CargoServicer):
    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running = 0

    async def Describe(self, _request: pb.DescribeRequest, _context: Any) -> pb.DescribeReply:  # noqa: N802
        """Answered from the first moment. A Cargo that loads something says STATE_LOADING until it is done."""
        return pb.DescribeReply(
            state=pb.DescribeReply.STATE_READY, progress=1.0, slots=self._slots, resumable=False
        )

    async def Run(self, request: pb.RunRequest, context: Any) -> AsyncIterator[pb.RunEvent]:  # noqa: N802
        """Events until one with `end`. When the Island cancels the call, this ends with a CancelledError."""
        if self._running >= self._slots:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "every slot is taken")
        try:
            text = read(request.input)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        self._running += 1
        try:
            yield pb.RunEvent(prompt_tokens=len(text.split()))
            result = json.dumps({"loud": text.upper()}, ensure_ascii=False)
            # One item, at position 0. A longer result is cut into several, of at most 32 KiB each.
            yield pb.RunEvent(first=0, texts=[result])
            yield pb.RunEvent(end=pb.RunEnd(finish_reason="stop"))
        finally:
            self._running -= 1


def read(data: bytes) -> str:
    """The text of the input. Raises ValueError with a sentence for the customer."""
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("the input is not JSON") from None
    text = given.get("text") if isinstance(given, dict) else None
    if not isinstance(text, str) or not 0 < len(text) <= TEXT_MAX:
        raise ValueError(f"text: must be a text of 1 to {TEXT_MAX} characters")
    if given.keys() != {"text"}:
        raise ValueError("only `text` may be given")
    return text


async def serve(socket: str, slots: int) -> None:
    server = grpc.aio.server()
    cargo_pb2_grpc.add_CargoServicer_to_server(Shouting(slots), server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()
    await server.stop(grace=0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True, help="the Unix socket to serve on")
    parser.add_argument("--manifest", help="this Cargo's manifest, as JSON")
    parser.add_argument("--model", help="the model's file, where the manifest names one")
    parser.add_argument("--slots", type=int, default=1, help="runs at once")
    parser.add_argument("--threads", type=int, default=1, help="threads to use")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.socket, arguments.slots))


if __name__ == "__main__":
    main()
