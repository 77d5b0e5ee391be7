"""Puts a Cargo's version into the catalogue: at once for the network's operator, as a submission for everybody else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from archipelag_contracts import cosign, schema, tiers
from archipelag_contracts.errors import BadManifest, BadSignature
from archipelag_contracts.manifest import Manifest, parse_canonical
from archipelag_contracts.signing import MANIFEST_PREFIX

from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.cargo import Cargo, CargoStatus, Cosigned
from archipelag_coordinator.domain.review import Check, Review
from archipelag_coordinator.domain.user import ApiKey, Scope, User
from archipelag_coordinator.errors import InvalidInput, TooManySubmissions
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.services.world import World

REFERENCE_MAX: Final = 512


@dataclass(frozen=True)
class Signatures:
    """How the network signs what it publishes itself: in cosign's form, and for Islands that know only Ed25519."""

    cosign: Callable[[bytes], bytes]
    cosign_key: bytes
    """DER."""
    sign: Callable[[bytes, bytes], bytes]
    """Takes a prefix and a payload."""
    public_key: bytes


async def publish(
    store: Store,
    clock: Clock,
    manifest: Manifest,
    signatures: Signatures,
    *,
    by: str,
    trust: int = tiers.TRUST_MAX,
) -> Cargo:
    """Lists this version. The same manifest twice is listed once; one from before there were such signatures gets one.

    `by` is the operator, for the audit log.
    Raises InvalidInput where the trust does not permit its tier, SlugTaken, IllegalMove for one that was revoked.
    """
    now = clock.now()
    canonical = manifest.canonical()
    payload = cosign.payload(manifest.slug, cosign.artifact_digest(canonical))
    cosigned = Cosigned(payload, signatures.cosign(payload), signatures.cosign_key)
    cargo = Cargo(
        id=0,
        manifest=manifest,
        signature=signatures.sign(MANIFEST_PREFIX, canonical),
        public_key=signatures.public_key,
        status=CargoStatus.SUBMITTED,
        created_at=now,
        cosigned=cosigned,
        trust=trust,
    )
    async with store.begin() as tx:
        stored = await tx.cargos.add(cargo)
        before, stored = stored, stored.cosign(cosigned)
        review = Review(None, now, "published by the network")
        if stored.status is CargoStatus.SUBMITTED:
            stored = stored.verify().list_it(trust, review)
        elif stored.status is not CargoStatus.LISTED:
            stored = stored.list_it(trust, review)
        elif stored.trust != trust:
            stored = stored.retrust(trust, review)
        if stored != before:
            await tx.cargos.save(stored)
            told = f"cargo {stored.id} {stored.slug} {stored.manifest.version}"
            await tx.audit.note(now, by, "cargo.publish", told, f"trust {trust}")
    return stored


@dataclass(frozen=True)
class Submitted:
    """What a publisher sends. `reference` is where the Cargo's artifact stands in a registry."""

    reference: str
    manifest: bytes
    """Canonical."""
    payload: bytes
    signature: bytes
    public_key: bytes
    """PEM."""


async def submit_cargo(
    world: World, user: User, key: ApiKey, submitted: Submitted
) -> tuple[Cargo, bool]:
    """Takes a version to be checked and reviewed; and whether it is new: the same digest again is the same submission.

    Its slug belongs to its first publisher. Raises NotPermitted, InvalidInput, SlugTaken, TooManySubmissions.
    """
    key.check_scope(Scope.WRITE)
    manifest, cosigned = _read(submitted)
    cargo = Cargo(
        id=0,
        manifest=manifest,
        status=CargoStatus.SUBMITTED,
        created_at=world.clock.now(),
        owner_id=user.id,
        reference=submitted.reference,
        cosigned=cosigned,
        trust=0,
        checks=(
            Check("signature", passed=True, said=f"by {cosign.fingerprint(cosigned.public_key)}"),
            Check("manifest", passed=True, said="within the limits of its tier"),
        ),
    )
    limit = world.policy.submissions_open_max
    async with world.store.begin() as tx:
        standing = await tx.cargos.by_digest(cargo.digest)
        if standing is not None and standing.owner_id == user.id:
            tx.rely()
            return standing, False
        if await tx.cargos.count_open(user.id) >= limit:
            raise TooManySubmissions(limit)
        stored = await tx.cargos.add(cargo)
    return stored, True


def _read(submitted: Submitted) -> tuple[Manifest, Cosigned]:
    """Raises InvalidInput with every problem."""
    errors: dict[str, list[str]] = {}
    digest = cosign.artifact_digest(submitted.manifest)
    if len(submitted.reference) > REFERENCE_MAX or not submitted.reference.endswith(f"@{digest}"):
        errors["reference"] = [f"must be host/repository@{digest}, this manifest's artifact"]
    manifest = None
    try:
        manifest = parse_canonical(submitted.manifest)
        if problems := tiers.exceeds(manifest) + schema.senseless(manifest.input):
            errors["manifest"] = problems
    except BadManifest as error:
        errors["manifest"] = error.problems
    public = b""
    try:
        public = cosign.public_from_pem(submitted.public_key)
        cosign.verify(public, submitted.payload, submitted.signature, digest)
    except BadSignature as error:
        errors["signature" if public else "public_key"] = [str(error)]
    if errors:
        raise InvalidInput(errors)
    assert manifest is not None
    return manifest, Cosigned(submitted.payload, submitted.signature, public)
