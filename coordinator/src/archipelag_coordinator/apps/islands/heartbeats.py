"""Islands' heartbeats: checked, handed to the verb, and answered with a signature."""

from __future__ import annotations

import logging

from archipelag_contracts.errors import BadMessage, ContractError
from archipelag_contracts.ids import IslandId
from archipelag_contracts.pb.archipelag.v1 import island_pb2 as pb
from archipelag_contracts.signing import SigningKey, open_sealed
from archipelag_contracts.week import packed_hours

from archipelag_coordinator.apps.islands.decode import beat_of, held_of
from archipelag_coordinator.apps.islands.known import KnownKeys
from archipelag_coordinator.domain.attempt import AttemptKey
from archipelag_coordinator.domain.wishes import Wishes
from archipelag_coordinator.errors import CoordinatorError
from archipelag_coordinator.services.heartbeat import BeatAnswer, HeldCatalogue, heartbeat
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)


class Heartbeats:
    """Takes heartbeats as they come from the broker, which has checked whose subject it was."""

    def __init__(self, world: World, keys: KnownKeys, signing: SigningKey) -> None:
        self._world = world
        self._keys = keys
        self._signing = signing

    async def take(self, island: IslandId, data: bytes) -> bytes | None:
        """The signed answer, or None where none is due: the Island then keeps what it has and beats again."""
        try:
            key = await self._keys.of(island)
            message = open_sealed(data, pb.Heartbeat, {key})
            if message.island_id != island:
                raise BadMessage("a heartbeat in another Island's name")
            beat, held = beat_of(message), held_of(message)
        except ContractError as error:
            self._world.tally.heartbeats["refused"] += 1
            log.warning("heartbeat_refused island=%s error=%s", island, error)
            return None
        try:
            holds = HeldCatalogue(
                message.catalogue_version[:128], message.catalogue_number, message.reads_documents
            )
            answer = await heartbeat(
                self._world, island, beat, held, holds, wishes_version=message.wishes_version
            )
        except CoordinatorError as error:
            self._world.tally.heartbeats["not_taken"] += 1
            log.warning("heartbeat_not_taken island=%s error=%s", island, error)
            return None
        self._world.tally.heartbeats["taken"] += 1
        reply = _reply(answer, island, message.sequence)
        if answer.wishes is not None:
            # Sealed on its own: it is kept there, and outlives this answer.
            reply.wishes = self._signing.seal(_wishes(answer.wishes, island))
        return self._signing.seal(reply)


def _reply(answer: BeatAnswer, island: IslandId, sequence: int) -> pb.HeartbeatReply:
    catalogue = [
        pb.CatalogueEntry(
            manifest=cargo.manifest.canonical(),
            signature=cargo.signature,
            public_key=cargo.public_key,
        )
        for cargo in answer.catalogue or ()
        if cargo.signature  # What others publish has no signature that such an Island could check.
    ]
    document = answer.document
    return pb.HeartbeatReply(
        next_interval_ms=answer.next_interval_ms,
        stop=_refs(answer.stop),
        forget=_refs(answer.forget),
        resend=_refs(answer.resend),
        accepts_work=answer.accepts_work,
        notice=answer.notice,
        catalogue_version=answer.catalogue_version,
        catalogue=catalogue,
        catalogue_document=document.sealed if document else b"",
        catalogue_number=document.version if document else 0,
        recommended=answer.recommended,
        sequence=sequence,
        island_id=island,
    )


def _wishes(wishes: Wishes, island: IslandId) -> pb.Wishes:
    return pb.Wishes(
        island_id=island,
        version=wishes.version,
        draining=wishes.draining,
        hours=packed_hours(wishes.hours),
        least_prices=[
            pb.LeastPrice(
                cargo_slug=slug,
                job_ucredits=price.job_ucredits,
                prompt_token_ucredits=price.prompt_token_ucredits,
                output_item_ucredits=price.output_item_ucredits,
            )
            for slug, price in sorted(wishes.least.items())
        ],
    )


def _refs(keys: tuple[AttemptKey, ...]) -> list[pb.AttemptRef]:
    return [pb.AttemptRef(job_id=job, epoch=epoch) for job, epoch in keys]
