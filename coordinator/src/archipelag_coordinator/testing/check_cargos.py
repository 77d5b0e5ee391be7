"""What every store must do with Cargos and the catalogue's documents; part of `CheckStore`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import RelayId

from archipelag_coordinator.domain.cargo import CargoStatus, Cosigned
from archipelag_coordinator.domain.catalogue import Document
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.review import Check, Review
from archipelag_coordinator.errors import Conflict, IllegalMove, NotFound, SlugTaken
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.testing.builders import (
    HOME,
    a_cargo,
    a_customer,
    a_job,
    a_stored_cargo,
    a_submission,
    an_id,
)
from archipelag_coordinator.testing.fakes import START

DAY = timedelta(days=1)


def a_document(version: int) -> Document:
    return Document(version, b"signed %d" % version, bytes([version]) * 32, START, START + DAY)


class CheckCargos:
    async def test_same_digest_twice_is_one_version(self, store: Store) -> None:
        async with store.begin() as tx:
            first = await tx.cargos.add(a_cargo())
            again = await tx.cargos.add(a_cargo())
            other = await tx.cargos.add(a_cargo(version="1.0.1"))

        assert first == again
        assert first.id != other.id
        assert first.digest != other.digest

    async def test_version_is_found_as_it_was_stored(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            own = await tx.cargos.add(a_cargo(signature=b"\x01" * 64))
            other = await tx.cargos.add(a_submission(owner))

        async with store.begin() as tx:
            assert await tx.cargos.get(own.id) == await tx.cargos.lock(own.id) == own
            assert await tx.cargos.by_digest(own.digest) == own
            assert await tx.cargos.get(other.id) == other
            assert await tx.cargos.get(other.id + 1) is None
        assert other == replace(a_submission(owner), id=other.id)

    async def test_what_was_found_out_is_kept(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            cargo = await tx.cargos.add(a_submission(owner))
            review = Review(owner.id, START, "looks good")
            found = replace(
                cargo,
                status=CargoStatus.VERIFIED,
                trust=1,
                checks=(Check("sbom", passed=True, said="3 parts"),),
                review=review,
            )
            await tx.cargos.save(found)
            await tx.cargos.save(replace(found, status=CargoStatus.LISTED))
            await tx.cargos.keep_sbom(cargo.id, b"{}")
            await tx.cargos.keep_sbom(cargo.id, b'{"parts":3}')

        async with store.begin() as tx:
            assert await tx.cargos.get(cargo.id) == replace(found, status=CargoStatus.LISTED)
            assert await tx.cargos.sbom(cargo.id) == b'{"parts":3}'
            assert await tx.cargos.sbom(cargo.id + 1) is None

    async def test_newest_listed_version_of_each_slug_is_listed(self, store: Store) -> None:
        async with store.begin() as tx:
            await tx.cargos.add(a_cargo(slug="b"))
            newer = await tx.cargos.add(a_cargo(slug="b", version="1.1.0"))
            newest = await tx.cargos.add(a_cargo(slug="b", version="2.0.0"))
            other = await tx.cargos.add(a_cargo(slug="a"))
            await tx.cargos.save(newest.withdraw())

        async with store.begin() as tx:
            assert await tx.cargos.listed() == [other, newer]

    async def test_unknown_version_cannot_be_saved(self, store: Store) -> None:
        with pytest.raises(NotFound):
            async with store.begin() as tx:
                await tx.cargos.save(a_cargo(id=99))

    async def test_slug_belongs_to_its_first_publisher(self, store: Store) -> None:
        first, _, _ = await a_customer(store)
        second, _, _ = await a_customer(store)
        async with store.begin() as tx:
            await tx.cargos.add(a_submission(first))
            await tx.cargos.add(a_submission(first, version="1.0.1"))
            await tx.cargos.add(a_cargo(slug="ours"))

        for stranger in (a_submission(second, version="2.0.0"), a_submission(second, slug="ours")):
            with pytest.raises(SlugTaken):
                async with store.begin() as tx:
                    await tx.cargos.add(stranger)
        with pytest.raises(SlugTaken):
            async with store.begin() as tx:
                await tx.cargos.add(a_cargo(slug="theirs"))

        async with store.begin() as tx:
            assert await tx.cargos.owner_of("theirs") == (True, first.id)
            assert await tx.cargos.owner_of("ours") == (True, None)
            assert await tx.cargos.owner_of("nobodys") == (False, None)

    @pytest.mark.parametrize("end", [CargoStatus.REVOKED, CargoStatus.REJECTED])
    async def test_what_ended_never_comes_back(self, store: Store, end: CargoStatus) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            cargo = await tx.cargos.add(a_submission(owner))
            await tx.cargos.save(replace(cargo, status=end))

        for status in set(CargoStatus) - {end}:
            with pytest.raises(IllegalMove):
                async with store.begin() as tx:
                    await tx.cargos.save(replace(cargo, status=status))

    async def test_submission_is_not_listed_without_being_verified(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            cargo = await tx.cargos.add(a_submission(owner))

        with pytest.raises(IllegalMove):
            async with store.begin() as tx:
                await tx.cargos.save(replace(cargo, status=CargoStatus.LISTED))

    async def test_signature_is_added_once_and_never_changes(self, store: Store) -> None:
        async with store.begin() as tx:
            cargo = await tx.cargos.add(a_cargo())
            signed = cargo.cosign(Cosigned(b"payload", b"signature", b"key"))
            await tx.cargos.save(signed)

        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.cargos.save(replace(signed, cosigned=Cosigned(b"payload", b"x", b"key")))
        async with store.begin() as tx:
            assert await tx.cargos.get(cargo.id) == signed

    async def test_versions_are_found_by_owner_and_by_status(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        other, _, _ = await a_customer(store)
        async with store.begin() as tx:
            first = await tx.cargos.add(a_submission(owner))
            second = await tx.cargos.add(a_submission(owner, version="2.0.0"))
            await tx.cargos.add(a_submission(other, slug="others"))
            listed = await tx.cargos.add(a_cargo())

        async with store.begin() as tx:
            assert await tx.cargos.of_owner(owner.id, limit=9, offset=0) == [second, first]
            assert await tx.cargos.of_owner(owner.id, limit=1, offset=1) == [first]
            assert await tx.cargos.of_status(CargoStatus.LISTED, limit=9, offset=0) == [listed]
            assert len(await tx.cargos.of_status(None, limit=9, offset=0)) == 4
            assert await tx.cargos.count_open(owner.id) == 2

    async def test_jobs_to_end_are_those_whose_cargo_may_not_run(self, store: Store) -> None:
        user, key, _ = await a_customer(store)
        jobs = {}
        for status in (CargoStatus.LISTED, CargoStatus.WITHDRAWN, CargoStatus.REVOKED):
            cargo = await a_stored_cargo(store, slug=status.value)
            async with store.begin() as tx:
                for place in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FAILED):
                    job = a_job(user, key=key, cargo=cargo, status=place)
                    jobs[status, place] = (await tx.jobs.add(job)).id
                if status is not CargoStatus.LISTED:
                    await tx.cargos.save(replace(cargo, status=status))

        async with store.begin() as tx:
            found = dict(await tx.cargos.jobs_to_end(HOME, 10))
            elsewhere = await tx.cargos.jobs_to_end(RelayId(an_id("rly")), 10)
            finishing = await tx.cargos.finishing()

        assert found == {
            jobs[CargoStatus.WITHDRAWN, JobStatus.QUEUED]: CargoStatus.WITHDRAWN,
            jobs[CargoStatus.REVOKED, JobStatus.QUEUED]: CargoStatus.REVOKED,
            jobs[CargoStatus.REVOKED, JobStatus.RUNNING]: CargoStatus.REVOKED,
        }
        assert elsewhere == []
        assert [cargo.slug for cargo in finishing] == ["withdrawn"]


class CheckDocuments:
    async def test_newest_document_is_found_unless_it_is_known(self, store: Store) -> None:
        async with store.begin() as tx:
            nothing = await tx.cargos.newest_document()
            await tx.cargos.issue(a_document(1))
            await tx.cargos.issue(a_document(2))

        async with store.begin() as tx:
            assert nothing is None
            assert await tx.cargos.newest_document() == a_document(2)
            assert await tx.cargos.newest_document(but=1) == a_document(2)
            assert await tx.cargos.newest_document(but=2) is None

    @pytest.mark.parametrize("version", [1, 3])
    async def test_version_neither_stands_still_nor_leaves_a_gap(
        self, store: Store, version: int
    ) -> None:
        async with store.begin() as tx:
            await tx.cargos.issue(a_document(1))

        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.cargos.issue(a_document(version))

    async def test_many_at_once_issue_one_after_the_other(self, store: Store) -> None:
        async def issue() -> None:
            async with store.begin() as tx:
                await tx.cargos.wait_turn_to_issue()
                newest = await tx.cargos.newest_document()
                await tx.cargos.issue(a_document(newest.version + 1 if newest else 1))

        await asyncio.gather(*(issue() for _ in range(8)))

        async with store.begin() as tx:
            assert await tx.cargos.newest_document() == a_document(8)
