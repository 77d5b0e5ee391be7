"""A hostile catalogue: every way to have an Island run what the network does not list (any more), refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts import cosign
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.manifest import Manifest
from archipelag_contracts.pb.archipelag.v1 import common_pb2, island_pb2
from archipelag_contracts.signing import MANIFEST_PREFIX, SigningKey
from archipelag_island.adapters import codec
from archipelag_island.adapters.shelf import FileShelf
from archipelag_island.domain.beat import Beat, BeatReply
from archipelag_island.domain.catalogue import check_entry
from archipelag_island.errors import BadEntry, BadSettings
from archipelag_island.services import announce, reconcile
from archipelag_island.services.announce import Voice
from archipelag_island.testing.builders import the_echo_manifest

Stage = Any

CATALOGUE = SigningKey.from_seed(bytes([7] * 32))
STRANGER = SigningKey.from_seed(bytes([8] * 32))
PUBLISHER = CosignKey.generate()
DAY_MS = 24 * 3600 * 1000


def an_entry(
    manifest: Manifest, key: CosignKey = PUBLISHER, **changes: Any
) -> island_pb2.CatalogueEntry:
    canonical = manifest.canonical()
    payload = cosign.payload("registry.example/echo", cosign.artifact_digest(canonical))
    made: dict[str, Any] = {
        "manifest": canonical,
        "payload": payload,
        "signature": key.sign(payload),
        "public_key": key.public,
        "trust": 2,
    }
    return island_pb2.CatalogueEntry(**made | changes)


def a_document(
    stage: Stage,
    version: int,
    entries: Sequence[island_pb2.CatalogueEntry] = (),
    *,
    key: SigningKey = CATALOGUE,
    age_ms: int = 0,
    life_ms: int = 7 * DAY_MS,
) -> bytes:
    now_ms = int(stage.clock.now().timestamp() * 1000) - age_ms
    return key.seal(
        island_pb2.Catalogue(
            version=version, issued_at_ms=now_ms, expires_at_ms=now_ms + life_ms, entries=entries
        )
    )


@pytest.fixture
def believing(stage: Stage, tmp_path: Path) -> Stage:
    stage.world.catalogue_keys = lambda: (CATALOGUE.public,)
    stage.world.read_document = codec.read_document
    stage.world.shelf = FileShelf(tmp_path / "catalogue.json")
    return stage


async def told(stage: Stage, document: bytes = b"", **changes: Any) -> Beat:
    """One heartbeat whose answer carries this document; what the Island said in it."""

    def answer(beat: Beat) -> BeatReply:
        reply = BeatReply(beat.island_id, beat.sequence, 1000, (), (), (), True, "", "", ())
        return replace(reply, document=document, **changes)

    stage.link.answer = answer
    obey = lambda reply: reconcile.reconcile(stage.world, reply)  # noqa: E731
    await announce.announce(stage.world, Voice(100 + len(stage.link.beats)), obey)
    last: Beat = stage.link.beats[-1]
    return last


def offered(stage: Stage) -> dict[str, int]:
    return {slug: offer.trust for slug, offer in stage.world.now.offers.items()}


async def test_listed_cargo_is_offered_with_its_trust(believing: Stage) -> None:
    first = await told(believing, a_document(believing, 3, [an_entry(the_echo_manifest())]))
    second = await told(believing)

    assert offered(believing) == {"echo": 2}
    assert (first.catalogue_number, first.reads_documents) == (0, True)
    assert second.catalogue_number == 3


def swapped(sealed: bytes, entry: island_pb2.CatalogueEntry) -> bytes:
    """The same envelope and signature around other contents."""
    envelope = common_pb2.Signed.FromString(sealed)
    catalogue = island_pb2.Catalogue.FromString(envelope.payload)
    catalogue.ClearField("entries")
    catalogue.entries.append(entry)
    envelope.payload = catalogue.SerializeToString()
    return envelope.SerializeToString()


@pytest.mark.parametrize("attack", ["wrong key", "entry swapped", "trust raised", "not signed"])
async def test_catalogue_that_was_changed_or_forged_is_refused(
    believing: Stage, attack: str
) -> None:
    good = a_document(believing, 3, [an_entry(the_echo_manifest(), trust=0)])
    other = an_entry(the_echo_manifest(slug="other"))
    hostile = {
        "wrong key": a_document(believing, 4, [other], key=STRANGER),
        "entry swapped": swapped(good, other),
        "trust raised": swapped(good, an_entry(the_echo_manifest(), trust=3)),
        "not signed": b"anything",
    }[attack]
    await told(believing, a_document(believing, 2, [an_entry(the_echo_manifest())]))

    await told(believing, hostile)

    assert offered(believing) == {"echo": 2}
    assert "refused" in believing.world.now.notice
    assert believing.world.shelf.highest() == 2


async def test_older_catalogue_is_refused_also_after_a_restart(
    believing: Stage, tmp_path: Path
) -> None:
    old = a_document(believing, 4, [an_entry(the_echo_manifest())])
    await told(believing, old)
    await told(believing, a_document(believing, 5, []))

    await told(believing, old)
    at_once = offered(believing)
    # The attacker takes the newest document away, and puts the older one in its place.
    (tmp_path / "catalogue.signed").write_bytes(old)
    believing.world.now.document = None
    believing.world.shelf = FileShelf(tmp_path / "catalogue.json")
    reconcile.load_catalogue(believing.world)
    after_restart = offered(believing)
    (tmp_path / "catalogue.signed").unlink()
    await told(believing, old)

    assert at_once == after_restart == offered(believing) == {}
    assert "older than 5" in believing.world.now.notice


async def test_catalogue_is_loaded_again_after_a_restart(believing: Stage, tmp_path: Path) -> None:
    await told(believing, a_document(believing, 4, [an_entry(the_echo_manifest())]))
    believing.world.now.offers, believing.world.now.document = {}, None
    believing.world.shelf = FileShelf(tmp_path / "catalogue.json")

    reconcile.load_catalogue(believing.world)

    assert offered(believing) == {"echo": 2}


async def test_damaged_record_of_the_highest_version_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "catalogue.highest").write_text("many")

    with pytest.raises(BadSettings, match="restore it"):
        FileShelf(tmp_path / "catalogue.json").highest()


async def test_frozen_island_offers_nothing_once_its_catalogue_has_expired(
    believing: Stage,
) -> None:
    await told(believing, a_document(believing, 4, [an_entry(the_echo_manifest())]))
    believing.clock.seconds += 7 * 24 * 3600 + 1

    beat = await told(believing)
    again = await told(believing)
    silent = dict(believing.world.now.offers)
    await told(believing, a_document(believing, 5, [an_entry(the_echo_manifest())]))

    assert silent == {} and offered(believing) == {"echo": 2}
    assert (beat.catalogue_number, again.catalogue_number) == (4, 0)
    assert believing.world.now.notice == ""


async def test_expiry_is_noticed_while_no_coordinator_answers(believing: Stage) -> None:
    await told(believing, a_document(believing, 4, [an_entry(the_echo_manifest())]))
    believing.clock.seconds += 8 * 24 * 3600

    believing.start(reconcile.expire_for_ever(believing.world))
    await believing.until(lambda: not believing.world.now.offers)

    assert "expired" in believing.world.now.notice


@pytest.mark.parametrize(("age_ms", "word"), [(8 * DAY_MS, "expired"), (-2 * DAY_MS, "ahead")])
async def test_catalogue_of_another_time_is_refused(
    believing: Stage, age_ms: int, word: str
) -> None:
    await told(believing, a_document(believing, 9, [], age_ms=age_ms))

    assert word in believing.world.now.notice
    assert believing.world.shelf.highest() == 0


def the_network(manifest: Manifest, key: SigningKey) -> island_pb2.CatalogueEntry:
    """Signed in the old way, without a payload."""
    canonical = manifest.canonical()
    return island_pb2.CatalogueEntry(
        manifest=canonical,
        signature=key.sign(MANIFEST_PREFIX, canonical),
        public_key=key.public,
        trust=3,
    )


async def test_each_entry_needs_its_own_publishers_signature(believing: Stage) -> None:
    good, other = the_echo_manifest(), the_echo_manifest(slug="other")
    stolen = an_entry(good)
    entries = [
        an_entry(good),
        # The signature of another Cargo.
        an_entry(other, payload=stolen.payload, signature=stolen.signature),
        # A payload that nobody signed.
        an_entry(the_echo_manifest(slug="unsigned"), signature=bytes(64)),
        an_entry(the_echo_manifest(slug="keyless"), public_key=bytes(32)),
        an_entry(the_echo_manifest(slug="other-key"), public_key=CosignKey.generate().public),
        # The old form is the network's own alone.
        the_network(the_echo_manifest(slug="old-stranger"), STRANGER),
        the_network(the_echo_manifest(slug="old-network"), believing.publisher),
    ]

    await told(believing, a_document(believing, 1, entries))

    assert offered(believing) == {"echo": 2, "old-network": 3}


async def test_cargo_that_asks_for_a_tier_above_its_trust_is_not_offered(believing: Stage) -> None:
    wide = the_echo_manifest(limits={"tier": "elevated"})
    plain = the_echo_manifest(slug="plain")

    await told(believing, a_document(believing, 1, [an_entry(wide), an_entry(plain)]))

    assert offered(believing) == {"plain": 2}
    with pytest.raises(BadEntry, match="does not permit"):
        check_entry(codec.entry(an_entry(wide)), (), None)


async def test_owner_decides_on_publishers_and_trust(believing: Stage) -> None:
    friend, entries = CosignKey.generate(), []
    entries = [
        an_entry(the_echo_manifest(slug="friends"), friend, trust=1),
        an_entry(the_echo_manifest(slug="strangers")),
        an_entry(the_echo_manifest(slug="trusted"), friend),
    ]
    fingerprints = frozenset({cosign.fingerprint(friend.public)})
    believing.world.host = replace(believing.world.host, publishers=fingerprints, trust_min=2)

    await told(believing, a_document(believing, 1, entries))

    assert offered(believing) == {"trusted": 2}


async def test_entries_of_the_old_kind_are_not_believed_once_a_catalogue_key_is_known(
    believing: Stage,
) -> None:
    entry = believing.entry(the_echo_manifest())

    await told(believing, catalogue_version="v9", catalogue=(entry,))

    assert offered(believing) == {}


async def test_word_of_a_new_catalogue_makes_the_island_beat_soon(believing: Stage) -> None:
    await told(believing, a_document(believing, 4))
    believing.world.beat_soon.clear()

    announce.catalogue_changed(believing.world, 4)
    known = len(believing.tasks)
    announce.catalogue_changed(believing.world, 5)
    await believing.until(believing.world.beat_soon.is_set)

    assert known == len(believing.tasks) - 1


async def test_catalogue_that_cannot_be_kept_on_disk_counts_all_the_same(
    believing: Stage, tmp_path: Path
) -> None:
    believing.world.shelf = FileShelf(tmp_path / "nowhere" / "catalogue.json")
    await told(believing, a_document(believing, 4, [an_entry(the_echo_manifest())]))

    await told(believing, a_document(believing, 3, []))

    assert offered(believing) == {"echo": 2}
    assert believing.world.shelf.highest() == 4
