"""Serves the echo Cargo over a Unix socket: python -m archipelag_island.testing.echo_engine --socket PATH."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import grpc
import grpc.aio
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.cargo_pb2_grpc import (
    CargoServicer,
    add_CargoServicer_to_server,
)

from archipelag_island.testing.echo_engine.kept import KeptWords
from archipelag_island.testing.echo_engine.words import NotAcceptable, Script, script


class Echo(CargoServicer):
    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running = 0
        self._kept = KeptWords()

    async def Describe(  # noqa: N802 - gRPC's name
        self, request: pb.DescribeRequest, context: object
    ) -> pb.DescribeReply:
        del request, context
        return pb.DescribeReply(
            state=pb.DescribeReply.STATE_READY,
            progress=1.0,
            slots=self._slots,
            resumable=True,
            determinism_class="echo-1",
            items_per_s=1000.0,
            first_item_ms=1.0,
            prompt_tokens_per_s=1_000_000.0,
            context_tokens=1 << 20,
            kept_runs=self._kept.runs(),
        )

    async def Run(  # noqa: N802 - gRPC's name
        self, request: pb.RunRequest, context: grpc.aio.ServicerContext[pb.RunRequest, pb.RunEvent]
    ) -> AsyncIterator[pb.RunEvent]:
        if self._running >= self._slots:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "every slot is taken")
        try:
            plan = script(request.input, request.output_items_max)
        except NotAcceptable as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if not _continues(plan, request):
            # A model would go on, with another answer: here it is seen.
            yield pb.RunEvent(end=pb.RunEnd(error="told to go on with what is not this answer"))
            return
        self._running += 1
        # A run that goes on elsewhere survives: that is what failover is tried with.
        whole = request.first_position == 0
        try:
            shared = self._kept.shared(request.cache_salt, plan.words)
            yield pb.RunEvent(prompt_tokens=plan.prompt_tokens, cached_tokens=shared)
            for position in range(request.first_position, plan.items):
                if position == plan.die_at and whole:
                    await asyncio.sleep(0.05)  # what was said before shall arrive
                    print(f"told to die at position {position}", file=sys.stderr, flush=True)
                    os._exit(3)
                if position == plan.stall_at and whole:
                    await asyncio.Event().wait()
                if position == plan.fail_at:
                    yield pb.RunEvent(end=pb.RunEnd(error=f"told to fail at position {position}"))
                    return
                if plan.delay_s:
                    await asyncio.sleep(plan.delay_s)
                text, token = plan.item(position)
                yield pb.RunEvent(first=position, texts=[text], tokens=[token])
            yield pb.RunEvent(end=pb.RunEnd(finish_reason=plan.finish_reason))
        finally:
            self._running -= 1
            self._kept.keep(request.run_id, request.cache_salt, plan.words)


def _continues(plan: Script, request: pb.RunRequest) -> bool:
    """Whether what this run is to go on from is what was said. Who names no texts is believed."""
    texts = request.resume_texts
    if not texts:
        return True
    return len(texts) == request.first_position and plan.continues(texts, request.resume_tokens)


async def serve(socket: str, slots: int) -> None:
    server = grpc.aio.server()
    add_CargoServicer_to_server(Echo(slots), server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(grace=0.5)


def main() -> None:
    parser = argparse.ArgumentParser(prog="echo_engine", description=__doc__)
    parser.add_argument("--socket", required=True, help="Unix socket to serve on")
    parser.add_argument("--manifest", help="the Cargo's manifest (not needed)")
    parser.add_argument("--model", help="not needed")
    parser.add_argument("--slots", type=int, default=4, help="runs at once")
    parser.add_argument("--threads", type=int, default=1, help="not needed")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.socket, arguments.slots))


if __name__ == "__main__":
    main()
