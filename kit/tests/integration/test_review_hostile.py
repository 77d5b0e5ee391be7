"""What a reviewer must refuse, from a real registry: each stops before a byte of it is run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from archipelag_contracts.cosign import CosignKey, artifact_digest
from archipelag_contracts.manifest import Image, Manifest
from archipelag_kit.conformance import submission
from archipelag_kit.conformance.submission import Asked, Verdict
from archipelag_kit.drafts import parse_draft
from archipelag_oci import media, push, signatures
from archipelag_oci.reference import Reference
from archipelag_oci.registry import Registry
from archipelag_oci.settings import Settings

MODULE = b"\0asm\x01\0\0\0"
DRAFT = """
slug = "hostile"
version = "1.0.0"
name = "Hostile"
description = "For tests."
license = "Apache-2.0"
kind = "json"
runtime = "wasm"
[input]
type = "object"
[input.properties.text]
type = "string"
[example]
text = "x"
[limits]
tier = "restricted"
seconds = 60
progress_s = 30
"""


@dataclass
class Case:
    """What is done to a submission that would be good otherwise."""

    draft: str = DRAFT
    sign_cargo: bool = True
    sign_image: bool = True
    by_another: bool = False
    size_bytes: int = 10_000
    media_type: str = media.WASM
    claimed: Manifest | None = None


async def looked_at(case: Case, host: str, scratch: Path) -> list[Verdict]:
    key, other = CosignKey.generate(), CosignKey.generate()
    signer = other if case.by_another else key
    # A repository for each, so that no signature is another's.
    name = f"hostile/{scratch.name.replace('_', '-').lower()[-40:].strip('-')}"
    anywhere = Reference(host, name, tag="x")
    async with Registry() as registry:
        digest = await push.push_artifact(
            registry, anywhere, MODULE + case.draft.encode(), case.media_type, media.WASM_CONFIG
        )
        manifest = parse_draft(case.draft, Image(name, digest, case.size_bytes))
        reference = anywhere.at(artifact_digest(manifest.canonical()))
        await push.push_cargo(registry, reference, manifest.canonical())
        for at, wanted in ((reference, case.sign_cargo), (anywhere.at(digest), case.sign_image)):
            if wanted:
                await signatures.sign(registry, at, signer)
    claimed = (case.claimed or manifest).digest
    asked = Asked(reference, key.public, claimed, 1 << 20, "2026-01-01T00:00:00Z")
    verdicts, _ = await submission.look(asked, Settings(), scratch)
    return verdicts


@pytest.mark.parametrize(
    ("case", "check", "said"),
    [
        (Case(sign_cargo=False), "signature", "no signature"),
        (Case(sign_image=False), "signature", "no signature"),
        (Case(by_another=True), "signature", "trusted key"),
        (Case(size_bytes=20), "image", "at most"),
        (Case(media_type=media.LAYER_TAR), "image", "and not"),
        (Case(DRAFT.replace("seconds = 60", "seconds = 61")), "manifest", "seconds is 61"),
        (Case(DRAFT.replace('text = "x"', "text = 7")), "manifest", "the example"),
        (
            Case(claimed=replace(parse_draft(DRAFT), version="2.0.0")),
            "manifest",
            "the registry holds",
        ),
    ],
)
async def test_what_is_not_as_it_was_submitted_is_not_run(
    case: Case, check: str, said: str, registry: str, tmp_path: Path
) -> None:
    verdicts = await looked_at(case, registry, tmp_path)

    failed = [verdict for verdict in verdicts if not verdict.passed]
    assert [verdict.name for verdict in failed] == [check], verdicts
    assert said in failed[0].said
    assert "conformance" not in [verdict.name for verdict in verdicts]


async def test_a_tampered_manifest_is_not_in_the_registry_by_that_digest(
    registry: str, tmp_path: Path
) -> None:
    """Nobody can put other bytes under a digest: what was signed is what is pulled, or nothing is."""
    key = CosignKey.generate()
    manifest = parse_draft(DRAFT, Image("hostile/gone", "sha256:" + "1" * 64, 1000))
    at = Reference(registry, "hostile/gone", digest=artifact_digest(manifest.canonical()))
    async with Registry() as client:
        payload_of = await client.has_manifest(at)
    asked = Asked(at, key.public, manifest.digest, 1 << 20, "2026-01-01T00:00:00Z")

    verdicts, sbom = await submission.look(asked, Settings(), tmp_path)

    assert payload_of is False and sbom is None
    assert [(v.name, v.passed) for v in verdicts] == [("signature", False)]
