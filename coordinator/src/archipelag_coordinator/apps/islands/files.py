"""Islands' questions for files: which attempt's, which part; then `serve_files` decides and the answer says why not."""

from __future__ import annotations

import logging
from typing import Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadMessage, ContractError
from archipelag_contracts.ids import Epoch, IslandId
from archipelag_contracts.pb.archipelag.v1 import common_pb2, files_pb2
from google.protobuf.message import DecodeError

from archipelag_coordinator.apps.islands.decode import EPOCH_MAX, INTEGER_MAX
from archipelag_coordinator.errors import (
    Conflict,
    ContentLost,
    CoordinatorError,
    InvalidInput,
    NotFound,
    StaleAttempt,
    StorageExceeded,
    TooLarge,
)
from archipelag_coordinator.services.serve_files import Holder, Piece, read_input, write_output
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

REASON_MAX: Final = 200

# The first that fits.
_WHY: Final[tuple[tuple[type[CoordinatorError], files_pb2.FileReply.Refused.ValueType], ...]] = (
    (StaleAttempt, files_pb2.FileReply.REFUSED_STALE),
    (NotFound, files_pb2.FileReply.REFUSED_UNKNOWN),
    (TooLarge, files_pb2.FileReply.REFUSED_TOO_LARGE),
    (StorageExceeded, files_pb2.FileReply.REFUSED_TOO_LARGE),
    (ContentLost, files_pb2.FileReply.REFUSED_LOST),
    (InvalidInput, files_pb2.FileReply.REFUSED_BAD_PART),
    (Conflict, files_pb2.FileReply.REFUSED_BAD_PART),
)


BUSY: Final = files_pb2.FileReply(
    refused=files_pb2.FileReply.REFUSED_TRY_AGAIN, reason="too many at once"
).SerializeToString()


class IslandFiles:
    """Takes questions as they come from the broker, which has checked whose subject it was."""

    def __init__(self, world: World, unavailable: tuple[type[Exception], ...] = ()) -> None:
        self._world = world
        self._unavailable: tuple[type[Exception], ...] = (
            ConnectionError,
            TimeoutError,
            *unavailable,
        )

    async def take(self, island: IslandId, data: bytes) -> bytes:
        return (await self._reply(island, data)).SerializeToString()

    async def _reply(self, island: IslandId, data: bytes) -> files_pb2.FileReply:
        try:
            return await self._serve(island, data)
        except (DecodeError, ContractError) as error:
            log.warning("file_request_unreadable island=%s error=%s", island, error)
            return _refusal(files_pb2.FileReply.REFUSED_UNKNOWN, str(error))
        except CoordinatorError as error:
            log.info("file_refused island=%s code=%s: %s", island, error.code, error)
            why = next((word for kind, word in _WHY if isinstance(error, kind)), None)
            if why is None:
                raise
            return _refusal(why, str(error))
        except self._unavailable as error:
            log.warning("file_not_now island=%s error=%r", island, error)
            return _refusal(files_pb2.FileReply.REFUSED_TRY_AGAIN, "not now")

    async def _serve(self, island: IslandId, data: bytes) -> files_pb2.FileReply:
        asked = files_pb2.FileRequest.FromString(data)
        if not 0 < asked.epoch <= EPOCH_MAX:
            raise BadMessage("an impossible epoch")
        holder = Holder(island, ids.job_id(asked.job_id), Epoch(asked.epoch))
        match asked.WhichOneof("ask"):
            case "read":
                file, offset = ids.file_id(asked.read.file_id), asked.read.offset
                length = asked.read.length
                if offset > INTEGER_MAX:
                    raise BadMessage("an impossible place in a file")
                content = await read_input(self._world, holder, file, offset, length)
                return files_pb2.FileReply(data=content)
            case "write":
                taken = await write_output(self._world, holder, _piece(asked.write))
                reply = files_pb2.FileReply(next_offset=taken.received)
                if taken.file is not None:
                    made = common_pb2.FileRef(
                        file_id=taken.file,
                        sha256=asked.write.sha256,
                        size_bytes=taken.received,
                    )
                    reply.file.CopyFrom(made)
                return reply
        raise BadMessage("neither read nor write")


def _piece(asked: files_pb2.FileWrite) -> Piece:
    if asked.offset > INTEGER_MAX:
        raise BadMessage("an impossible place in a file")
    return Piece(
        name=asked.name,
        media_type=asked.media_type,
        offset=asked.offset,
        data=asked.data,
        last=asked.last,
        sha256=asked.sha256.hex(),
    )


def _refusal(why: files_pb2.FileReply.Refused.ValueType, reason: str) -> files_pb2.FileReply:
    return files_pb2.FileReply(refused=why, reason=reason[:REASON_MAX])
