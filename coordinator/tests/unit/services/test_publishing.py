"""Publishing: what is taken, what is listed, what stops, and who is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from archipelag_contracts import cosign
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.ids import RelayId
from archipelag_contracts.manifest import Limits
from archipelag_contracts.signing import SigningKey
from archipelag_coordinator.domain.attempt import AttemptStatus, Cause
from archipelag_coordinator.domain.audit import at_command_line
from archipelag_coordinator.domain.cargo import Cargo, CargoStatus
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.review import CHECKS, Check
from archipelag_coordinator.domain.user import Role, Scope, User
from archipelag_coordinator.errors import (
    Conflict,
    IllegalMove,
    InvalidInput,
    NotFound,
    NotPermitted,
    SlugTaken,
    TooManySubmissions,
)
from archipelag_coordinator.services import review
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.heartbeat import HeldCatalogue, heartbeat
from archipelag_coordinator.services.list_cargos import end_unlisted, list_cargos, load_catalogue
from archipelag_coordinator.services.publish import (
    Signatures,
    Submitted,
    publish,
    submit_cargo,
)
from archipelag_coordinator.testing.builders import (
    CREDIT,
    a_beat_of,
    a_customer,
    a_key,
    a_manifest,
    a_user,
    an_id,
)
from archipelag_coordinator.testing.fakes import FakeSigner
from archipelag_coordinator.testing.worlds import Scene, a_scene

KEY = CosignKey.generate()
REVIEWER = a_user().id
OPERATOR = at_command_line("ada")
PASSED = [Check(name, passed=True) for name in CHECKS]


def a_signed(key: CosignKey = KEY, **changes: Any) -> Submitted:
    """As an honest publisher sends it. Words of `Submitted` replace what was made; others are the manifest's."""
    own = {"reference", "manifest", "payload", "signature", "public_key"}
    manifest = a_manifest(
        **{"slug": "theirs", "model": None} | {k: changes[k] for k in changes.keys() - own}
    )
    canonical = manifest.canonical()
    digest = cosign.artifact_digest(canonical)
    payload = cosign.payload("registry.example/theirs", digest)
    sent = Submitted(
        f"registry.example/theirs@{digest}", canonical, payload, key.sign(payload), key.public_pem
    )
    return replace(sent, **{k: v for k, v in changes.items() if k in own})


async def a_listing(policy: Policy | None = None) -> Scene:
    """A scene whose catalogue is signed."""
    scene = await a_scene(policy=policy)
    return replace(scene, world=replace(scene.world, signer=FakeSigner()))


async def an_admin(scene: Scene) -> User:
    admin = a_user(role=Role.ADMIN)
    async with scene.store.begin() as tx:
        await tx.users.add(admin)
    return admin


async def submitted(scene: Scene, **changes: Any) -> Cargo:
    cargo, _ = await submit_cargo(scene.world, scene.user, scene.key, a_signed(**changes))
    return cargo


async def listed(scene: Scene, trust: int = 2, **changes: Any) -> tuple[Cargo, User]:
    cargo, admin = await submitted(scene, **changes), await an_admin(scene)
    await review.take_checks(scene.world, REVIEWER, cargo.id, PASSED)
    done = await review.approve(scene.world, admin, cargo.id, trust)
    await list_cargos(scene.world)
    return done, admin


async def test_submission_waits_for_its_checks() -> None:
    scene = await a_listing()

    cargo, fresh = await submit_cargo(scene.world, scene.user, scene.key, a_signed())
    again, fresh_again = await submit_cargo(scene.world, scene.user, scene.key, a_signed())

    assert (cargo.status, cargo.trust, cargo.owner_id) == (
        CargoStatus.SUBMITTED,
        0,
        scene.user.id,
    )
    assert [check.name for check in cargo.checks] == ["signature", "manifest"]
    assert again == cargo and (fresh, fresh_again) == (True, False)
    with pytest.raises(NotFound):
        await scene.submit(workload="theirs")


OTHER = a_signed(slug="other")

HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "signature of another Cargo": (
        {"payload": OTHER.payload, "signature": OTHER.signature},
        "signature",
    ),
    "signature of another key": ({"public_key": CosignKey.generate().public_pem}, "signature"),
    "no signature": ({"signature": b"\0" * 64}, "signature"),
    "a key that is none": ({"public_key": b"-----BEGIN NOTHING-----"}, "public_key"),
    "another manifest": ({"manifest": OTHER.manifest}, "signature"),
    "a manifest that is not canonical": ({"manifest": b"{ }"}, "manifest"),
    "the artifact of another": ({"reference": OTHER.reference}, "reference"),
    "by tag": ({"reference": "registry.example/theirs:latest"}, "reference"),
    "more than its tier has": (
        {"limits": Limits("restricted", seconds=3600, progress_s=60)},
        "manifest",
    ),
    "a schema that no input can be checked by": (
        {"input": {"type": "object", "properties": {"a": {"multipleOf": 0}}}},
        "manifest",
    ),
}


@pytest.mark.parametrize("attack", HOSTILE)
async def test_submission_that_is_not_what_it_says_is_refused(attack: str) -> None:
    scene = await a_listing()
    changes, field = HOSTILE[attack]

    with pytest.raises(InvalidInput) as refused:
        await submit_cargo(scene.world, scene.user, scene.key, a_signed(**changes))

    assert field in refused.value.errors


async def test_slug_is_its_first_publishers() -> None:
    scene = await a_listing()
    other, key, _ = await a_customer(scene.store)
    await submitted(scene)

    for slug in ("theirs", scene.cargo.slug):
        with pytest.raises(SlugTaken):
            await submit_cargo(scene.world, other, key, a_signed(slug=slug, version="2.0.0"))
    with pytest.raises(SlugTaken):
        await submit_cargo(scene.world, other, key, a_signed())


async def test_open_submissions_are_limited() -> None:
    scene = await a_listing(Policy(submissions_open_max=2))
    first = await submitted(scene, version="1.0.0")
    await submitted(scene, version="1.0.1")

    with pytest.raises(TooManySubmissions):
        await submitted(scene, version="1.0.2")
    given_up = await review.withdraw(scene.world, scene.user, first.id)
    third = await submitted(scene, version="1.0.2")

    assert given_up.status is CargoStatus.REJECTED
    assert third.status is CargoStatus.SUBMITTED


async def test_submitting_needs_the_scope_write() -> None:
    scene = await a_listing()
    reading = a_key(scene.user, scopes=frozenset({Scope.READ}))

    with pytest.raises(NotPermitted):
        await submit_cargo(scene.world, scene.user, reading, a_signed())


async def test_cargo_is_listed_after_all_checks_and_a_review() -> None:
    scene = await a_listing()
    cargo, admin = await submitted(scene), await an_admin(scene)

    partly = await review.take_checks(scene.world, REVIEWER, cargo.id, PASSED[2:4])
    failing = await review.take_checks(
        scene.world,
        REVIEWER,
        cargo.id,
        [*PASSED[4:5], Check("conformance", passed=False, said="hung")],
    )
    with pytest.raises(IllegalMove):
        await review.approve(scene.world, admin, cargo.id, 2)
    verified = await review.take_checks(scene.world, REVIEWER, cargo.id, PASSED[5:], b"{}")
    done = await review.approve(scene.world, admin, cargo.id, 2)
    await list_cargos(scene.world)

    assert partly.status is failing.status is CargoStatus.SUBMITTED
    assert verified.status is CargoStatus.VERIFIED
    assert (done.status, done.trust) == (CargoStatus.LISTED, 2)
    assert done.review is not None and done.review.by == admin.id
    assert scene.world.catalogue.find("theirs") == done
    async with scene.store.begin() as tx:
        assert await tx.cargos.sbom(cargo.id) == b"{}"


async def test_check_that_fails_after_all_had_passed_keeps_it_from_being_listed() -> None:
    scene = await a_listing()
    cargo, admin = await submitted(scene), await an_admin(scene)
    await review.take_checks(scene.world, REVIEWER, cargo.id, PASSED)
    await review.take_checks(scene.world, REVIEWER, cargo.id, [Check("image", passed=False)])

    with pytest.raises(InvalidInput, match="image"):
        await review.approve(scene.world, admin, cargo.id, 2)


@pytest.mark.parametrize(
    ("tier", "trust", "permitted"),
    [
        ("restricted", 0, True),
        ("standard", 0, False),
        ("standard", 1, True),
        ("elevated", 2, False),
        ("elevated", 3, True),
        ("restricted", 4, False),
        ("restricted", -1, False),
    ],
)
async def test_trust_bounds_the_tier(tier: str, trust: int, permitted: bool) -> None:
    scene = await a_listing()
    cargo = await submitted(scene, limits=Limits(tier, seconds=60))
    admin = await an_admin(scene)
    await review.take_checks(scene.world, REVIEWER, cargo.id, PASSED)

    if permitted:
        assert (await review.approve(scene.world, admin, cargo.id, trust)).trust == trust
    else:
        with pytest.raises(InvalidInput) as refused:
            await review.approve(scene.world, admin, cargo.id, trust)
        assert "trust" in refused.value.errors


async def test_nobody_takes_over_the_name_that_customers_ask_for() -> None:
    scene = await a_listing()
    cargo, admin = await submitted(scene, model=scene.cargo.manifest.model), await an_admin(scene)
    await review.take_checks(scene.world, REVIEWER, cargo.id, PASSED)

    with pytest.raises(Conflict, match="llm-chat"):
        await review.approve(scene.world, admin, cargo.id, 2)


async def test_rejected_cargo_says_why_and_stays_rejected() -> None:
    scene = await a_listing()
    cargo, admin = await submitted(scene), await an_admin(scene)
    with pytest.raises(InvalidInput):
        await review.reject(scene.world, admin, cargo.id, "  ")

    await review.reject(scene.world, admin, cargo.id, "does not do what it says")
    read = await review.read_cargo(scene.world, scene.user, cargo.id)
    again = await submitted(scene)

    assert again == read and read.status is CargoStatus.REJECTED
    assert read.review is not None and read.review.reason == "does not do what it says"
    with pytest.raises(IllegalMove):
        await review.take_checks(scene.world, REVIEWER, cargo.id, PASSED)


async def test_only_publisher_and_administrators_see_and_withdraw_it() -> None:
    scene = await a_listing()
    cargo, admin = await listed(scene)
    stranger, _, _ = await a_customer(scene.store)

    for verb in (review.read_cargo, review.withdraw):
        with pytest.raises(NotFound):
            await verb(scene.world, stranger, cargo.id)
        assert (await verb(scene.world, admin, cargo.id)).id == cargo.id


async def test_withdrawn_cargos_queued_job_fails_uncharged_and_its_running_one_finishes() -> None:
    scene = await a_listing()
    cargo, _ = await listed(scene)
    queued = await scene.submit(workload="theirs", request_hash=b"1")
    scene = replace(scene, cargo=cargo)
    await scene.island()
    running = await dispatch(scene.world, (await scene.submit(request_hash=b"2")).id)
    balance = await scene.balance()

    withdrawn = await review.withdraw(scene.world, scene.user, cargo.id)
    again = await review.withdraw(scene.world, scene.user, cargo.id)
    await list_cargos(scene.world)

    failed, going = await scene.job(queued.id), await scene.job(running.id)
    assert withdrawn == again
    assert (failed.status, failed.cause) == (JobStatus.FAILED, Cause.CARGO_WITHDRAWN)
    assert failed.charged == 0
    assert await scene.balance() == balance + failed.reserved
    assert going.status is JobStatus.RUNNING
    assert scene.bus.cancelled == []
    # Islands keep it until its last job has ended.
    signer = scene.world.signer
    assert isinstance(signer, FakeSigner)
    assert "theirs" in [one.slug for one in signer.sealed[-1].cargos]
    with pytest.raises(NotFound):
        await scene.submit(workload="theirs")
    await dispatch(scene.world, failed.id)
    assert (await scene.job(failed.id)).epoch == 0


async def test_revoked_cargos_jobs_end_at_once_uncharged_and_islands_are_told() -> None:
    scene = await a_listing()
    cargo, admin = await listed(scene)
    scene = replace(scene, cargo=cargo)
    island = await scene.island(slots=1)
    running = await scene.running(request_hash=b"1")
    scene.stream(running, "one ", "two ")
    queued = await scene.submit(request_hash=b"2")

    revoked = await review.revoke(scene.world, admin, cargo.id, "steals")
    await list_cargos(scene.world)

    for before in (running, queued):
        after = await scene.job(before.id)
        assert (after.status, after.cause) == (JobStatus.FAILED, Cause.CARGO_REVOKED)
        assert after.charged == 0
    assert await scene.balance() == CREDIT
    assert [(one[0], one[1]) for one in scene.bus.cancelled] == [(island.id, running.id)]
    async with scene.store.begin() as tx:
        attempt = await tx.attempts.get(running.id, running.epoch)
    assert attempt is not None and attempt.status is AttemptStatus.FAILED
    assert scene.bus.catalogue_changes == [1, 2]
    assert revoked.review is not None and revoked.review.reason == "steals"
    with pytest.raises(IllegalMove):
        await review.approve(scene.world, admin, cargo.id, 2)


async def test_job_is_never_given_to_an_island_once_its_cargo_is_revoked() -> None:
    scene = await a_listing()
    cargo, admin = await listed(scene)
    scene = replace(scene, cargo=cargo)
    queued = await scene.submit()
    await scene.island()

    await review.revoke(scene.world, admin, cargo.id, "steals")
    await load_catalogue(scene.world)
    job = await dispatch(scene.world, queued.id)

    assert (job.status, job.epoch) == (JobStatus.QUEUED, 0)
    assert scene.bus.assigned == []


async def test_another_coordinators_jobs_are_left_to_it() -> None:
    scene = await a_listing()
    cargo, admin = await listed(scene)
    queued = await scene.submit(workload="theirs")
    other = replace(scene.another(), home=RelayId(an_id("rly")))

    await review.revoke(other, admin, cargo.id, "steals")
    elsewhere = await end_unlisted(other)
    here = await end_unlisted(scene.world)

    assert (elsewhere, here) == ([], [queued.id])


async def test_version_rises_with_each_change_and_not_without() -> None:
    scene = await a_listing()
    signer = scene.world.signer
    assert isinstance(signer, FakeSigner)

    await load_catalogue(scene.world)
    await load_catalogue(scene.world)
    _, admin = await listed(scene)
    other = scene.another()
    await load_catalogue(other)
    await load_catalogue(scene.world)

    assert [one.version for one in signer.sealed] == [1, 2]
    assert scene.bus.catalogue_changes == [1, 2]
    document = other.catalogue.document
    assert document is not None and document.sealed == b"catalogue 2"
    assert {one.slug for one in signer.sealed[-1].cargos} == {"llm-chat", "theirs"}
    assert admin.role is Role.ADMIN


async def test_document_is_renewed_long_before_it_expires() -> None:
    scene = await a_listing()
    await load_catalogue(scene.world)
    first = scene.world.catalogue.document

    scene.clock.advance(23 * 3600)
    await load_catalogue(scene.world)
    still = scene.world.catalogue.document
    scene.clock.advance(2 * 3600)
    await load_catalogue(scene.world)
    second = scene.world.catalogue.document

    assert first is not None and second is not None and still == first
    assert (first.version, second.version) == (1, 2)
    assert second.expires_at - scene.clock.now() == timedelta(days=7)


async def test_new_catalogue_key_signs_anew() -> None:
    scene = await a_listing()
    await load_catalogue(scene.world)

    rekeyed = replace(scene.world, signer=FakeSigner(b"another key"))
    await load_catalogue(rekeyed)

    assert rekeyed.catalogue.document is not None
    assert rekeyed.catalogue.document.version == 2


async def test_island_gets_the_document_only_when_its_number_differs() -> None:
    scene = await a_listing()
    await load_catalogue(scene.world)
    island = await scene.island()
    numbers = count(island.sequence + 1)

    async def answer(holds: HeldCatalogue) -> tuple[bool, bool]:
        beat = a_beat_of(island, next(numbers))
        told = await heartbeat(scene.world, island.id, beat, [], holds)
        return told.document is not None, told.catalogue is not None

    version = scene.world.catalogue.version
    assert await answer(HeldCatalogue(number=0, reads_documents=True)) == (True, False)
    assert await answer(HeldCatalogue(number=1, reads_documents=True)) == (False, False)
    # It has heard of a newer one at another Coordinator: an older one would only be refused.
    assert await answer(HeldCatalogue(number=9, reads_documents=True)) == (False, False)
    assert await answer(HeldCatalogue()) == (False, True)
    assert await answer(HeldCatalogue(version)) == (False, False)


async def test_operator_publishes_at_once_and_old_versions_get_a_cosign_signature() -> None:
    scene = await a_listing()
    old = SigningKey.generate()
    signatures = Signatures(KEY.sign, KEY.public, old.sign, old.public)
    manifest = scene.cargo.manifest

    again = await publish(scene.store, scene.clock, manifest, signatures, by=OPERATOR)
    new = await publish(
        scene.store, scene.clock, a_manifest(slug="new"), signatures, by=OPERATOR, trust=1
    )
    raised = await publish(
        scene.store, scene.clock, a_manifest(slug="new"), signatures, by=OPERATOR, trust=2
    )

    assert again.id == scene.cargo.id and again.signature == scene.cargo.signature
    assert again.cosigned is not None
    digest = cosign.artifact_digest(manifest.canonical())
    cosign.verify(KEY.public, again.cosigned.payload, again.cosigned.signature, digest)
    assert (new.status, new.trust, raised.trust) == (CargoStatus.LISTED, 1, 2)
    assert new.cosigned == raised.cosigned
    with pytest.raises(InvalidInput):
        await publish(
            scene.store, scene.clock, a_manifest(slug="wide"), signatures, by=OPERATOR, trust=0
        )
