"""Bytes of files in JetStream: a stream in which every piece has a subject of its own.

Not the object store of the clients: that reads an object from its beginning only, and a range or the next piece for an
Island would read all before it. Here each piece is one question by its subject, answered by any server that has it.
"""

from __future__ import annotations

from typing import Final

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, BadRequestError, NotFoundError

from archipelag_coordinator.adapters.nats.connection import REQUEST_TIMEOUT_S, Connection
from archipelag_coordinator.domain.file import PIECE_BYTES, BlobId

STREAM: Final = "BLOBS"
ROOT: Final = "arc.v1.blobs"
MESSAGE_BYTES_MAX: Final = PIECE_BYTES + 4096
_ALREADY_OTHERWISE: Final = 10058  # JetStream's code: the stream stands with another configuration


class NatsBlobs:
    """Implements `Blobs`. No Island may speak or listen under these subjects.

    `domain`: of the region whose broker keeps them; None where there is only one.
    """

    def __init__(self, connection: Connection, domain: str | None = None) -> None:
        self._connection = connection
        self._domain = domain

    async def put(self, blob: BlobId, number: int, data: bytes) -> None:
        js = self._store()
        try:
            await js.publish(_subject(blob, number), data, stream=STREAM)
        except APIError as error:
            raise ConnectionError(f"the store of files is full: {error.description}") from error
        except (nats.errors.Error, TimeoutError) as error:
            raise ConnectionError(f"the store of files does not answer: {error!r}") from error

    async def get(self, blob: BlobId, number: int) -> bytes | None:
        js = self._store()
        try:
            found = await js.get_last_msg(STREAM, _subject(blob, number), direct=True)
        except NotFoundError:
            return None
        except (nats.errors.Error, TimeoutError) as error:
            raise ConnectionError(f"the store of files does not answer: {error!r}") from error
        return found.data or b""

    async def delete(self, blob: BlobId) -> None:
        js = self._store()
        try:
            await js.purge_stream(STREAM, subject=f"{ROOT}.{blob}.*")
        except NotFoundError:
            return
        except (nats.errors.Error, TimeoutError) as error:
            raise ConnectionError(f"the store of files does not answer: {error!r}") from error

    def _store(self) -> JetStreamContext:
        return self._connection.client.jetstream(timeout=REQUEST_TIMEOUT_S, domain=self._domain)


async def make_blob_stream(connection: Connection, replicas: int = 1) -> None:
    """Idempotent. A broker that has lost it gives every file's content as lost, and takes new ones."""
    js = connection.client.jetstream(timeout=REQUEST_TIMEOUT_S)
    config = StreamConfig(
        name=STREAM,
        subjects=[f"{ROOT}.>"],
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        max_msgs_per_subject=1,
        max_msg_size=MESSAGE_BYTES_MAX,
        allow_direct=True,
        num_replicas=replicas,
    )
    try:
        await js.add_stream(config)
    except BadRequestError as error:
        if error.err_code != _ALREADY_OTHERWISE:
            raise
        await js.update_stream(config)


def _subject(blob: BlobId, number: int) -> str:
    return f"{ROOT}.{blob}.{number}"
