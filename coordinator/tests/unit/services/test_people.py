"""Keys, publishing, the first user, and what people may look at."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archipelag_contracts import cosign
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.ids import ApiKeyId, IslandId
from archipelag_contracts.signing import MANIFEST_PREFIX, SigningKey, verify
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.audit import at_command_line
from archipelag_coordinator.domain.cargo import CargoStatus
from archipelag_coordinator.domain.island import IslandStatus
from archipelag_coordinator.domain.ledger import INSURANCE, user_account
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import Role, Scope
from archipelag_coordinator.errors import InvalidInput, NotAuthenticated, NotFound
from archipelag_coordinator.services import read
from archipelag_coordinator.services.audit import audit_ledger
from archipelag_coordinator.services.bootstrap import FIRST_GRANT, add_key, add_user, bootstrap
from archipelag_coordinator.services.grant import grant_credit
from archipelag_coordinator.services.keys import (
    create_key,
    create_pairing_code,
    make_pairing_code,
    revoke_key,
)
from archipelag_coordinator.services.publish import Signatures, publish
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing.builders import a_manifest, a_user, an_id
from archipelag_coordinator.testing.worlds import a_scene

SIGNER = SigningKey.from_seed(b"s" * 32)
COSIGNER = CosignKey.generate()
OPERATOR = at_command_line("ada")
SIGNATURES = Signatures(COSIGNER.sign, COSIGNER.public, SIGNER.sign, SIGNER.public)


async def test_a_key_is_shown_once_stored_hashed_and_revoked_at_once() -> None:
    scene = await a_scene()

    key, secret = await create_key(scene.world, scene.user, name="laptop", scopes=[Scope.READ])
    revoked = await revoke_key(scene.world, scene.user.id, key.id)

    assert secret.startswith("ak_") and secret not in repr(key)
    assert scene.bus.keys_changes == 1
    with pytest.raises(NotAuthenticated):
        revoked.check_usable(scene.clock.now())
    assert [one.name for one in await read.list_keys(scene.world, scene.user.id)] == [
        "test",
        "laptop",
    ]


async def test_somebody_elses_key_is_not_found() -> None:
    scene = await a_scene()

    for user, key in [(scene.owner.id, scene.key.id), (scene.user.id, ApiKeyId(an_id("key")))]:
        with pytest.raises(NotFound):
            await revoke_key(scene.world, user, key)
    with pytest.raises(InvalidInput):
        await create_key(scene.world, scene.user, name="", scopes=[])


async def test_publishing_signs_lists_and_does_so_once() -> None:
    scene = await a_scene()
    manifest = a_manifest(slug="echo")

    first = await publish(scene.store, scene.clock, manifest, SIGNATURES, by=OPERATOR)
    second = await publish(scene.store, scene.clock, manifest, SIGNATURES, by=OPERATOR)

    # Such a signature is another one each time that it is made; the one that stands stays or is replaced by a good one.
    assert replace(first, cosigned=None) == replace(second, cosigned=None)
    assert first.status is CargoStatus.LISTED
    verify(first.public_key, MANIFEST_PREFIX, manifest.canonical(), first.signature)
    for cargo in (first, second):
        assert cargo.cosigned is not None
        signed = cargo.cosigned
        digest = cosign.artifact_digest(manifest.canonical())
        cosign.verify(signed.public_key, signed.payload, signed.signature, digest)


async def test_each_thing_published_is_noted_once_with_who_did_it() -> None:
    scene = await a_scene()
    manifest = a_manifest(slug="echo")

    for trust in (2, 2, 3):
        await publish(scene.store, scene.clock, manifest, SIGNATURES, by=OPERATOR, trust=trust)

    async with scene.store.begin() as tx:
        noted = await tx.audit.after(0, 10)
    assert {(one.actor, one.act) for one in noted} == {(OPERATOR, "cargo.publish")}
    assert [one.detail for one in noted] == ["trust 2", "trust 3"]
    assert all("echo" in one.subject for one in noted)


async def test_keys_and_codes_that_an_operator_makes_for_somebody_are_noted_without_the_secret() -> (
    None
):
    scene = await a_scene()
    outside = (scene.store, scene.clock, scene.world.ids)

    secret = await add_key(*outside, scene.user, by=OPERATOR)
    code = await make_pairing_code(*outside, scene.world.policy, scene.user, by=OPERATOR)
    await create_pairing_code(scene.world, scene.user)

    async with scene.store.begin() as tx:
        noted = await tx.audit.after(0, 10)
    told = [(one.actor, one.act, one.subject) for one in noted]
    assert told == [(OPERATOR, act, scene.user.id) for act in ("key.add", "island.code")]
    assert not any(said in one.detail for one in noted for said in (secret, code.code))


async def test_publishing_again_lists_what_was_withdrawn() -> None:
    scene = await a_scene()
    async with scene.store.begin() as tx:
        await tx.cargos.save(scene.cargo.withdraw())

    again = await publish(scene.store, scene.clock, scene.cargo.manifest, SIGNATURES, by=OPERATOR)

    assert again.status is CargoStatus.LISTED


async def test_the_first_administrator_gets_credits_and_the_insurance_its_seed_once() -> None:
    scene = await a_scene()
    policy = Policy(insurance_seed=Ucredits(500))
    arguments = (scene.store, scene.clock, scene.world.ids, policy, "Admin@Example.org ")

    first = await bootstrap(*arguments, by=OPERATOR)
    scene.clock.advance(60)
    second = await bootstrap(*arguments, by=OPERATOR)

    async with scene.store.begin() as tx:
        account = await tx.ledger.account(user_account(first.id))
        insurance = await tx.ledger.account(INSURANCE)
        noted = await tx.audit.after(0, 10)
    assert first == second
    assert [(one.act, one.actor) for one in noted] == [
        ("user.add", OPERATOR),
        ("user.grant", OPERATOR),
        ("insurance.seed", OPERATOR),
    ]
    assert (first.email, first.role) == ("admin@example.org", Role.ADMIN)
    assert account.balance == FIRST_GRANT
    assert insurance.balance == 1_000_000 + 500


async def test_a_network_without_a_seed_for_the_insurance_starts_all_the_same() -> None:
    scene = await a_scene()
    policy = Policy(insurance_seed=Ucredits(0))

    await bootstrap(
        scene.store, scene.clock, scene.world.ids, policy, "admin@example.org", by=OPERATOR
    )

    async with scene.store.begin() as tx:
        assert (await tx.ledger.account(INSURANCE)).balance == 1_000_000


@pytest.mark.parametrize(
    "email",
    [
        "",
        "nobody",
        "@example.org",
        "ada@",
        "a b@example.org",
        "ada@localhost",
        "ada@example.org\nBcc: eve@example.org",
    ],
)
async def test_an_address_must_be_one(email: str) -> None:
    scene = await a_scene()

    with pytest.raises(InvalidInput):
        await add_user(scene.store, scene.clock, scene.world.ids, email, by=OPERATOR)


async def test_a_user_added_without_credits_has_none() -> None:
    scene = await a_scene()

    user = await add_user(scene.store, scene.clock, scene.world.ids, "ada@example.org", by=OPERATOR)

    assert (await read.read_account(scene.world, user)).available == 0


async def test_one_reads_ones_own_jobs_only() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()

    view = await read.read_job(scene.world, scene.user.id, job.id)
    jobs, total = await read.list_jobs(scene.world, scene.user.id, limit=10, offset=0)

    assert view.job.id == job.id and [a.attempt.epoch for a in view.attempts] == [1]
    assert ([one.id for one in jobs], total) == ([job.id], 1)
    with pytest.raises(NotFound):
        await read.read_job(scene.world, scene.owner.id, job.id)
    assert await read.list_jobs(scene.world, scene.owner.id, limit=10, offset=0) == ([], 0)


async def test_one_sees_islands_that_are_here_ones_own_and_as_an_operator_all() -> None:
    scene = await a_scene()
    here = await scene.island()
    lost = await scene.island(status=IslandStatus.LOST)
    operator = a_user(role=Role.OPERATOR)

    seen = {
        name: {island.id for island in await read.visible_islands(scene.world, user)}
        for name, user in {"user": scene.user, "owner": scene.owner, "operator": operator}.items()
    }

    assert seen == {"user": {here.id}, "owner": {here.id, lost.id}, "operator": {here.id, lost.id}}
    assert (await read.read_island(scene.world, scene.user, here.id)).id == here.id
    for unseen in (lost.id, IslandId(an_id("isl"))):
        with pytest.raises(NotFound):
            await read.read_island(scene.world, scene.user, unseen)


async def test_the_networks_figures_count_what_is_here_and_done() -> None:
    scene = await a_scene()
    await scene.island(region="eu")
    await scene.island(region="")
    await scene.island(region="us", status=IslandStatus.SILENT)
    job = await scene.running()
    await track(scene.world, scene.report(job, "x"))

    stats = await read.network_stats(scene.world)

    assert (stats.online_islands, stats.regions, stats.jobs_completed) == (2, 1, 1)


async def test_the_catalogue_is_read_by_slug_or_model() -> None:
    scene = await a_scene()

    assert await read.listed_cargos(scene.world) == [scene.cargo]
    assert await read.find_cargo(scene.world, "small-model") == scene.cargo
    with pytest.raises(NotFound):
        await read.find_cargo(scene.world, "large-model")


async def test_a_grant_is_given_once_for_its_cause() -> None:
    scene = await a_scene()

    await grant_credit(scene.world, scene.owner.id, scene.user.id, Ucredits(500), "thanks")
    await grant_credit(scene.world, scene.owner.id, scene.user.id, Ucredits(500), "thanks")

    assert (await read.read_account(scene.world, scene.user)).available == 1_000_500


async def test_books_that_are_right_show_no_drift() -> None:
    scene = await a_scene()
    await scene.submit()

    assert await audit_ledger(scene.world) == []
