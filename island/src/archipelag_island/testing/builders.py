"""Builders that read as phrases and give every field a sane value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any, Final

from archipelag_contracts.ids import CargoDigest, Epoch, IslandId, JobId, RelayId, encode
from archipelag_contracts.manifest import Manifest, parse_toml
from archipelag_contracts.tiers import TIERS

from archipelag_island.domain.attempt import Assignment, AttemptKey
from archipelag_island.runtime import CargoSpec

ECHO_MODULE: Final = "archipelag_island.testing.echo_engine"
ISLAND: Final = IslandId("isl_" + encode(1, bytes(10)))
RELAY: Final = RelayId("rly_" + encode(1, bytes(10)))


def a_key(number: int = 1, epoch: int = 1) -> AttemptKey:
    return AttemptKey(JobId("job_" + encode(number, bytes(10))), Epoch(epoch))


def the_echo_manifest(**changes: Any) -> Manifest:
    """The echo Cargo's own manifest; `limits` may be given as a mapping of changes."""
    manifest = parse_toml(files(ECHO_MODULE).joinpath("manifest.toml").read_text())
    limits: Mapping[str, Any] = changes.pop("limits", {})
    return replace(manifest, limits=replace(manifest.limits, **limits), **changes)


def a_spec(manifest: Manifest | None = None, *, slots: int = 4) -> CargoSpec:
    manifest = manifest or the_echo_manifest()
    return CargoSpec(
        manifest,
        manifest.digest,
        ECHO_MODULE,
        slots=slots,
        tier=TIERS[manifest.limits.tier],
    )


def an_input(text: str = "one two three", **knobs: Any) -> bytes:
    return json.dumps({"text": text, **knobs}).encode()


def an_assignment(key: AttemptKey | None = None, **changes: Any) -> Assignment:
    manifest = the_echo_manifest()
    assignment = Assignment(
        key=key or a_key(),
        island_id=ISLAND,
        relay=RELAY,
        cargo_slug=manifest.slug,
        cargo_digest=CargoDigest(manifest.digest),
        input=an_input(),
        issued_at_ms=1_700_000_000_000,
        deadline_ms=60_000,
        first_position=0,
        resume_tokens=(),
        resume_texts=(),
        output_items_max=1000,
        output_bytes_max=100_000,
    )
    return replace(assignment, **changes)
