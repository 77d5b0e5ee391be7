"""The Cargo's gRPC service: describes the engine and streams the answers of runs."""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
import time
from collections.abc import AsyncIterator
from typing import Final

import grpc
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2_grpc, common_pb2

from archipelag_llm_chat.chat import parse_request
from archipelag_llm_chat.engine import Engine
from archipelag_llm_chat.errors import BadRequest, NoSlot, NotReady
from archipelag_llm_chat.kept import SALT_BYTES_MAX
from archipelag_llm_chat.loading import Loader
from archipelag_llm_chat.run import Ask, Ending, Run

log = logging.getLogger(__name__)

# What gRPC may buffer of a stream before a write waits: small, so that a slow reader is noticed soon.
SERVER_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.max_concurrent_streams", 1024),
)

# A long prompt's progress is told this often.
_PROGRESS_S: Final = 1.0
_READING: Final = "reading the prompt"

_Context = grpc.aio.ServicerContext[pb.RunRequest, pb.RunEvent]


class CargoService(cargo_pb2_grpc.CargoServicer):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    async def Describe(  # noqa: N802
        self, _request: pb.DescribeRequest, _context: object
    ) -> pb.DescribeReply:
        now = self._loader.condition
        reply = pb.DescribeReply(
            state=pb.DescribeReply.STATE_LOADING,
            progress=now.progress,
            slots=self._loader.slots,
            resumable=self._loader.manifest.resumable,
        )
        if self._loader.manifest.model is not None:
            reply.context_tokens = self._loader.manifest.model.context_tokens
        if now.error:
            reply.state = pb.DescribeReply.STATE_FAILED
            reply.error = now.error
        elif now.engine is not None:
            reply.state = pb.DescribeReply.STATE_READY
            reply.determinism_class = now.determinism_class
            reply.items_per_s = now.speed.items_per_s
            reply.first_item_ms = now.speed.first_item_ms
            reply.prompt_tokens_per_s = now.speed.prompt_tokens_per_s
            reply.kept_runs.extend(now.engine.kept_runs())
        return reply

    async def Run(  # noqa: N802
        self, request: pb.RunRequest, context: _Context
    ) -> AsyncIterator[pb.RunEvent]:
        began = time.monotonic()
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            engine = self._engine()
            ask = await asyncio.to_thread(self._ask, engine, request)
            run = engine.submit(ask, lambda: _wake(loop, changed))
        except BadRequest as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except NoSlot as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except NotReady as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        try:
            yield pb.RunEvent(
                prompt_tokens=len(ask.prompt),
                cached_tokens=min(run.shared, len(ask.prompt)),
                first=len(ask.resumed),
            )
            async for event in _events(engine, run, changed, began):
                yield event
        finally:
            # Reached also when the call is cancelled: the Island, or its connection, has gone.
            engine.cancel(run)

    def _engine(self) -> Engine:
        now = self._loader.condition
        if now.engine is None:
            raise NotReady(now.error or "the model is still loading")
        return now.engine

    def _ask(self, engine: Engine, request: pb.RunRequest) -> Ask:
        """The request, checked and tokenised. Raises BadRequest."""
        if len(request.cache_salt) > SALT_BYTES_MAX:
            # Never cut: two that begin alike would become one.
            raise BadRequest(
                f"cache_salt: {len(request.cache_salt)} bytes came, {SALT_BYTES_MAX} at most"
            )
        chat = parse_request(request.input)
        resumed = tuple(request.resume_tokens)
        if request.first_position != len(resumed):
            raise BadRequest(
                f"resume: first_position is {request.first_position}, but {len(resumed)} tokens came with it"
            )
        if request.resume_texts and len(request.resume_texts) != len(resumed):
            raise BadRequest(
                f"resume: {len(request.resume_texts)} texts and {len(resumed)} tokens do not belong together"
            )
        prompt = tuple(engine.model.prompt_tokens(chat.messages))
        limits = [
            chat.max_tokens,
            self._loader.manifest.limits.output_items_max,
        ]
        if request.output_items_max:
            limits.append(request.output_items_max)
        return Ask(
            prompt=prompt,
            sampling=chat.sampling,
            items_max=min(limits),
            stop=chat.stop,
            resumed=resumed,
            salt=request.cache_salt,
            run_id=request.run_id,
        )


async def _events(
    engine: Engine, run: Run, changed: asyncio.Event, began: float
) -> AsyncIterator[pb.RunEvent]:
    """What the run produces, as it is taken; several items an event when the reader is slow.

    While a long prompt is read there are no items: progress tells the Island that the Cargo is not frozen.
    """
    noted = began
    while True:
        await changed.wait()
        changed.clear()
        read = run.outbox.take_read()
        now = time.monotonic()
        if read is not None and now - noted >= _PROGRESS_S:
            noted = now
            yield pb.RunEvent(
                progress=pb.RunEvent.Progress(
                    step=read, total=len(run.ask.prompt) + len(run.ask.resumed), note=_READING
                )
            )
        was_full = run.outbox.full
        first, items, ending = run.outbox.take()
        if was_full:
            engine.wake()
        if items:
            yield pb.RunEvent(
                first=first,
                texts=[item.text for item in items],
                tokens=[item.token for item in items],
            )
        if ending is not None:
            yield pb.RunEvent(end=_end(run, ending, began))
            return


def _end(run: Run, ending: Ending, began: float) -> pb.RunEnd:
    return pb.RunEnd(
        finish_reason=ending.finish_reason,
        error=ending.error,
        usage=common_pb2.Usage(
            prompt_tokens=len(run.ask.prompt),
            output_items=ending.output_items,
            cpu_ms=round(ending.cpu_s * 1000),
            memory_peak_bytes=_memory_peak_bytes(),
            wall_ms=round((time.monotonic() - began) * 1000),
        ),
    )


def _memory_peak_bytes() -> int:
    """Of the whole engine: one model serves all runs."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _wake(loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(changed.set)
    except RuntimeError:
        # The loop has closed: the server is on its way out, and nobody reads any more.
        log.debug("nobody_reads")
