"""NATS: whether each server can be reached and lets us in, and what its JetStream keeps for us."""

from __future__ import annotations

import asyncio
import os
import re
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import nats.errors
from archipelag_contracts import streams
from archipelag_contracts.findings import Finding, State, fail, ok, warn
from nats.aio.client import Client
from nats.js import errors as js_errors

from archipelag_coordinator.adapters.nats import credentials
from archipelag_coordinator.adapters.nats.blobs import STREAM as BLOBS
from archipelag_coordinator.adapters.nats.credentials import Keys
from archipelag_coordinator.adapters.nats.jwt import base64url
from archipelag_coordinator.clock import Clock
from archipelag_coordinator.config import Settings
from archipelag_coordinator.doctor.speed import answers, clock_finding
from archipelag_coordinator.ids import SystemIds

CONNECT_S: Final = 5
PORT: Final = 4222
FULL: Final = 0.8
"""Of what a stream or the store may hold."""
BACKLOG_MAX: Final = 10_000
TIME: Final = re.compile(r'"ts":\s*"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)')
Trouble = (OSError, TimeoutError, nats.errors.Error, js_errors.Error)


async def examine(settings: Settings, keys: Keys, clock: Clock) -> list[Finding]:
    urls = [url.strip() for url in settings.nats_url.split(",")]
    found = [await _server(url, keys, clock) for url in urls]
    urls = [url for url, one in zip(urls, found, strict=True) if one.state is State.OK]
    if urls:
        found += await _store(urls[0], settings, keys, clock)
    return [*found, *[await _public(url) for url in settings.broker_public_urls]]


async def _server(url: str, keys: Keys, clock: Clock) -> Finding:
    what = f"broker {_where(url)}"
    if trouble := await _unreachable(url):
        advice = "check ARCHIPELAG_NATS_URL, and that the server runs and listens there"
        return fail(what, trouble, advice)
    try:
        client = await connect(url, keys, clock)
    except Trouble as error:
        advice = (
            "it was not started with this network's trust: print it with `archipelag-coordinator broker-config`, "
            "include it in the server's configuration, and restart the server"
        )
        return fail(what, f"does not let the Coordinator in: {_why(error)}", advice)
    try:
        await client.flush(CONNECT_S)
        return ok(what, f"NATS {client.connected_server_version} lets the Coordinator in")
    except Trouble as error:
        return fail(what, f"does not answer: {_why(error)}", "see the server's log")
    finally:
        await client.close()


async def _store(url: str, settings: Settings, keys: Keys, clock: Clock) -> list[Finding]:
    try:
        client = await connect(url, keys, clock)
    except Trouble as error:
        return [fail("JetStream", _why(error), "see the server's log")]
    try:
        js = client.jetstream(timeout=CONNECT_S)
        try:
            account = await js.account_info()
        except Trouble as error:
            advice = (
                "start the server with JetStream (`jetstream { store_dir: … }`), and see its log"
            )
            return [fail("JetStream", f"not available: {_why(error)}", advice)]
        found = [_room(account), *await _times(client, clock)]
        names = [one.name for one in streams.ALL] + ([BLOBS] if settings.keeps_blobs else [])
        return [*found, *[await _stream(js, name, settings.nats_replicas) for name in names]]
    finally:
        await client.close()


async def _times(client: Client, clock: Clock) -> list[Finding]:
    """How fast it answers, and what time it has."""
    nearer = (
        "put the Coordinator nearer to it, or see what keeps the server busy: each token passes it"
    )
    try:
        found = [await answers("broker time", client.rtt, clock, nearer)]
        said = await client.request(
            f"$JS.API.STREAM.INFO.{streams.REPORTS.name}", timeout=CONNECT_S
        )
    except Trouble as error:
        return [fail("broker time", _why(error), "see the server's log")]
    # Older servers, and streams that are not there, tell no time.
    if there := TIME.search(said.data.decode(errors="replace")):
        at = datetime.fromisoformat(f"{there[1]}+00:00")
        found.append(clock_finding("broker clock", "broker", (clock.now() - at).total_seconds()))
    return found


def _room(account: Any) -> Finding:
    used, most = account.storage, account.limits.max_storage
    said = f"{used / 1e6:.0f} MB kept" + (f" of {most / 1e6:.0f} MB" if most > 0 else "")
    if most > 0 and used > FULL * most:
        return warn("JetStream", said, "give the server's store more room (max_file_store)")
    return ok("JetStream", said)


async def _stream(js: Any, name: str, replicas: int) -> Finding:
    what = f"stream {name}"
    try:
        there = await js.stream_info(name)
    except js_errors.NotFoundError:
        advice = (
            "a Coordinator makes it when it starts or comes back: `archipelag-coordinator serve`"
        )
        return warn(what, "is not there", advice)
    except Trouble as error:
        return fail(
            what, _why(error), "see the server's log; in a cluster, whether most servers are there"
        )
    state, config = there.state, there.config
    said = f"{state.messages} messages, {state.bytes / 1e6:.1f} MB"
    if config.num_replicas != replicas:
        advice = "a Coordinator with this setting changes it when it starts"
        return warn(what, f"is kept by {config.num_replicas} servers, not {replicas}", advice)
    if config.max_bytes and config.max_bytes > 0 and state.bytes > FULL * config.max_bytes:
        return warn(what, f"{said}, nearly full", "see whether Coordinators take what is in it")
    if name == streams.REPORTS.name and state.messages > BACKLOG_MAX:
        return warn(
            what, f"{said} wait to be taken", "no Coordinator keeps up with reports: start more"
        )
    return ok(what, said)


async def _public(url: str) -> Finding:
    """As far as it can be told from here: where Islands reach it."""
    what = f"broker for Islands {_where(url)}"
    if trouble := await _unreachable(url):
        advice = "not reachable from this machine either; Islands need it open to them (ARCHIPELAG_BROKER_PUBLIC_URLS)"
        return warn(what, trouble, advice)
    return ok(what, "can be reached from here")


async def _unreachable(url: str) -> str:
    parts = urlsplit(url if "//" in url else f"nats://{url}")
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or PORT)
    except (OSError, TimeoutError) as error:
        return _why(error)
    writer.close()
    return ""


async def connect(url: str, keys: Keys, clock: Clock) -> Client:
    """Tries once. Raises what `Trouble` names."""
    relay = SystemIds().relay(clock.now())
    token = credentials.coordinator_token(keys, relay, issued_at=clock.now())
    refused: list[Exception] = []

    async def failed(error: Exception) -> None:
        refused.append(error)

    client = Client()
    try:
        await client.connect(
            servers=[url],
            name="doctor",
            user_jwt_cb=lambda: bytearray(token.encode()),
            signature_cb=lambda nonce: base64url(
                keys.coordinator_user.sign(b"", nonce.encode())
            ).encode(),
            inbox_prefix=credentials.inbox_of(relay),
            connect_timeout=CONNECT_S,
            allow_reconnect=False,
            error_cb=failed,
        )
    except BaseException:
        await client.close()
        if refused:
            raise refused[0] from None
        raise
    return client


def _where(url: str) -> str:
    """Without what may stand in it of a password."""
    parts = urlsplit(url if "//" in url else f"nats://{url}")
    return f"{parts.hostname}:{parts.port or PORT}"


def _why(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_S} s"
    if isinstance(error, OSError) and error.errno:
        return error.strerror or os.strerror(error.errno)
    return str(error) or type(error).__name__
