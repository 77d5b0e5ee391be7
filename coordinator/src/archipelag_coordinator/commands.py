"""What an operator does once: keys, schema, the first user, publishing. Each command says what it did."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from archipelag_contracts import manifest as manifests
from archipelag_contracts.tiers import TRUST_MAX
from archipelag_contracts.units import from_credits

from archipelag_coordinator import config
from archipelag_coordinator.adapters.nats import credentials, links
from archipelag_coordinator.adapters.postgres.migrate import Stage, heads, migrate
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.config import Settings
from archipelag_coordinator.domain.audit import BACKED_UP, at_command_line
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.link import Link
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.errors import Conflict
from archipelag_coordinator.ids import SystemIds
from archipelag_coordinator.services.bootstrap import FIRST_USER, add_key
from archipelag_coordinator.services.bootstrap import add_user as add_user_verb
from archipelag_coordinator.services.bootstrap import bootstrap as bootstrap_verb
from archipelag_coordinator.services.keys import make_pairing_code
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.services.publish import Signatures, publish
from archipelag_coordinator.services.unlink import take_link_back

FIRST_KEY_RATE = 100_000
"""Requests a minute: whoever starts a network of their own is not held to a stranger's limit."""

LOGIN_UID: Final = Path("/proc/self/loginuid")
NOBODY_CAME: Final = 2**32 - 1


@dataclass(frozen=True)
class Wanted:
    """What `bootstrap` is asked for beside the user."""

    new_key: bool = False
    pairing_code: bool = False
    cargos: tuple[Path, ...] = ()
    trust: int = TRUST_MAX
    email: str = FIRST_USER


def operator() -> str:
    """Who runs this, for the audit log: by the kernel's word, since the environment says whatever it is told to.

    Behind `sudo` the kernel still knows who came in, where it counts logins; in a container it does not.
    """
    runs = os.getuid()
    try:
        came = int(LOGIN_UID.read_text())
    except (OSError, ValueError):
        came = NOBODY_CAME
    name = _login(runs)
    return at_command_line(name if came in (runs, NOBODY_CAME) else f"{_login(came)} as {name}")


def _login(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def init_keys(state_dir: Path) -> str:
    credentials.init_keys(state_dir)
    return f"keys stand in {state_dir}"


def link_of(region: str, number: int) -> Link:
    """Raises ValueError."""
    if not config.REGION.fullmatch(region):
        raise ValueError(f"a region has 1 to 32 small letters, digits and dashes, not {region!r}")
    return Link(region, number)


def link_keys(state_dir: Path, link: Link, to: Path) -> str:
    links.write_links(credentials.load_keys(state_dir), link, to)
    return f"what the broker of {link.region} shows to another region's stands in {to}; keep it as a key"


async def unlink(settings: Settings, link: Link) -> str:
    async with PostgresStore(settings.database_url, pool_max=2) as store:
        taken = await take_link_back(store, SystemClock(), link, by=operator())
    if not taken:
        return f"the link of {link} was taken back before"
    return (
        f"the link of {link} is taken back: running Coordinators tell their brokers within seconds. To let the region "
        f"join again: keys link --region {link.region} --number {link.number + 1}"
    )


@dataclass(frozen=True)
class Links:
    """How a broker stands to those of other regions."""

    port: int = 0
    """Where it lets them join; 0: nowhere."""
    urls: tuple[str, ...] = ()
    """The servers of one that it joins."""
    folder: Path = Path("/etc/nats/link")
    """What it shows them, as the broker finds it."""


def broker_config(
    state_dir: Path,
    resolver_dir: Path | None = None,
    to: Path | None = None,
    joined: Links | None = None,
) -> str:
    """The text for the broker, or, where it was written to a file, a word about that."""
    keys = credentials.load_keys(state_dir)
    text = credentials.broker_config(keys, resolver_dir=resolver_dir or state_dir / "accounts")
    if joined is not None and joined.port:
        text += links.accepting_config(joined.port)
    elif joined is not None and joined.urls:
        text += links.joining_config(keys, joined.urls, joined.folder)
    if to is None:
        return text
    part = to.with_name(f".{to.name}.part")
    part.write_text(text)
    part.replace(to)
    return f"what the broker must know stands in {to}"


async def note_backup(settings: Settings, told: Mapping[str, object]) -> bool:
    """Notes in the audit log that this backup was made, so that its age can be watched. False where the database
    cannot be written to, as a copy of it cannot."""
    name, summed = Path(str(told["file"])).name, told["sha256"]
    try:
        async with PostgresStore(settings.database_url, pool_max=1) as store, store.begin() as tx:
            at = SystemClock().now()
            await tx.audit.note(at, operator(), BACKED_UP, name, f"sha256 {summed}")
    except psycopg.errors.ReadOnlySqlTransaction:
        return False
    return True


def migrate_database(settings: Settings, *, post: bool = False) -> str:
    migrate(settings.database_url, stage=Stage.POST if post else Stage.PRE)
    if not post and heads(Stage.POST):
        return "the database has the newest schema; `migrate --post` once no older Coordinator runs"
    return "the database has the newest schema"


async def bootstrap(settings: Settings, wanted: Wanted) -> dict[str, str]:
    """The first user, and what else is wanted of: a key, a pairing code, Cargos."""
    clock, ids, by = SystemClock(), SystemIds(), operator()
    made: dict[str, str] = {}
    async with PostgresStore(settings.database_url, pool_max=2) as store:
        user = await bootstrap_verb(store, clock, ids, settings.policy, wanted.email, by=by)
        made |= {"user_id": user.id, "email": user.email}
        if wanted.new_key:
            made["api_key"] = await add_key(
                store, clock, ids, user, rate_per_minute=FIRST_KEY_RATE, by=by
            )
        if wanted.pairing_code:
            code = await make_pairing_code(store, clock, ids, settings.policy, user, by=by)
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
    clock, ids, by = SystemClock(), SystemIds(), operator()
    async with PostgresStore(settings.database_url, pool_max=2) as store:
        user = await add_user_verb(store, clock, ids, email, role=role, credit=amount, by=by)
        if role is not Role.USER and user.role is not role:
            raise Conflict(
                f"{email} stands already, as {user.role.value}: an administrator may change that"
            )
        key = await add_key(store, clock, ids, user, rate_per_minute=rate_per_minute, by=by)
        return {"user_id": user.id, "api_key": key}


async def publish_cargo(settings: Settings, path: Path, trust: int) -> str:
    async with PostgresStore(settings.database_url, pool_max=2) as store:
        cargo = await _publish(store, settings, path, trust)
    return json.dumps(
        {"slug": cargo.slug, "version": cargo.manifest.version, "digest": cargo.digest}
    )


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
    return await publish(store, SystemClock(), manifest, signatures, by=operator(), trust=trust)
