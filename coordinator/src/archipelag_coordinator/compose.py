"""Puts a running Coordinator together: adapters behind the ports, apps in front of the verbs, and their tasks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import nats.errors
import procrastinate
import uvicorn
from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId

from archipelag_coordinator import __version__
from archipelag_coordinator.adapters.catalogue_signer import KeyCatalogueSigner
from archipelag_coordinator.adapters.mail.mailbox import LocalMailbox
from archipelag_coordinator.adapters.mail.message import sender_of
from archipelag_coordinator.adapters.mail.outbox import Outbox
from archipelag_coordinator.adapters.mail.smtp import SmtpCarrier, server_of
from archipelag_coordinator.adapters.nats import credentials
from archipelag_coordinator.adapters.nats.blobs import NatsBlobs, make_blob_stream
from archipelag_coordinator.adapters.nats.broker import NatsBroker
from archipelag_coordinator.adapters.nats.chunk_relay import NatsChunkRelay
from archipelag_coordinator.adapters.nats.connection import (
    Connection,
    Identity,
    make_streams,
    streams_say,
)
from archipelag_coordinator.adapters.nats.credentials import Keys
from archipelag_coordinator.adapters.nats.island_bus import NatsIslandBus
from archipelag_coordinator.adapters.nats.replay import StreamReplay
from archipelag_coordinator.adapters.nats.reports import ReportQueue
from archipelag_coordinator.adapters.nats.wire import Wire
from archipelag_coordinator.adapters.openid import OpenIdProvider, check_issuer
from archipelag_coordinator.adapters.postgres.leader import Leader
from archipelag_coordinator.adapters.postgres.store import UNREACHABLE, PostgresStore
from archipelag_coordinator.adapters.s3.blobs import S3Blobs, bucket_of
from archipelag_coordinator.adapters.s3.signing import Access
from archipelag_coordinator.apps.api.app import ApiSettings, create_app
from archipelag_coordinator.apps.api.links import Links
from archipelag_coordinator.apps.background.chores import chores_app, run_chores
from archipelag_coordinator.apps.islands.enrolment import EnrolmentService, start_enrolment
from archipelag_coordinator.apps.islands.files import BUSY, IslandFiles
from archipelag_coordinator.apps.islands.heartbeats import Heartbeats
from archipelag_coordinator.apps.islands.known import KnownKeys
from archipelag_coordinator.apps.islands.nonces import Nonces
from archipelag_coordinator.apps.islands.presence import Presence
from archipelag_coordinator.apps.islands.reports import Reports
from archipelag_coordinator.apps.loops.runner import Runner
from archipelag_coordinator.apps.loops.table import TABLE
from archipelag_coordinator.apps.web.app import create_pages
from archipelag_coordinator.apps.web.settings import PagesSettings
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.config import Settings
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.errors import CoordinatorError, InvalidInput, StaleAttempt
from archipelag_coordinator.ids import SystemIds
from archipelag_coordinator.services import upkeep
from archipelag_coordinator.services.bootstrap import FIRST_USER
from archipelag_coordinator.services.cancel import cancel_here
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.services.follow import look
from archipelag_coordinator.services.list_cargos import load_catalogue
from archipelag_coordinator.services.settled import settled
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

HTTP_BACKLOG: Final = 2_048
LOOKS_S: Final = (0.02, 0.03, 0.05, 0.1, 0.2)
"""Waits between looks for what another Coordinator is about to settle; after that, the loop does."""
STREAMS_END_S: Final = 3
"""How long open streams may go on after SIGTERM."""


@dataclass(frozen=True)
class Parts:
    """What was opened, with the world over it."""

    world: World
    store: PostgresStore
    connection: Connection
    bus: NatsIslandBus
    relay: NatsChunkRelay
    leader: Leader
    runner: Runner
    keys: Keys


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises OSError and the drivers' errors when it cannot start."""
    async with _open(settings) as parts:
        world = parts.world
        await upkeep.beat(world)
        await load_catalogue(world)
        await upkeep.load_fleet(world)
        known = KnownKeys(world)
        await parts.bus.listen_heartbeats(Heartbeats(world, known, parts.keys.assignment).take)
        await parts.bus.listen_ended(world.home, lambda job_id: settled(world, job_id))
        taking = Reports(world, known)
        await parts.bus.listen_reports(world.home, taking.take_here)
        await parts.bus.listen_cancels(world.home, partial(_cancel_handed, world))
        await parts.bus.listen_here(world.home)
        await parts.bus.listen_files(IslandFiles(world, UNREACHABLE).take, BUSY)
        reports = ReportQueue(parts.connection, taking.take)
        secret = _shared_secret(parts.keys, b"archipelag nonces\n")
        nonces = Nonces(secret, world.clock, os.urandom)
        address = f"{settings.grpc_host}:{settings.grpc_port}"
        enrolment, _ = await start_enrolment(EnrolmentService(world, nonces), address)
        try:
            async with asyncio.TaskGroup() as group:
                others = [
                    group.create_task(parts.leader.run(), name="leader"),
                    group.create_task(parts.runner.run(world), name="loops"),
                    group.create_task(reports.run(), name="reports"),
                    group.create_task(run_chores(lambda: _chores(settings, parts)), name="chores"),
                ]
                await _http(settings, parts).serve()
                for task in others:
                    task.cancel()
            with suppress(*UNREACHABLE):
                await upkeep.leave(world)
        finally:
            await enrolment.stop(grace=1)


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Parts]:
    clock, ids = SystemClock(), SystemIds()
    home = ids.relay(clock.now())
    keys = credentials.load_keys(settings.state_dir)
    urls = settings.nats_url.split(",")
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            PostgresStore(settings.database_url, pool_max=settings.database_pool_max)
        )
        who = _identity(keys, home, clock)
        connection = Connection(urls, who, on_connected=partial(_make_streams, settings))
        broker = NatsBroker(keys, urls, home, clock)
        relay = NatsChunkRelay(home, clock, StreamReplay(connection))
        wire = Wire(urls, who)
        for part in (connection, broker, wire):
            await part.open()
            stack.push_async_callback(part.close)
        relay.attach(wire)
        stack.push_async_callback(relay.stop)
        bus = NatsIslandBus(connection, keys.assignment)
        stack.push_async_callback(bus.close)
        blobs = _blobs(settings, connection, clock)
        if isinstance(blobs, S3Blobs):
            stack.push_async_callback(blobs.close)
        mail = _mail(settings, clock)
        if isinstance(mail, Outbox):
            stack.push_async_callback(mail.close)
        provider = _provider(settings, clock)
        if provider is not None:
            stack.push_async_callback(provider.close)
        leader = Leader(settings.database_url)
        runner = Runner(TABLE, lambda: leader.is_leader, lambda: leader.is_settled)
        world = World(
            store=store,
            door=store,
            clock=clock,
            ids=ids,
            bus=bus,
            relay=relay,
            broker=broker,
            home=home,
            policy=settings.policy,
            blobs=blobs,
            mail=mail,
            mailbox=mail if isinstance(mail, LocalMailbox) else None,
            identity_provider=provider,
            public_url=settings.people_url,
            assignment_keys=(keys.assignment.public,),
            publisher_keys=(keys.publisher.public,),
            publisher_key=keys.cosign.public,
            signer=KeyCatalogueSigner(keys.catalogue),
            registry=settings.registry,
            broker_urls=settings.broker_public_urls or tuple(urls),
            version=__version__,
            nudge=runner.nudge,
        )
        errands = _Errands()
        stack.push_async_callback(errands.close)
        relay.on_wrong = lambda job, island, epoch: errands.run(
            _end_wrong(world, job, island, epoch)
        )
        relay.on_end = lambda job, _island, _epoch: errands.run(_look_soon(world, job))
        presence = Presence(world)
        stack.push_async_callback(presence.close)
        await broker.listen_presence(presence.gone, presence.back, presence.unsure)
        yield Parts(world, store, connection, bus, relay, leader, runner, keys)


async def _make_streams(settings: Settings, connection: Connection) -> None:
    await make_streams(connection, settings.nats_replicas)
    if settings.blobs == "nats":
        await make_blob_stream(connection, settings.nats_replicas)


def _blobs(settings: Settings, connection: Connection, clock: SystemClock) -> NatsBlobs | S3Blobs:
    if settings.blobs == "nats":
        return NatsBlobs(connection)
    try:
        bucket = bucket_of(settings.blobs)
    except ValueError as error:
        raise InvalidInput({"ARCHIPELAG_BLOBS": [str(error)]}) from None
    access = Access(settings.blobs_key_id, settings.blobs_secret, bucket.region)
    return S3Blobs(bucket, access, clock.now)


def _mail(settings: Settings, clock: SystemClock) -> Outbox | LocalMailbox | None:
    if settings.local_mailbox:
        return LocalMailbox(settings.state_dir / "mailbox", clock.now)
    if not settings.smtp_url:
        return None
    errors = {}
    try:
        server = server_of(settings.smtp_url)
    except ValueError as error:
        errors["ARCHIPELAG_SMTP_URL"] = [str(error)]
    try:
        sender = sender_of(settings.mail_from)
    except ValueError as error:
        errors["ARCHIPELAG_MAIL_FROM"] = [str(error)]
    if errors:
        raise InvalidInput(errors)
    return Outbox(SmtpCarrier(server, sender, clock.now))


def _provider(settings: Settings, clock: SystemClock) -> OpenIdProvider | None:
    if not settings.oidc_issuer:
        return None
    try:
        issuer = check_issuer(settings.oidc_issuer)
    except ValueError as error:
        raise InvalidInput({"ARCHIPELAG_OIDC_ISSUER": [str(error)]}) from None
    secret = settings.oidc_client_secret
    return OpenIdProvider(issuer, settings.oidc_client_id, secret, clock.now)


def _identity(keys: Keys, home: RelayId, clock: SystemClock) -> Identity:
    return Identity(
        key=keys.coordinator_user,
        token=lambda: credentials.coordinator_token(keys, home, issued_at=clock.now()),
        inbox_prefix=credentials.inbox_of(home),
        name=str(home),
    )


def _chores(settings: Settings, parts: Parts) -> procrastinate.App:
    connector = procrastinate.PsycopgConnector(
        conninfo=settings.database_url, min_size=1, max_size=4
    )
    return chores_app(connector, parts.world, parts.store.prune_rates)


def _http(settings: Settings, parts: Parts) -> uvicorn.Server:
    # What the drivers say when their server is away: the customer gets a 503, to be tried again.
    away = (ConnectionError, TimeoutError, *UNREACHABLE, nats.errors.Error)
    links = Links(_shared_secret(parts.keys, b"archipelag links\n"))
    journeys = _shared_secret(parts.keys, b"archipelag journeys\n")
    api = ApiSettings(
        links=links, unavailable=away, journey_key=journeys, releases=settings.releases_dir
    )
    pages = create_pages(
        parts.world,
        PagesSettings(
            enrol_address=_enrol_address(settings), first_user=FIRST_USER, unavailable=away
        ),
    )
    app = create_app(
        parts.world,
        settings=api,
        broker_connected=lambda: parts.connection.connected,
        pages=pages,
        stream_says=partial(streams_say, parts.connection),
    )
    config = uvicorn.Config(
        app,
        host=settings.http_host,
        port=settings.http_port,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=HTTP_BACKLOG,
        timeout_graceful_shutdown=STREAMS_END_S,
    )
    return uvicorn.Server(config)


def _enrol_address(settings: Settings) -> str:
    """Where Islands reach us, as far as we know: where people do, and the port of enrolment."""
    host = urlsplit(settings.people_url).hostname or settings.grpc_host
    return f"{f'[{host}]' if ':' in host else host}:{settings.grpc_port}"


def _shared_secret(keys: Keys, purpose: bytes) -> bytes:
    """The same for every Coordinator of a network, and nobody else's."""
    return sha256(purpose + keys.assignment.seed()).digest()


class _Errands:
    """Owns the short tasks that callbacks start."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _cancel_handed(world: World, job_id: JobId, reason: str) -> bool:
    """A customer cancelled it at another Coordinator, which checked that it is theirs."""
    return (await cancel_here(world, job_id, reason)).finished


async def _look_soon(world: World, job_id: JobId) -> None:
    """An attempt has said its last word: whoever reads a copy of it here is told as soon as its home has settled it."""
    answer = world.answers.get(job_id)
    if answer is None or not answer.follows:
        return
    for wait_s in LOOKS_S:
        await asyncio.sleep(wait_s)
        with suppress(*UNREACHABLE):
            if await look(world, job_id):
                return


async def _end_wrong(world: World, job_id: JobId, island: IslandId, epoch: Epoch) -> None:
    """An attempt whose output broke the protocol is ended at once."""
    answer = world.answers.get(job_id)
    said = answer.attempt_end if answer else None
    cause = said.cause if said else Cause.BAD_OUTPUT
    reason = (said.error if said else "") or "the Island's output broke the protocol"
    log.warning("output_wrong job=%s island=%s epoch=%s: %s", job_id, island, epoch, reason)
    try:
        await failover(world, job_id, epoch, cause, reason)
    except StaleAttempt:
        pass
    except CoordinatorError:
        log.exception("failover_failed job=%s", job_id)
