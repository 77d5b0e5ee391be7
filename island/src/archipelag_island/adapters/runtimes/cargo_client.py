"""Speaks the Cargo protocol (gRPC over a Unix socket) and turns its failures into the Island's errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import grpc
import grpc.aio
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.traces import TRACEPARENT
from google.protobuf.message import DecodeError

from archipelag_island.errors import (
    BadInput,
    CargoDied,
    CargoFailed,
    NoSlot,
    NotReady,
    RuntimeFailed,
)
from archipelag_island.runtime import (
    FILE_PART_BYTES_MAX,
    KEPT_RUNS_MAX,
    PREVIEW_BYTES_MAX,
    CargoState,
    Description,
    FilePart,
    Progress,
    RunEnd,
    RunEvent,
    RunRequest,
)

DESCRIBE_S: Final = 5.0
MESSAGE_BYTES_MAX: Final = 8 << 20
# What gRPC itself says of a larger one, under the same code as a Cargo without room.
TOO_LARGE: Final = "CLIENT: Received message larger than max"
BROKE: Final = "the Cargo broke its protocol"
SERVICE: Final = "/archipelag.v1.Cargo"
RUN_ID_MAX: Final = 128
PREVIEW_TYPES: Final = ("image/png", "image/jpeg", "image/webp")

_STATES: Final = {
    pb.DescribeReply.STATE_READY: CargoState.READY,
    pb.DescribeReply.STATE_FAILED: CargoState.FAILED,
}
_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    # Connections are shared by address, and ours is a handle's number, which the next Cargo may get: it would be taken
    # for the one before, dead or alive.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # Also how long one attempt may take: a Cargo on a busy machine listens at once and speaks later.
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
)


class CargoClient:
    def __init__(self, socket: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)
        # Not the generated stub: it logs each message that is none with a traceback, as often as a Cargo likes.
        self._describe = self._channel.unary_unary(
            f"{SERVICE}/Describe", pb.DescribeRequest.SerializeToString, _description
        )
        self._run = self._channel.unary_stream(
            f"{SERVICE}/Run", pb.RunRequest.SerializeToString, _message
        )

    async def close(self) -> None:
        await self._channel.close(None)

    async def describe(self) -> Description:
        """Raises RuntimeFailed."""
        try:
            reply = await self._describe(pb.DescribeRequest(), timeout=DESCRIBE_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                # If its process has ended, the runtime says so instead.
                said = (error.details() or "")[:300]
                raise CargoDied(f"it opened its socket and speaks no gRPC there: {said}") from error
            raise explained(error) from error
        if reply is None:
            raise _no_message()
        return Description(
            state=_STATES.get(reply.state, CargoState.LOADING),
            error=reply.error[:500],
            progress=reply.progress,
            slots=max(1, reply.slots),
            resumable=reply.resumable,
            determinism_class=reply.determinism_class,
            items_per_s=reply.items_per_s,
            first_item_ms=reply.first_item_ms,
            prompt_tokens_per_s=reply.prompt_tokens_per_s,
            context_tokens=reply.context_tokens,
            kept_runs=tuple(run_id[:RUN_ID_MAX] for run_id in reply.kept_runs[:KEPT_RUNS_MAX]),
        )

    async def run(
        self, request: RunRequest, input_folder: str = ""
    ) -> AsyncGenerator[RunEvent, None]:
        """Raises RuntimeFailed; closing it cancels the call. `input_folder` is as the Cargo sees it."""
        call = self._run(
            pb.RunRequest(
                run_id=request.run_id,
                input=request.input,
                first_position=request.first_position,
                resume_tokens=request.resume_tokens,
                resume_texts=request.resume_texts,
                output_items_max=request.output_items_max,
                input_folder=input_folder,
                cache_salt=request.cache_salt,
            ),
            metadata=((TRACEPARENT, request.traceparent),) if request.traceparent else None,
        )
        begun = False
        try:
            async for message in call:
                if message is None:
                    raise _no_message()
                event = _event(message)
                begun = True
                yield event
                if event.end is not None:
                    return
        except grpc.aio.AioRpcError as error:
            raise _in_the_middle(explained(error), begun=begun) from error
        except asyncio.CancelledError:
            # gRPC says this also when the channel was closed under us: nobody cancelled our task then.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise CargoDied("it was stopped") from None
        finally:
            call.cancel()


def _description(data: bytes) -> pb.DescribeReply | None:
    try:
        return pb.DescribeReply.FromString(data)
    except DecodeError:
        return None


def _message(data: bytes) -> pb.RunEvent | None:
    try:
        return pb.RunEvent.FromString(data)
    except DecodeError:
        return None


def _no_message() -> CargoFailed:
    return CargoFailed(f"{BROKE}: what it sent is no message: texts must be UTF-8")


def _in_the_middle(error: RuntimeFailed, *, begun: bool) -> RuntimeFailed:
    """Who has begun cannot say any more that there is no room: the job would go from Island to Island for nothing."""
    if begun and isinstance(error, NoSlot | NotReady):
        return CargoFailed(f"the Cargo gave up in the middle: {error}")
    return error


def _event(message: pb.RunEvent) -> RunEvent:
    """Raises CargoFailed for what is out of bounds."""
    end = None
    if message.HasField("end"):
        end = RunEnd(message.end.finish_reason[:32], message.end.error)
    return RunEvent(
        message.first,
        tuple(message.texts),
        tuple(message.tokens),
        message.prompt_tokens,
        _progress(message.progress) if message.HasField("progress") else None,
        end,
        _file(message.file) if message.HasField("file") else None,
        message.cached_tokens,
    )


def _progress(told: pb.RunEvent.Progress) -> Progress:
    """A preview that is too large or no picture is left out: it is only a comfort."""
    shown = told.preview_type in PREVIEW_TYPES and len(told.preview) <= PREVIEW_BYTES_MAX
    preview = (told.preview, told.preview_type) if shown else (b"", "")
    return Progress(told.step, told.total, told.note[:200], *preview)


def _file(part: pb.FilePart) -> FilePart:
    if len(part.data) > FILE_PART_BYTES_MAX:
        raise CargoFailed(
            f"{BROKE}: a part of a file has {len(part.data)} bytes, {FILE_PART_BYTES_MAX} at most"
        )
    return FilePart(part.name[:256], part.media_type[:128], part.data, part.last, part.sha256)


def explained(error: grpc.aio.AioRpcError) -> RuntimeFailed:
    """The Island's error for a failed call; CargoDied where only its process can tell more."""
    text = (error.details() or error.code().name)[:500]
    match error.code():
        case grpc.StatusCode.INVALID_ARGUMENT:
            return BadInput(text)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if TOO_LARGE in text:
            return CargoFailed(f"{BROKE}: a message of more than {MESSAGE_BYTES_MAX} bytes")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return NoSlot(text)
        case grpc.StatusCode.FAILED_PRECONDITION | grpc.StatusCode.DEADLINE_EXCEEDED:
            return NotReady(text)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return CargoDied(text)
        case _:
            return CargoFailed(f"the Cargo failed: {text}")
