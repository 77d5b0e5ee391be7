"""Values with a sane word in every field, so that a test names only what it is about."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any, Final

from archipelag_contracts import ids
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.ids import ApiKeyId, Epoch, IslandId, JobId, RelayId, UserId
from archipelag_contracts.manifest import Limits, Manifest, Model, Price
from archipelag_contracts.units import UCREDITS_PER_CREDIT, Ucredits

from archipelag_coordinator.domain.attempt import Attempt, AttemptStatus
from archipelag_coordinator.domain.cargo import Cargo, CargoStatus, Cosigned
from archipelag_coordinator.domain.island import Beat, Island, IslandStatus, Offer
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.ledger import (
    Reservation,
    ReservationStatus,
    Transfer,
    grant,
    user_account,
)
from archipelag_coordinator.domain.placement import Candidate, Placement, Verdict
from archipelag_coordinator.domain.review import Check
from archipelag_coordinator.domain.session import new_session
from archipelag_coordinator.domain.sign_in import SignIn, hash_link
from archipelag_coordinator.domain.user import ApiKey, Role, Scope, User, hash_secret
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.testing.fakes import START

HOME: Final = RelayId("rly_" + "0" * 26)
CREDIT: Final = Ucredits(UCREDITS_PER_CREDIT)
PRICE: Final = Price(Ucredits(0), Ucredits(20), Ucredits(100))
PUBLISHER_KEY: Final = CosignKey.generate().public
# Far from where `SequenceIds` begins to count: the two meet in one store.
_numbers = itertools.count(1_000_000)


def an_id(prefix: str, number: int | None = None) -> str:
    """`job_…` and the like, of the right shape; a new one unless numbered."""
    chosen = next(_numbers) if number is None else number
    return f"{prefix}_{ids.encode(int(START.timestamp() * 1000), chosen.to_bytes(10, 'big'))}"


def a_user(**changes: Any) -> User:
    user_id = UserId(an_id("usr"))
    sane: dict[str, Any] = {
        "id": user_id,
        "email": f"{user_id}@example.org",
        "role": Role.USER,
        "created_at": START,
    }
    return User(**sane | changes)


def a_secret(number: int | None = None) -> str:
    return f"ak_{next(_numbers) if number is None else number:043d}"


def a_key(user: User | None = None, *, secret: str | None = None, **changes: Any) -> ApiKey:
    shown = secret or a_secret()
    sane: dict[str, Any] = {
        "id": ApiKeyId(an_id("key")),
        "user_id": user.id if user else UserId(an_id("usr")),
        "name": "test",
        "prefix": shown[:10],
        "hash": hash_secret(shown),
        "scopes": frozenset({Scope.READ, Scope.WRITE}),
        "created_at": START,
    }
    return ApiKey(**sane | changes)


def a_session(user: User | None = None, *, secret: str | None = None, **changes: Any) -> ApiKey:
    shown = secret or f"as_{next(_numbers):043d}"
    made = new_session(
        ApiKeyId(an_id("key")),
        user.id if user else UserId(an_id("usr")),
        shown,
        user_agent="",
        now=START,
        life_s=30 * 24 * 3600,
    )
    return replace(made, **changes)


def a_sign_in(**changes: Any) -> SignIn:
    """A link that is good for a quarter of an hour."""
    sane: dict[str, Any] = {
        "hash": hash_link(f"al_{next(_numbers):043d}"),
        "email": "ada@example.org",
        "created_at": START,
        "expires_at": START + timedelta(minutes=15),
    }
    return SignIn(**sane | changes)


def a_manifest(**changes: Any) -> Manifest:
    sane: dict[str, Any] = {
        "slug": "llm-chat",
        "version": "1.0.0",
        "name": "Chat",
        "description": "A small model.",
        "license": "Apache-2.0",
        "kind": "chat",
        "runtime": "native",
        "engine": "llm-chat",
        "resumable": True,
        "model": Model("small-model", "model.gguf", "0" * 64),
        "limits": Limits(seconds=300, output_items_max=2048, output_bytes_max=65536),
        "price": PRICE,
    }
    return Manifest(**sane | changes)


def a_cargo(**changes: Any) -> Cargo:
    """Listed. Other words than Cargo's own are the manifest's."""
    own = {field.name for field in fields(Cargo)}
    manifest = a_manifest(**{k: v for k, v in changes.items() if k not in own})
    sane: dict[str, Any] = {
        "id": 1,
        "manifest": manifest,
        "signature": bytes(64),
        "public_key": bytes(32),
        "status": CargoStatus.LISTED,
        "created_at": START,
    }
    return Cargo(**sane | {k: v for k, v in changes.items() if k in own})


def a_submission(owner: User, **changes: Any) -> Cargo:
    """Submitted by this user, with a signature that nobody checks here."""
    sane: dict[str, Any] = {
        "slug": "theirs",
        "signature": b"",
        "public_key": b"",
        "status": CargoStatus.SUBMITTED,
        "owner_id": owner.id,
        "reference": "registry.example/theirs@sha256:" + "0" * 64,
        "cosigned": Cosigned(b"payload", b"signature", PUBLISHER_KEY),
        "trust": 0,
        "checks": (Check("signature", passed=True), Check("manifest", passed=True)),
    }
    return a_cargo(**sane | changes)


def an_offer(cargo: Cargo | None = None, **changes: Any) -> Offer:
    """Warm, with four slots."""
    shown = cargo or a_cargo()
    sane: dict[str, Any] = {
        "slug": shown.slug,
        "digest": shown.digest,
        "state": "warm",
        "slots": 4,
        "items_per_s": 50.0,
        "first_item_ms": 40.0,
        "prompt_tokens_per_s": 1000.0,
    }
    return Offer(**sane | changes)


def an_island(owner: User | None = None, *, cargo: Cargo | None = None, **changes: Any) -> Island:
    """Ready and approved, heard from just now, with one warm offer."""
    island_id = IslandId(changes.get("id", an_id("isl")))
    sane: dict[str, Any] = {
        "id": island_id,
        "owner_id": owner.id if owner else UserId(an_id("usr")),
        "name": f"island-{island_id[-6:]}",
        "public_key": hashlib.sha256(island_id.encode()).digest(),
        "status": IslandStatus.READY,
        "approved": True,
        "created_at": START,
        "region": "eu-west",
        "capabilities": {"region": "eu-west", "cpus": 4},
        "boot_id": "boot-1",
        "sequence": 0,
        "seen_at": START,
        "offers": (an_offer(cargo),),
        "slots": 4,
        "broker_rtt_ms": 5.0,
        "load": 0.1,
    }
    return Island(**sane | changes)


def a_beat_of(island: Island, sequence: int) -> Beat:
    """The Island says again what is known of it."""
    return Beat(
        sequence=sequence,
        boot_id=island.boot_id,
        offers=island.offers,
        slots=island.slots,
        draining=False,
        broker_rtt_ms=island.broker_rtt_ms,
        load=island.load,
    )


def a_job(
    user: User | None = None,
    *,
    key: ApiKey | None = None,
    cargo: Cargo | None = None,
    **changes: Any,
) -> Job:
    """Queued for the home `HOME`, 300 s to live."""
    wanted = cargo or a_cargo()
    at: datetime = changes.get("created_at", START)
    sane: dict[str, Any] = {
        "id": JobId(an_id("job")),
        "user_id": user.id if user else UserId(an_id("usr")),
        "key_id": key.id if key else None,
        "cargo_id": wanted.id,
        "cargo_slug": wanted.slug,
        "cargo_digest": wanted.digest,
        "input": b'{"messages":[{"role":"user","content":"hello"}],"max_tokens":16,"seed":7}',
        "status": JobStatus.QUEUED,
        "created_at": at,
        "queue_until": at + timedelta(seconds=30),
        "deadline_at": at + timedelta(seconds=330),
        "home": HOME,
        "reserved": Ucredits(10_000),
        "prompt_tokens_max": 100,
        "output_items_max": 16,
    }
    job = Job(**sane | changes)
    return replace(job, ended_at=at) if job.finished and job.ended_at is None else job


def a_placement(island: IslandId) -> Placement:
    verdicts = (Verdict(island, "island", 0.5, ""),)
    return Placement(island, 0.5, "the only one", verdicts)


def an_attempt(job: Job, island: Island, **changes: Any) -> Attempt:
    """Assigned just now, under the job's current epoch or the first."""
    sane: dict[str, Any] = {
        "job_id": job.id,
        "epoch": Epoch(job.epoch or 1),
        "island_id": island.id,
        "relay": job.home,
        "status": AttemptStatus.ASSIGNED,
        "assigned_at": START,
        "lease_until": START + timedelta(seconds=60),
        "placement": a_placement(island.id),
    }
    attempt = Attempt(**sane | changes)
    ended = attempt.finished and attempt.ended_at is None
    return replace(attempt, ended_at=START) if ended else attempt


def a_reservation(job: Job, amount: int | None = None, **changes: Any) -> Reservation:
    """Pending, for the job's own user."""
    sane: dict[str, Any] = {
        "job_id": job.id,
        "account_id": user_account(job.user_id),
        "amount": Ucredits(job.reserved if amount is None else amount),
        "status": ReservationStatus.PENDING,
        "created_at": job.created_at,
        "expires_at": job.deadline_at + timedelta(hours=1),
    }
    return Reservation(**sane | changes)


def a_grant(user: User, amount: int = CREDIT, cause: str = "test") -> Transfer:
    return grant(user.id, Ucredits(amount), cause, START)


def a_candidate(**changes: Any) -> Candidate:
    """What placement sees of a good Island."""
    cargo = a_cargo()
    sane: dict[str, Any] = {
        "island_id": IslandId(an_id("isl")),
        "name": "island",
        "status": "ready",
        "approved": True,
        "digest": cargo.digest,
        "state": "warm",
        "reason": "",
        "slots_free": 4,
        "slots": 4,
        "items_per_s": 50.0,
        "first_item_ms": 40.0,
        "prompt_tokens_per_s": 1000.0,
        "broker_rtt_ms": 5.0,
        "load": 0.1,
    }
    return Candidate(**sane | changes)


async def a_customer(store: Store, credits_ucredits: int = CREDIT) -> tuple[User, ApiKey, str]:
    """A stored user with credits and a key, and that key's secret."""
    user, secret = a_user(), a_secret()
    key = a_key(user, secret=secret)
    async with store.begin() as tx:
        await tx.users.add(user)
        await tx.keys.add(key)
        if credits_ucredits:
            await tx.ledger.transfer(a_grant(user, credits_ucredits))
    return user, key, secret


async def a_stored_cargo(store: Store, **changes: Any) -> Cargo:
    async with store.begin() as tx:
        return await tx.cargos.add(a_cargo(**changes))


async def a_stored_island(
    store: Store, owner: User, *, cargo: Cargo | None = None, **changes: Any
) -> Island:
    island = an_island(owner, cargo=cargo, **changes)
    async with store.begin() as tx:
        await tx.islands.add(island)
    return island
