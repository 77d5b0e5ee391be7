"""Do what the Coordinator's answer to a heartbeat says; it wins over what this Island believes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from archipelag_contracts.errors import ContractError

from archipelag_island.clock import milliseconds
from archipelag_island.domain.attempt import Cause, Ending
from archipelag_island.domain.beat import BeatReply
from archipelag_island.domain.catalogue import check_entry, judge
from archipelag_island.domain.offer import Entry, Offer
from archipelag_island.errors import BadCatalogue, BadEntry
from archipelag_island.services.heed import take_wishes
from archipelag_island.services.world import World

log = logging.getLogger(__name__)

EXPIRY_LOOK_S: Final = 5.0


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
    if reply.wishes:
        take_wishes(world, reply.wishes)
    if reply.recommended != world.now.recommended:
        world.now.recommended = reply.recommended
        world.moved()
    if world.reads_documents:
        if reply.document:
            take_document(world, reply.document)
        expire(world)
        world.now.notice = world.now.notice or world.now.catalogue_trouble
    elif reply.catalogue_version != world.now.catalogue_version:
        world.shelf.save(reply.catalogue_version, reply.catalogue)
        set_catalogue(world, reply.catalogue_version, reply.catalogue)


def load_catalogue(world: World) -> None:
    """The catalogue of the last time, so that Cargos start before the Coordinator has answered."""
    if world.reads_documents:
        if document := world.shelf.document():
            take_document(world, document)
        return
    version, entries = world.shelf.load()
    if version:
        set_catalogue(world, version, entries)


def take_document(world: World, sealed: bytes) -> None:
    """Goes by this catalogue from now on if it may be believed; else by the held one, as long as that lasts."""
    assert world.read_document is not None
    now_ms = milliseconds(world.clock)
    try:
        document = world.read_document(sealed, world.catalogue_keys())
        judge(document, highest=world.shelf.highest(), now_ms=now_ms)
    except (BadCatalogue, ContractError) as error:
        log.error("catalogue_refused error=%s", error)
        world.now.catalogue_trouble = f"a catalogue was refused: {error}"
        return
    world.now.catalogue_trouble = ""
    held = world.now.document
    if held is not None and held.version == document.version:
        return
    world.shelf.keep(sealed, document.version)
    world.now.document = document
    world.now.registry = document.registry
    set_catalogue(world, str(document.version), document.entries)


def expire(world: World) -> None:
    """Offers nothing any more once the catalogue has expired: what was revoked since then is not known here."""
    document = world.now.document
    if document is None or not document.expired(milliseconds(world.clock)):
        return
    log.error("catalogue_expired version=%s", document.version)
    world.now.document = None
    world.now.catalogue_trouble = (
        f"the catalogue (version {document.version}) has expired by this machine's clock and no newer one came: "
        "nothing is offered until one does; is the clock right?"
    )
    world.now.notice = world.now.catalogue_trouble
    set_catalogue(world, "", ())


async def expire_for_ever(world: World) -> None:
    """Looks also while no Coordinator answers: whoever keeps newer ones from us must not gain by it."""
    while True:
        expire(world)
        await asyncio.sleep(EXPIRY_LOOK_S)


def set_catalogue(world: World, version: str, entries: Sequence[Entry]) -> None:
    """Offers what this host can run; Cargos that stay the same stay warm."""
    offers: dict[str, Offer] = {}
    for entry in entries:
        try:
            manifest = check_entry(entry, world.publisher_keys(), world.host.publishers)
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
        kept = held if held and same else made
        offers[manifest.slug] = replace(kept, trust=made.trust, publisher=made.publisher)
    world.now.offers = offers
    world.now.catalogue_version = version
    world.offers_changed.set()
    world.beat_soon.set()
    log.info("catalogue_changed version=%s offered=%s", version, ",".join(offers) or "none")
