"""The Cargo's gRPC service: describes the Cargo and streams the answers of its runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2_grpc

from archipelag_kit.errors import BadInput
from archipelag_kit.events import Refused
from archipelag_kit.performance import Performance
from archipelag_kit.run import Ask
from archipelag_kit.serving import wire
from archipelag_kit.serving.loading import Loader, Ready

MESSAGE_BYTES_MAX: Final = 8 << 20
KEPT_RUNS_MAX: Final = 16
SALT_BYTES_MAX: Final = 32
SERVER_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", 1024),
)
# Threads beside the loop for each run: its work, and the reading of a file that it sends.
_THREADS_A_SLOT: Final = 4

_Context = grpc.aio.ServicerContext[pb.RunRequest, pb.RunEvent]


class CargoService(cargo_pb2_grpc.CargoServicer):
    """Owns the runs: a slot is free again once the author's function has really ended."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._slots = loader.setup.slots
        self._runs: set[asyncio.Task[None]] = set()
        self._executor = ThreadPoolExecutor(self._slots * _THREADS_A_SLOT, "run")

    async def Describe(  # noqa: N802 - gRPC's name
        self, _request: pb.DescribeRequest, _context: object
    ) -> pb.DescribeReply:
        setup = self._loader.setup
        reply = pb.DescribeReply(
            state=pb.DescribeReply.STATE_LOADING,
            progress=setup.done,
            slots=self._slots,
            resumable=setup.manifest.resumable,
        )
        if setup.manifest.model is not None:
            reply.context_tokens = setup.manifest.model.context_tokens
        if self._loader.error:
            reply.state = pb.DescribeReply.STATE_FAILED
            reply.error = self._loader.error
        elif self._loader.ready is not None:
            reply.state = pb.DescribeReply.STATE_READY
            reply.progress = 1.0
            reply.determinism_class = setup.determinism_class
            reply.items_per_s = setup.items_per_s
            reply.first_item_ms = setup.first_item_ms
            reply.prompt_tokens_per_s = setup.prompt_tokens_per_s
            reply.kept_runs.extend(islice(setup.kept_runs(), KEPT_RUNS_MAX))
        return reply

    async def Run(  # noqa: N802 - gRPC's name
        self, request: pb.RunRequest, context: _Context
    ) -> AsyncIterator[pb.RunEvent]:
        ready = self._loader.ready
        if ready is None:
            why = self._loader.error or "the Cargo is still loading"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, why)
        if len(self._runs) >= self._slots:
            why = f"all {self._slots} slots are taken"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, why)
        try:
            performance = Performance(ready.function, self._ask(ready, request), self._executor)
        except BadInput as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        self._runs.add(performance.task)
        performance.task.add_done_callback(self._runs.discard)
        # Closed also when the call is cancelled: the Island, or its connection, has gone.
        async with aclosing(performance.events()) as events:
            async for event in events:
                if isinstance(event, Refused):
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, event.why)
                yield wire.message(event)

    async def close(self, grace_s: float) -> bool:
        """Gives up every run. False: a thread of the author's goes on, and only the process's end can end it."""
        for task in self._runs:
            task.cancel()
        waiting = set(self._runs)
        if waiting:
            _, waiting = await asyncio.wait(waiting, timeout=grace_s)
        self._executor.shutdown(wait=False, cancel_futures=True)
        return not waiting

    def _ask(self, ready: Ready, request: pb.RunRequest) -> Ask:
        """Raises BadInput."""
        setup, limits = self._loader.setup, self._loader.setup.manifest.limits
        if len(request.cache_salt) > SALT_BYTES_MAX:
            # Never cut: two that begin alike would become one.
            raise BadInput(
                f"cache_salt: {len(request.cache_salt)} bytes came, {SALT_BYTES_MAX} at most"
            )
        texts = tuple(request.resume_texts)
        if request.first_position and not setup.manifest.resumable:
            raise BadInput("this Cargo cannot go on in the middle of an answer")
        if texts and len(texts) != request.first_position:
            raise BadInput(
                f"resume: first_position is {request.first_position}, but {len(texts)} texts came with it"
            )
        return Ask(
            input=ready.schema.read(request.input),
            run_id=request.run_id,
            files=_files(request),
            model=setup.model,
            threads=setup.threads,
            state=ready.state,
            first_position=request.first_position,
            resume_texts=texts,
            items_max=min(limits.output_items_max, request.output_items_max or 1 << 32),
            bytes_max=limits.output_bytes_max,
            cache_salt=request.cache_salt,
        )


def _files(request: pb.RunRequest) -> Mapping[str, Path]:
    if not request.input_folder:
        return {}
    return {path.name: path for path in Path(request.input_folder).iterdir() if path.is_file()}
