"""What an operator does once: keys, schema, the first user, publishing. Each command says what it did."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from archipelag_contracts import manifest as manifests
from archipelag_contracts.tiers import TRUST_MAX
from archipelag_contracts.units import from_credits

from archipelag_coordinator.adapters.nats import credentials
from archipelag_coordinator.adapters.postgres.migrate import migrate
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.config import Settings
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.island import PairingCode
from archipelag_coordinator.domain.user import Role, Scope, User, new_key
from archipelag_coordinator.errors import Conflict
from archipelag_coordinator.ids import SystemIds
from archipelag_coordinator.services.bootstrap import FIRST_USER
from archipelag_coordinator.services.bootstrap import add_user as add_user_verb
from archipelag_coordinator.services.bootstrap import bootstrap as bootstrap_verb
from archipelag_coordinator.services.keys import make_pairing_code
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.services.publish import Signatures, publish

FIRST_KEY_RATE = 100_000
"""Requests a minute: whoever starts a network of their own is not held to a stranger's limit."""


@dataclass(frozen=True)
class Wanted:
    """What `bootstrap` is asked for beside the user."""

    new_key: bool = False
    pairing_code: bool = False
    cargos: tuple[Path, ...] = ()
    trust: int = TRUST_MAX
    email: str = FIRST_USER


def init_keys(state_dir: Path) -> str:
    credentials.init_keys(state_dir)
    return f"keys stand in {state_dir}"


def broker_config(state_dir: Path, resolver_dir: Path | None = None, to: Path | None = None) -> str:
    """The text for the broker, or, where it was written to a file, a word about that."""
    keys = credentials.load_keys(state_dir)
    text = credentials.broker_config(keys, resolver_dir=resolver_dir or state_dir / "accounts")
    if to is None:
        return text
    part = to.with_name(f".{to.name}.part")
    part.write_text(text)
    part.replace(to)
    return f"what the broker must know stands in {to}"


def migrate_database(settings: Settings) -> str:
    migrate(settings.database_url)
    return "the database has the newest schema"


async def bootstrap(settings: Settings, wanted: Wanted) -> dict[str, str]:
    """The first user, and what else is wanted of: a key, a pairing code, Cargos."""
    clock, ids = SystemClock(), SystemIds()
    made: dict[str, str] = {}
    async with PostgresStore(settings.database_url, pool_max=2) as store:
        user = await bootstrap_verb(store, clock, ids, settings.policy, wanted.email)
        made |= {"user_id": user.id, "email": user.email}
        if wanted.new_key:
            made["api_key"] = await _new_key(store, user, "first key", FIRST_KEY_RATE)
        if wanted.pairing_code:
            code = await _pairing_code(store, settings, user)
            made["pairing_code"] = code.code
        for path in wanted.cargos:
            cargo = await _publish(store, settings, path, wanted.trust)
            made[f"cargo:{cargo.slug}"] = cargo.digest
    return made


async def add_user(
    settings: Settings,
    email: str,
    credit: str,
    rate_per_minute: int | None,
    role: Role = Role.USER,
) -> dict[str, str]:
    """A user with credits and a key; the user who stands under this address gets another key, and no other role."""
    amount = from_credits(credit)
    clock, ids = SystemClock(), SystemIds()
    async with PostgresStore(settings.database_url, pool_max=2) as store:
        user = await add_user_verb(store, clock, ids, email, role=role, credit=amount)
        if role is not Role.USER and user.role is not role:
            raise Conflict(
                f"{email} stands already, as {user.role.value}: an administrator may change that"
            )
        return {
            "user_id": user.id,
            "api_key": await _new_key(store, user, "first key", rate_per_minute),
        }


async def publish_cargo(settings: Settings, path: Path, trust: int) -> str:
    async with PostgresStore(settings.database_url, pool_max=2) as store:
        cargo = await _publish(store, settings, path, trust)
    return json.dumps(
        {"slug": cargo.slug, "version": cargo.manifest.version, "digest": cargo.digest}
    )


async def _new_key(store: Store, user: User, name: str, rate_per_minute: int | None) -> str:
    now, ids = SystemClock().now(), SystemIds()
    secret = ids.secret()
    key = new_key(
        ids.api_key(now),
        user.id,
        secret,
        name=name,
        scopes=frozenset(Scope),
        now=now,
        rate_per_minute=rate_per_minute,
    )
    async with store.begin() as tx:
        await tx.keys.add(key)
    return secret


async def _pairing_code(store: Store, settings: Settings, user: User) -> PairingCode:
    return await make_pairing_code(store, SystemClock(), SystemIds(), settings.policy, user)


async def _publish(store: Store, settings: Settings, path: Path, trust: int) -> Cargo:
    text = await asyncio.to_thread(path.read_text, encoding="utf-8")
    # As a person writes it, or as `archipelag cargo build` made it.
    whole = path.suffix == ".json"
    manifest = (
        manifests.parse_canonical(text.strip().encode()) if whole else manifests.parse_toml(text)
    )
    keys = credentials.load_keys(settings.state_dir)
    signatures = Signatures(
        cosign=keys.cosign.sign,
        cosign_key=keys.cosign.public,
        sign=keys.publisher.sign,
        public_key=keys.publisher.public,
    )
    return await publish(store, SystemClock(), manifest, signatures, trust=trust)
