"""The migration that lets users publish: from the last release's schema with rows in it, and the guards it brings."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from archipelag_coordinator.adapters.postgres.migrate import migrate
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.domain.cargo import CargoStatus
from archipelag_coordinator.testing.builders import a_cargo, a_customer, a_submission
from archipelag_coordinator.testing.fakes import START
from psycopg import IntegrityError

OLD = "pre_0006_usage"


@pytest.fixture
def old_dsn(postgres_server) -> Iterator[str]:
    dsn = postgres_server.create_database("last_release")
    migrate(dsn, to=OLD)
    yield dsn
    postgres_server.drop_database("last_release")


def an_old_row(database: psycopg.Connection, slug: str, status: str) -> None:
    """As the last release's code writes it, which may still run beside ours."""
    cargo = a_cargo(slug=slug, signature=b"s" * 64, public_key=b"p" * 32)
    database.execute(
        """INSERT INTO cargos (slug, digest, manifest, signature, public_key, status, created_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        [
            *(slug, cargo.digest, cargo.manifest.canonical(), cargo.signature),
            cargo.public_key,
            status,
            START,
        ],
    )


async def test_last_releases_rows_stay_valid_and_its_code_may_go_on(old_dsn: str) -> None:
    with psycopg.connect(old_dsn, autocommit=True) as database:
        an_old_row(database, "llm-chat", "listed")
        an_old_row(database, "gone", "revoked")

        migrate(old_dsn)
        an_old_row(database, "later", "submitted")
        database.execute("UPDATE cargos SET status = 'listed' WHERE slug = 'later'")

    async with PostgresStore(old_dsn) as store:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            listed = await tx.cargos.listed()
            gone = await tx.cargos.of_status(CargoStatus.REVOKED, limit=9, offset=0)
            assert await tx.cargos.owner_of("llm-chat") == (True, None)
            await tx.cargos.add(a_submission(owner))

    assert [(one.slug, one.trust, one.owner_id) for one in listed] == [
        ("later", 3, None),
        ("llm-chat", 3, None),
    ]
    assert listed[0].cosigned is None and listed[0].checks == ()
    assert [one.slug for one in gone] == ["gone"]


CHEATS = {
    "another manifest": "UPDATE cargos SET manifest = 'x'",
    "another signature": "UPDATE cargos SET cosign_signature = 'x'",
    "another owner": "UPDATE cargos SET owner_id = NULL",
    "half a signature": "UPDATE cargos SET cosign_key = NULL",
    "unsigned": """INSERT INTO cargos (slug, digest, manifest, signature, public_key, status, created_at)
        VALUES ('x', 'x', 'x', '', '', 'submitted', now())""",
    "too much trust": "UPDATE cargos SET trust = 4",
    "listed unverified": "UPDATE cargos SET status = 'listed'",
    "a state that is none": "UPDATE cargos SET status = 'famous'",
    "back from the dead": """WITH dead AS (UPDATE cargos SET status = 'revoked' RETURNING id)
        SELECT id FROM dead; UPDATE cargos SET status = 'submitted'""",
    "another's name": """INSERT INTO cargos (slug, digest, manifest, signature, public_key, status, created_at)
        VALUES ('theirs', 'x', 'x', 'x', 'x', 'submitted', now())""",
    "an older document": "INSERT INTO catalogue_documents SELECT 1, 'x', sha256('x'), now(), now() + '1 h'",
    "a gap": "INSERT INTO catalogue_documents SELECT 3, 'x', sha256('x'), now(), now() + '1 h'",
    "a document that ended before it began":
        "INSERT INTO catalogue_documents SELECT 2, 'x', sha256('x'), now(), now() - '1 h'::interval",
    "a changed document": "UPDATE catalogue_documents SET document = 'x'",
    "a removed document": "DELETE FROM catalogue_documents",
}  # fmt: skip


@pytest.mark.parametrize("cheat", CHEATS)
async def test_database_refuses(store, database, cheat: str) -> None:
    owner, _, _ = await a_customer(store)
    async with store.begin() as tx:
        await tx.cargos.add(a_submission(owner))
    database.execute(
        "INSERT INTO catalogue_documents SELECT 1, 'd', sha256('d'), now(), now() + '1 h'"
    )

    with pytest.raises(IntegrityError):
        database.execute(CHEATS[cheat])


async def test_next_document_is_taken(store, database) -> None:
    for version in (1, 2):
        database.execute(
            "INSERT INTO catalogue_documents SELECT %s, 'd', sha256('d'), now(), now() + '1 h'",
            [version],
        )
