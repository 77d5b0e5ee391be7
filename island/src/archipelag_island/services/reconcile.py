"""Do what the Coordinator's answer to a heartbeat says; it wins over what this Island believes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from archipelag_contracts.errors import ContractError
from archipelag_contracts.manifest import Manifest, parse_canonical
from archipelag_contracts.signing import MANIFEST_PREFIX, verify

from archipelag_island.domain.attempt import Cause, Ending
from archipelag_island.domain.beat import BeatReply
from archipelag_island.domain.offer import Entry, Offer
from archipelag_island.errors import BadEntry
from archipelag_island.services.world import World

log = logging.getLogger(__name__)


def reconcile(world: World, reply: BeatReply) -> None:
    """Stop, forget, resend; then what we may do and what the catalogue is."""
    for key in reply.stop:
        taken = Ending(Cause.LEASE_LOST, error="this attempt is no longer ours")
        if not world.stop_run(key, taken, silent=True):
            world.journal.forget(key)
    for key in reply.forget:
        if key not in world.now.runs:
            world.journal.forget(key)
    for key in reply.resend:
        world.journal.delivered(key, yes=False)
    if reply.resend:
        world.reports_waiting.set()
    if (reply.accepts_work, reply.notice) != (world.now.accepts_work, world.now.notice):
        log.info("standing_changed accepts_work=%s notice=%s", reply.accepts_work, reply.notice)
    world.now.accepts_work = reply.accepts_work
    world.now.notice = reply.notice
    if reply.recommended != world.now.recommended:
        world.now.recommended = reply.recommended
        world.moved()
    if reply.catalogue_version != world.now.catalogue_version:
        world.shelf.save(reply.catalogue_version, reply.catalogue)
        set_catalogue(world, reply.catalogue_version, reply.catalogue)


def load_catalogue(world: World) -> None:
    """The catalogue of the last time, so that Cargos start before the Coordinator has answered."""
    version, entries = world.shelf.load()
    if version:
        set_catalogue(world, version, entries)


def set_catalogue(world: World, version: str, entries: Sequence[Entry]) -> None:
    """Offers what this host can run; Cargos that stay the same stay warm."""
    offers: dict[str, Offer] = {}
    for entry in entries:
        try:
            manifest = check_entry(entry, world.publisher_keys())
        except (BadEntry, ContractError) as error:
            log.error("catalogue_entry_refused error=%s", error)
            continue
        choice = world.choose(manifest, entry.trust)
        if isinstance(choice, str):
            log.info("cargo_not_offered cargo=%s reason=%s", manifest.slug, choice)
            continue
        made = Offer(
            manifest,
            manifest.digest,
            choice=choice,
            trust=entry.trust,
            publisher=entry.public_key if entry.payload else b"",
        )
        held = world.now.offers.get(manifest.slug)
        same = held is not None and (held.digest, held.choice) == (made.digest, made.choice)
        offers[manifest.slug] = held if held and same else made
    world.now.offers = offers
    world.now.catalogue_version = version
    world.offers_changed.set()
    world.beat_soon.set()
    log.info("catalogue_changed version=%s offered=%s", version, ",".join(offers) or "none")


def check_entry(entry: Entry, trusted: Sequence[bytes]) -> Manifest:
    """The manifest, once a trusted publisher's signature over its bytes holds. Raises BadEntry or a ContractError."""
    if entry.public_key not in trusted:
        raise BadEntry("signed by a key that is not a trusted publisher's")
    verify(entry.public_key, MANIFEST_PREFIX, entry.manifest, entry.signature)
    return parse_canonical(entry.manifest)
