"""The other ways in: a model's file, a submission on its way through the review, the catalogue and its entries."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from archipelag_contracts import cosign
from archipelag_contracts.errors import BadSignature, ContractError
from archipelag_contracts.manifest import Manifest, Model
from archipelag_contracts.pb.archipelag.v1 import island_pb2 as pb
from archipelag_contracts.signing import SigningKey
from archipelag_island.adapters.codec import read_document
from archipelag_island.adapters.images import OciImages
from archipelag_island.adapters.models import FetchedModels
from archipelag_island.domain.catalogue import Document, check_entry, judge
from archipelag_island.domain.offer import Entry
from archipelag_island.errors import BadCatalogue, BadEntry, ModelUnavailable
from archipelag_island.testing.builders import the_echo_manifest
from archipelag_kit.conformance.submission import Asked, look
from archipelag_oci.reference import parse
from archipelag_oci.settings import Settings

from .publisher import Publisher

OTHER: Final = cosign.CosignKey.generate()
FILE: Final = "weights.bin"


# --- A model's file --------------------------------------------------------------------------------


async def a_model(publisher: Publisher, data: bytes) -> Manifest:
    source = await publisher.push_model(data, FILE)
    return the_echo_manifest(model=Model("it", FILE, hashlib.sha256(data).hexdigest(), source))


def changed_file(publisher: Publisher, manifest: Manifest) -> Manifest:
    assert manifest.model is not None
    flip(publisher.store / "blobs" / manifest.model.sha256)
    return manifest


def other_file(publisher: Publisher, manifest: Manifest) -> Manifest:
    """What lies at the digest is whole, but not what the signed manifest promises."""
    assert manifest.model is not None
    return replace(manifest, model=replace(manifest.model, sha256="0" * 64))


def tag(publisher: Publisher, manifest: Manifest) -> Manifest:
    assert manifest.model is not None
    named = f"{manifest.model.source.partition('@')[0]}:latest"
    return replace(manifest, model=replace(manifest.model, source=named))


def changed_index(publisher: Publisher, manifest: Manifest) -> Manifest:
    assert manifest.model is not None
    name = manifest.model.source.rpartition(":")[2]
    [stored] = (publisher.store / "repositories").glob(f"**/_manifests/{name}")
    flip(stored)
    return manifest


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (changed_file, "sha256"),
        (other_file, "SHA-256"),
        (tag, "by digest"),
        (changed_index, "sha256"),
    ],
)
async def test_a_model_that_was_changed_is_refused(
    fault: Callable[[Publisher, Manifest], Manifest],
    cause: str,
    publisher: Publisher,
    tmp_path: Path,
) -> None:
    manifest = fault(publisher, await a_model(publisher, os.urandom(5000)))
    good = await a_model(publisher, os.urandom(5000))
    images = OciImages(
        tmp_path / "images",
        lambda: publisher.address,
        bytes_max=1 << 30,
        settings=Settings(backoff_s=0.01),
    )
    models = FetchedModels(tmp_path / "models", pull=images.fetch_model)

    with pytest.raises(ModelUnavailable, match=cause):
        await models.fetch("", manifest)

    assert good.model is not None
    found = await models.fetch("", good)
    assert hashlib.sha256(found.read_bytes()).hexdigest() == good.model.sha256


# --- A submission, as the review pulls it ----------------------------------------------------------


def submission(publisher: Publisher, manifest: Manifest) -> Asked:
    artifact = cosign.artifact_digest(manifest.canonical())
    where = parse(f"{publisher.address}/{manifest.slug}@{artifact}")
    return Asked(where, publisher.key.public, manifest.digest, 1 << 30, "2026-11-27T00:00:00Z")


@pytest.fixture
def submitted(publisher: Publisher) -> Manifest:
    return publisher.published("hash")


async def verdicts(asked: Asked, scratch: Path) -> list[tuple[str, bool]]:
    scratch.mkdir()  # noqa: ASYNC240
    found, _ = await look(asked, Settings(backoff_s=0.01), scratch)
    return [(one.name, one.passed) for one in found]


@pytest.mark.parametrize("what", ["key", "manifest", "module", "artifact", "reference"])
async def test_a_review_stops_at_what_was_changed_and_runs_nothing(
    what: str, publisher: Publisher, submitted: Manifest, tmp_path: Path
) -> None:
    asked = submission(publisher, submitted)
    assert submitted.image is not None
    blobs = publisher.store / "blobs"
    module = Path(__file__).parents[2] / "cargos" / "wasm" / "hash" / "hash.wasm"
    changed: Path | None = None
    match what:
        case "key":
            asked = replace(asked, public=OTHER.public)
        case "reference":
            asked = replace(asked, reference=asked.reference.at("sha256:" + "1" * 64))
        case "artifact":
            asked = replace(asked, digest="sha256:" + "1" * 64)
        case "manifest":
            changed = blobs / hashlib.sha256(submitted.canonical()).hexdigest()
        case _:
            changed = blobs / hashlib.sha256(module.read_bytes()).hexdigest()
    if changed is not None:
        flip(changed)

    try:
        found = await verdicts(asked, tmp_path / "bad")
    finally:
        if changed is not None:
            flip(changed)

    assert found[-1][1] is False, "the first that fails is the last that is looked at"
    assert "conformance" not in dict(found)
    good = await verdicts(submission(publisher, submitted), tmp_path / "good")
    assert all(passed for _, passed in good) and good[-1][0] == "conformance"


# --- The catalogue ---------------------------------------------------------------------------------

CATALOGUE: Final = SigningKey.generate()
NOW_MS: Final = 1_800_000_000_000


def an_entry(manifest: Manifest, publisher: Publisher, trust: int = 2) -> Entry:
    data = manifest.canonical()
    payload = cosign.payload("registry.example/it", cosign.artifact_digest(data))
    key = publisher.key
    return Entry(data, key.sign(payload), key.public, payload, trust)


def other_digest(entry: Entry, other: Entry) -> Entry:
    return replace(entry, payload=other.payload, signature=other.signature)


def other_image(entry: Entry, other: Entry) -> Entry:
    """The least that an attacker needs: another digest in the manifest, all else as it was signed."""
    raw = json.loads(entry.manifest)
    raw["image"]["digest"] = "sha256:" + "6" * 64
    return replace(entry, manifest=json.dumps(raw, sort_keys=True, separators=(",", ":")).encode())


def changed_payload(entry: Entry, other: Entry) -> Entry:
    return replace(entry, payload=entry.payload[:-1] + b" ")


def changed_signature(entry: Entry, other: Entry) -> Entry:
    return replace(entry, signature=entry.signature[:-1] + bytes([entry.signature[-1] ^ 1]))


def other_key(entry: Entry, other: Entry) -> Entry:
    return replace(entry, public_key=OTHER.public)


def unsigned(entry: Entry, other: Entry) -> Entry:
    return replace(entry, payload=b"", signature=b"")


def too_little_trust(entry: Entry, other: Entry) -> Entry:
    return replace(other, trust=0)


@pytest.mark.parametrize(
    "fault",
    [
        other_digest,
        other_image,
        changed_payload,
        changed_signature,
        other_key,
        unsigned,
        too_little_trust,
    ],
)
def test_an_entry_that_is_not_what_was_signed_is_refused(
    fault: Callable[[Entry, Entry], Entry], publisher: Publisher, submitted: Manifest
) -> None:
    elevated = replace(submitted, limits=replace(submitted.limits, tier="elevated"))
    good = an_entry(submitted, publisher)

    with pytest.raises((BadEntry, ContractError)):
        check_entry(fault(good, an_entry(elevated, publisher)), (), None)

    assert check_entry(good, (), None) == submitted


def a_catalogue(publisher: Publisher, manifest: Manifest, key: SigningKey = CATALOGUE) -> bytes:
    entry = an_entry(manifest, publisher)
    whole = pb.Catalogue(
        version=7, issued_at_ms=NOW_MS, expires_at_ms=NOW_MS + 1000, registry=publisher.address
    )
    whole.entries.add(
        manifest=entry.manifest,
        payload=entry.payload,
        signature=entry.signature,
        public_key=entry.public_key,
        trust=entry.trust,
    )
    return key.seal(whole)


def read(data: bytes) -> Document:
    return read_document(data, {CATALOGUE.public})


def test_a_catalogue_of_another_key_or_with_a_changed_byte_is_refused(
    publisher: Publisher, submitted: Manifest
) -> None:
    sealed = a_catalogue(publisher, submitted)

    with pytest.raises(BadSignature):
        read(a_catalogue(publisher, submitted, SigningKey.generate()))
    for part in (publisher.address.encode(), submitted.canonical(), publisher.key.public):
        at = sealed.index(part) + len(part) - 1
        with pytest.raises(BadSignature):
            read(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])

    assert [entry.manifest for entry in read(sealed).entries] == [submitted.canonical()]


@pytest.mark.parametrize(
    ("highest", "now_ms", "cause"),
    [(8, NOW_MS, "older than 8"), (7, NOW_MS + 1000, "expired")],
)
def test_an_older_or_expired_catalogue_is_refused(
    highest: int, now_ms: int, cause: str, publisher: Publisher, submitted: Manifest
) -> None:
    document = read(a_catalogue(publisher, submitted))

    with pytest.raises(BadCatalogue, match=cause):
        judge(document, highest=highest, now_ms=now_ms)

    judge(document, highest=7, now_ms=NOW_MS)


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
