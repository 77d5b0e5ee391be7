"""What must be done again in time: backups, the signed catalogue, releases, certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from archipelag_contracts import releases
from archipelag_contracts.errors import ContractError
from archipelag_contracts.findings import Finding, fail, ok, warn

from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.clock import Clock
from archipelag_coordinator.config import Settings
from archipelag_coordinator.domain.audit import BACKED_UP
from archipelag_coordinator.domain.policy import Policy

CONNECT_S: Final = 5
BACKUP_OLD: Final = timedelta(hours=25)
RELEASE_ENDS: Final = timedelta(days=7)
CERTIFICATE_ENDS: Final = timedelta(days=14)
BROKER_PORT: Final = 4222
LINE_BYTES_MAX: Final = 64 << 10


async def kept(settings: Settings, clock: Clock) -> list[Finding]:
    """What the database knows. Raises the driver's errors."""
    async with PostgresStore(settings.database_url, pool_max=1) as store, store.begin() as tx:
        backed_up_at = await tx.audit.last(BACKED_UP)
        document = await tx.cargos.newest_document()
    found = [_backup(backed_up_at, clock.now())]
    if document is not None:
        found.append(_catalogue(document.expires_at, clock.now(), settings.policy))
    return found


async def examine(settings: Settings, clock: Clock) -> list[Finding]:
    """What files and doors tell."""
    found = [_release(settings, clock.now())] if settings.releases_dir is not None else []
    urls = [settings.public_url, *settings.nats_url.split(","), *settings.broker_public_urls]
    secure = dict.fromkeys(
        url.strip() for url in urls if url.strip().startswith(("https:", "tls:", "wss:"))
    )
    return [*found, *await asyncio.gather(*(certificate(url, clock.now()) for url in secure))]


def _backup(at: datetime | None, now: datetime) -> Finding:
    advice = (
        "`archipelag-coordinator backup` once a day, by a timer, to another machine; one made by other means is not "
        "seen here"
    )
    if at is None:
        return warn("backup", "none was ever noted", advice)
    said = f"the last was made {_hours(now - at)} ago"
    return warn("backup", said, advice) if now - at > BACKUP_OLD else ok("backup", said)


def _catalogue(expires_at: datetime, now: datetime, policy: Policy) -> Finding:
    """Renewed after a part of its life, so that what has less than the rest left is not renewed any more."""
    left = expires_at - now
    advice = (
        "no Coordinator renews it: `archipelag-coordinator serve`, and see its log for loop_failed"
    )
    if left <= timedelta():
        said = f"ended {_hours(-left)} ago: Islands start nothing any more"
        return fail("catalogue", said, advice)
    said = f"good for {_hours(left)}"
    rest_s = policy.catalogue_life_s - 2 * policy.catalogue_renew_s
    return (
        warn("catalogue", said, advice) if left.total_seconds() < rest_s else ok("catalogue", said)
    )


def _release(settings: Settings, now: datetime) -> Finding:
    assert settings.releases_dir is not None
    try:
        release = releases.parse((settings.releases_dir / releases.DOCUMENT).read_bytes())
    except FileNotFoundError:
        advice = (
            "`archipelag-coordinator release publish --to` it, or take ARCHIPELAG_RELEASES_DIR away"
        )
        return warn("releases", f"none lies in {settings.releases_dir}", advice)
    except (OSError, ContractError) as error:
        advice = "publish it again by `archipelag-coordinator release publish`"
        return fail("releases", f"{releases.DOCUMENT} cannot be read: {error}", advice)
    left = datetime.fromtimestamp(release.expires_at, UTC) - now
    said = f"{release.version}, number {release.number}, "
    advice = "publish the same number again, which lets it live longer; until then no Island can be installed by it"
    if left <= timedelta():
        return fail("releases", f"{said}ended {_hours(-left)} ago", advice)
    told = f"{said}good for {_hours(left)}"
    return warn("releases", told, advice) if left < RELEASE_ENDS else ok("releases", told)


async def certificate(url: str, now: datetime, trusted: ssl.SSLContext | None = None) -> Finding:
    """Of whatever answers there. `trusted`: None: the authorities of this machine."""
    parts = urlsplit(url)
    host, is_broker = parts.hostname or "", parts.scheme == "tls"
    port = parts.port or (BROKER_PORT if is_broker else 443)
    what = f"certificate {host}:{port}"
    try:
        async with asyncio.timeout(CONNECT_S):
            shown = await _shown(
                host, port, trusted or ssl.create_default_context(), greeted=is_broker
            )
    except ssl.SSLCertVerificationError as error:
        advice = "it must be for this name, whole with its chain, and by an authority that others trust; renew it"
        return fail(what, error.verify_message, advice)
    except (OSError, TimeoutError, ValueError) as error:
        said = f"cannot be looked at from here: {error or f'no answer within {CONNECT_S} s'}"
        return warn(what, said, "look at it from where clients are")
    left = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC) - now
    said = f"good for {_hours(left)}"
    advice = "renew it, and let what shows it read it anew: when it ends, nobody gets in there"
    return warn(what, said, advice) if left < CERTIFICATE_ENDS else ok(what, said)


async def _shown(
    host: str, port: int, trusted: ssl.SSLContext, *, greeted: bool
) -> Mapping[str, Any]:
    """A broker greets in plain text first."""
    reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES_MAX)
    try:
        if greeted:
            await reader.readline()
        await writer.start_tls(trusted, server_hostname=host)
        shown: Mapping[str, Any] | None = writer.get_extra_info("peercert")
    finally:
        writer.close()
    if not shown:
        raise ValueError("it showed none")
    return shown


def _hours(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours / 24:.0f} days" if hours >= 72 else f"{hours:.0f} h"
