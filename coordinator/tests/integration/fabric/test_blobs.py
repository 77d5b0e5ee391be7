"""Bytes of files in JetStream keep every promise of the port, and no Island gets near them."""

import pytest
from archipelag_coordinator.adapters.nats.blobs import ROOT, NatsBlobs, make_blob_stream
from archipelag_coordinator.domain.file import BlobId
from archipelag_coordinator.testing.builders import an_id
from archipelag_coordinator.testing.check_files import CheckBlobs

from .conftest import Fabric


@pytest.fixture
async def blobs(fabric: Fabric) -> NatsBlobs:
    await make_blob_stream(fabric.connection)
    await make_blob_stream(fabric.connection)
    return NatsBlobs(fabric.connection)


class TestNatsBlobs(CheckBlobs):
    """The fixture `blobs` is the real thing."""


async def test_an_island_can_neither_read_nor_write_bytes(fabric: Fabric, blobs: NatsBlobs) -> None:
    blob = BlobId(an_id("blob"))
    await blobs.put(blob, 0, b"a customer's")
    host = await fabric.host().connect()
    subject = f"{ROOT}.{blob}.0"

    assert await host.refused(publish=subject)
    assert await host.refused(subscribe=f"{ROOT}.>")
    assert await host.refused(publish=f"$JS.API.DIRECT.GET.BLOBS.{subject}")
    assert await host.refused(publish="$JS.API.STREAM.PURGE.BLOBS")
    assert await blobs.get(blob, 0) == b"a customer's"


async def test_bytes_outlive_a_broker_that_is_killed(fabric: Fabric, blobs: NatsBlobs) -> None:
    blob = BlobId(an_id("blob"))
    await blobs.put(blob, 0, b"kept")

    await fabric.server.kill()
    with pytest.raises(ConnectionError):
        await blobs.put(blob, 1, b"not now")
    await fabric.server.start()

    for _ in range(100):
        try:
            assert await blobs.get(blob, 0) == b"kept"
            break
        except ConnectionError:
            continue
    else:
        pytest.fail("it did not come back")
