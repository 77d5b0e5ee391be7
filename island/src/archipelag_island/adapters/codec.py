"""Translates between the Island's values and the protobuf messages that travel, signing and checking on the way."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadMessage
from archipelag_contracts.ids import Epoch
from archipelag_contracts.manifest import Price
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import island_pb2 as island
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as job
from archipelag_contracts.signing import SigningKey, open_sealed
from archipelag_contracts.tiers import TRUST_MAX
from archipelag_contracts.units import Ucredits
from archipelag_contracts.week import unpacked_hours

from archipelag_island.domain import attempt as a
from archipelag_island.domain.beat import Beat, BeatReply
from archipelag_island.domain.beginnings import PREFIXES_MAX
from archipelag_island.domain.capability import Capabilities
from archipelag_island.domain.catalogue import Document
from archipelag_island.domain.offer import Entry, Offer, OfferState
from archipelag_island.domain.schedule import of_hours
from archipelag_island.domain.wishes import Wishes
from archipelag_island.runtime import CACHE_SALT_BYTES_MAX

RECOMMENDED_MAX: Final = 16
LEAST_PRICES_MAX: Final = 64
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

_CAUSES: Final = {cause: common.Cause.Value(f"CAUSE_{cause.name}") for cause in a.Cause}
_CODES: Final = {code: job.Refusal.Code.Value(f"CODE_{code.name}") for code in a.RefusalCode}
_STATES: Final = {
    state: island.CargoState.State.Value(f"STATE_{state.name}") for state in OfferState
}


def read_assignment(data: bytes, trusted: Container[bytes]) -> a.Assignment:
    """Raises BadSignature, BadMessage or BadId."""
    pb = open_sealed(data, job.Assignment, trusted)
    return a.Assignment(
        key=_key(pb.job_id, pb.epoch),
        island_id=ids.island_id(pb.island_id),
        relay=ids.relay_id(pb.relay),
        cargo_slug=pb.cargo_slug,
        cargo_digest=ids.cargo_digest(pb.cargo_digest),
        input=pb.input,
        issued_at_ms=pb.issued_at_ms,
        deadline_ms=pb.deadline_ms,
        first_position=pb.first_position,
        resume_tokens=tuple(pb.resume_tokens),
        resume_texts=tuple(pb.resume_texts),
        output_items_max=pb.output_items_max,
        output_bytes_max=pb.output_bytes_max,
        files=tuple(
            a.FileRef(ids.file_id(f.file_id), f.sha256, f.size_bytes, f.media_type[:128])
            for f in pb.files
        ),
        cache_salt=_salt(pb.cache_salt),
        # The longest are the last.
        prefixes=tuple(pb.prefixes[-PREFIXES_MAX:]),
    )


def assignment_reply(refusal: a.Refusal | None, room: a.Room | None) -> bytes:
    """`room`: None where it is not said."""
    reply = job.AssignmentReply(accepted=refusal is None)
    if refusal is not None:
        told = job.Refusal(code=_CODES[refusal.code], reason=refusal.reason[:500])
        reply.refusal.CopyFrom(told)
    if room is not None:
        free = job.Room(slots_free=room.slots_free, cargo_slots_free=room.cargo_slots_free)
        reply.room.CopyFrom(free)
    return reply.SerializeToString()


def read_cancel(data: bytes, trusted: Container[bytes]) -> a.Cancel:
    """Raises BadSignature, BadMessage or BadId."""
    pb = open_sealed(data, job.Cancel, trusted)
    return a.Cancel(_key(pb.job_id, pb.epoch), ids.island_id(pb.island_id), pb.reason)


def chunk(value: a.Chunk) -> bytes:
    pb = job.Chunk(
        first=value.first,
        texts=value.texts,
        tokens=value.tokens,
        prompt_tokens=value.prompt_tokens,
        cached_tokens=value.cached_tokens,
    )
    if value.progress is not None:
        pb.progress.CopyFrom(job.Progress(**value.progress._asdict()))
    if value.end is not None:
        pb.end.CopyFrom(
            job.End(
                cause=_CAUSES[value.end.cause],
                finish_reason=value.end.finish_reason,
                error=value.end.error,
                next=value.next,
                usage=_usage(value.usage),
            )
        )
    return pb.SerializeToString()


def seal_report(key: SigningKey, report: a.Report) -> bytes:
    return key.seal(
        job.Report(
            job_id=report.key.job_id,
            epoch=report.key.epoch,
            island_id=report.island_id,
            cargo_digest=report.cargo_digest,
            cause=_CAUSES[report.ending.cause],
            finish_reason=report.ending.finish_reason,
            error=report.ending.error,
            first_position=report.first_position,
            next_position=report.next_position,
            usage=_usage(report.usage),
            input_sha256=report.input_sha256,
            output_chain=report.output_chain,
            started_at_ms=report.started_at_ms,
            ended_at_ms=report.ended_at_ms,
            texts=report.texts,
            tokens=report.tokens,
        )
    )


def seal_beat(key: SigningKey, beat: Beat) -> bytes:
    pb = island.Heartbeat(
        island_id=beat.island_id,
        sequence=beat.sequence,
        boot_id=beat.boot_id,
        cargos=[_cargo_state(offer, beat.slots) for offer in beat.offers],
        slots=beat.slots,
        slots_free=beat.slots_free,
        draining=beat.draining,
        catalogue_version=beat.catalogue_version,
        catalogue_number=beat.catalogue_number,
        reads_documents=beat.reads_documents,
        wishes_version=beat.wishes_version,
        broker_rtt_us=beat.broker_rtt_us,
        load=beat.load,
    )
    for held in beat.held:
        state = (
            island.HeldAttempt.STATE_REPORTED if held.reported else island.HeldAttempt.STATE_RUNNING
        )
        pb.held.add(
            job_id=held.key.job_id,
            epoch=held.key.epoch,
            state=state,
            next_position=held.next_position,
        )
    if beat.capabilities is not None:
        pb.capabilities.CopyFrom(capabilities(beat.capabilities))
    return key.seal(pb)


def read_beat_reply(data: bytes, trusted: Container[bytes]) -> BeatReply:
    """Raises BadSignature, BadMessage or BadId."""
    pb = open_sealed(data, island.HeartbeatReply, trusted)
    return BeatReply(
        island_id=ids.island_id(pb.island_id),
        sequence=pb.sequence,
        next_interval_ms=pb.next_interval_ms,
        stop=_keys(pb.stop),
        forget=_keys(pb.forget),
        resend=_keys(pb.resend),
        accepts_work=pb.accepts_work,
        notice=pb.notice,
        catalogue_version=pb.catalogue_version,
        # Entries of this kind are the network's own: they have no level of trust.
        catalogue=tuple(Entry(e.manifest, e.signature, e.public_key) for e in pb.catalogue),
        recommended=frozenset(slug[:63] for slug in pb.recommended[:RECOMMENDED_MAX]),
        document=pb.catalogue_document,
        wishes=pb.wishes,
    )


def read_wishes(data: bytes, trusted: Container[bytes]) -> Wishes:
    """Raises BadSignature, BadMessage or BadId."""
    pb = open_sealed(data, island.Wishes, trusted)
    if len(pb.least_prices) > LEAST_PRICES_MAX:
        raise BadMessage(f"least prices of more than {LEAST_PRICES_MAX} Cargos")
    if not all(_SLUG.fullmatch(one.cargo_slug) for one in pb.least_prices):
        raise BadMessage("a least price of what cannot be a Cargo")
    return Wishes(
        island_id=ids.island_id(pb.island_id),
        version=pb.version,
        draining=pb.draining,
        schedule=of_hours(unpacked_hours(pb.hours)),
        least={
            one.cargo_slug: Price(
                Ucredits(one.job_ucredits),
                Ucredits(one.prompt_token_ucredits),
                Ucredits(one.output_item_ucredits),
            )
            for one in pb.least_prices
        },
    )


def read_document(data: bytes, trusted: Container[bytes]) -> Document:
    """A catalogue that a trusted catalogue key signed. Raises BadSignature or BadMessage."""
    pb = open_sealed(data, island.Catalogue, trusted)
    return Document(
        version=pb.version,
        issued_at_ms=pb.issued_at_ms,
        expires_at_ms=pb.expires_at_ms,
        registry=pb.registry,
        entries=tuple(entry(e) for e in pb.entries),
    )


def entry(pb: island.CatalogueEntry) -> Entry:
    # The older form, signed by the network's own publisher, has no trust level.
    trust = pb.trust if pb.payload else TRUST_MAX
    return Entry(pb.manifest, pb.signature, pb.public_key, pb.payload, trust)


def capabilities(value: Capabilities) -> common.Capabilities:
    return common.Capabilities(
        agent_version=value.agent_version,
        os=value.os,
        arch=value.arch,
        cores=value.cores,
        cpu_features=value.cpu_features,
        memory_bytes=value.memory_bytes,
        disk_free_bytes=value.disk_free_bytes,
        gpus=[
            common.Gpu(name=g.name, memory_bytes=g.memory_bytes, driver=g.driver)
            for g in value.gpus
        ],
        runtimes=[
            common.RuntimeInfo(
                name=r.name,
                isolation=r.isolation,
                not_isolated=r.not_isolated,
                executor=r.executor,
                trust_min=r.trust_min,
            )
            for r in value.runtimes
        ],
        engines=value.engines,
        region=value.region,
        takes_orders=value.takes_orders,
    )


def _key(job_id: str, epoch: int) -> a.AttemptKey:
    return a.AttemptKey(ids.job_id(job_id), Epoch(epoch))


def _keys(refs: Iterable[island.AttemptRef]) -> tuple[a.AttemptKey, ...]:
    return tuple(_key(ref.job_id, ref.epoch) for ref in refs)


def _salt(given: bytes) -> bytes:
    """Never cut: two that begin alike would become one. Raises BadMessage."""
    if len(given) > CACHE_SALT_BYTES_MAX:
        raise BadMessage(f"a salt of {len(given)} bytes, {CACHE_SALT_BYTES_MAX} at most")
    return given


def _usage(usage: a.Usage) -> common.Usage:
    return common.Usage(
        prompt_tokens=usage.prompt_tokens,
        output_items=usage.output_items,
        cpu_ms=usage.cpu_ms,
        memory_peak_bytes=usage.memory_peak_bytes,
        wall_ms=usage.wall_ms,
        read_bytes=usage.read_bytes,
        written_bytes=usage.written_bytes,
        gpu_ms=usage.gpu_ms,
    )


def _cargo_state(offer: Offer, slots: int) -> island.CargoState:
    state = island.CargoState(
        slug=offer.slug, digest=offer.digest, state=_STATES[offer.state], reason=offer.reason
    )
    state.startable = offer.takes_runs
    state.start_ms = offer.start_ms
    state.runtime = offer.choice.runtime
    state.slots = offer.slots(slots)
    if offer.warm is not None:
        described = offer.warm.description
        state.items_per_s = described.items_per_s
        state.first_item_ms = described.first_item_ms
        state.prompt_tokens_per_s = described.prompt_tokens_per_s
        state.determinism_class = described.determinism_class
        state.prefixes.extend(offer.warm.beginnings.announced())
    return state
