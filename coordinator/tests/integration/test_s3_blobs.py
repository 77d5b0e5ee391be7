"""Bytes of files in an object store that checks every signature."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from archipelag_coordinator.adapters.s3.blobs import Bucket, S3Blobs, bucket_of
from archipelag_coordinator.adapters.s3.signing import Access
from archipelag_coordinator.domain.file import BlobId
from archipelag_coordinator.testing.builders import an_id
from archipelag_coordinator.testing.check_files import CheckBlobs
from archipelag_embedded.serving import served
from nanio.app import build_app
from nanio.auth.credentials import StaticCredentialResolver
from nanio.config import Settings

ACCESS = Access("AKIDTEST", "secret/with+signs", "us-east-1")


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def bucket(tmp_path: Path) -> AsyncIterator[Bucket]:
    (tmp_path / "files").mkdir()
    known = StaticCredentialResolver({ACCESS.key_id: ACCESS.secret})
    app = build_app(Settings(data_dir=tmp_path, credentials=known))
    async with served(app) as address:
        yield bucket_of(f"s3://files/some where?endpoint={address}")


@pytest.fixture
async def blobs(bucket: Bucket) -> AsyncIterator[S3Blobs]:
    opened = S3Blobs(bucket, ACCESS, now)
    yield opened
    await opened.close()


class TestS3Blobs(CheckBlobs):
    """The fixture `blobs` is a real server of another's making."""


@pytest.mark.parametrize(
    "access",
    [
        Access("AKIDTEST", "another secret", "us-east-1"),
        Access("AKIDOTHER", "secret/with+signs", "us-east-1"),
    ],
)
async def test_whoever_has_not_the_secret_is_refused(bucket: Bucket, access: Access) -> None:
    blobs = S3Blobs(bucket, access, now)

    with pytest.raises(ConnectionError, match="refused: 403"):
        await blobs.put(BlobId(an_id("blob")), 0, b"x")
    await blobs.close()


async def test_a_signature_of_long_ago_is_refused(bucket: Bucket) -> None:
    blobs = S3Blobs(bucket, ACCESS, lambda: now() - timedelta(hours=1))

    with pytest.raises(ConnectionError, match="refused: 403"):
        await blobs.get(BlobId(an_id("blob")), 0)
    await blobs.close()


async def test_a_store_that_is_away_is_told_as_such(bucket: Bucket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    away = Bucket(bucket.name, "", f"http://127.0.0.1:{port}", bucket.region)
    blobs = S3Blobs(away, ACCESS, now)

    with pytest.raises(ConnectionError, match="does not do what it is asked"):
        await blobs.put(BlobId(an_id("blob")), 0, b"x")
    await blobs.close()


def test_the_address_of_a_bucket_is_read() -> None:
    told = "s3://files/archipelag/eu?endpoint=https://s3.example.org:9000/&region=eu-1"

    assert bucket_of(told) == Bucket(
        "files", "archipelag/eu/", "https://s3.example.org:9000", "eu-1"
    )
    assert bucket_of("s3://files").endpoint == "https://s3.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    "wrong",
    ["s3://", "s3:///files", "s3://files?endpoint=ftp://x", "s3://files?secret=x", "http://files"],
)
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="must"):
        bucket_of(wrong)
