"""Puts a running Coordinator together: adapters behind the ports, apps in front of the verbs, and their tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

import nats.errors
import procrastinate
import uvicorn
from archipelag_contracts.ending import end_tasks
from archipelag_contracts.ids import RelayId
from archipelag_contracts.traces import Tracer, TracesMissing

from archipelag_coordinator import __version__
from archipelag_coordinator.adapters.catalogue_signer import KeyCatalogueSigner
from archipelag_coordinator.adapters.core import core_wanted_s
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
    make_streams_of_region,
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
from archipelag_coordinator.adapters.telemetry.broker import BrokerMonitor
from archipelag_coordinator.adapters.telemetry.lag import Lag
from archipelag_coordinator.adapters.telemetry.metrics import Metrics
from archipelag_coordinator.adapters.telemetry.own_figures import Innards, Written
from archipelag_coordinator.adapters.telemetry.spans import Spans
from archipelag_coordinator.apps.api.app import ApiSettings, create_app
from archipelag_coordinator.apps.api.direct import DirectProtocol
from archipelag_coordinator.apps.api.links import Links
from archipelag_coordinator.apps.api.pace import Pace
from archipelag_coordinator.apps.api.server import LeavingServer, bind
from archipelag_coordinator.apps.background.chores import chores_app, run_chores
from archipelag_coordinator.apps.islands.enrolment import (
    EnrolmentService,
    bind_enrolment,
    start_enrolment,
)
from archipelag_coordinator.apps.islands.files import BUSY, IslandFiles
from archipelag_coordinator.apps.islands.heartbeats import Heartbeats
from archipelag_coordinator.apps.islands.known import KnownKeys
from archipelag_coordinator.apps.islands.nonces import Nonces
from archipelag_coordinator.apps.islands.reports import Reports
from archipelag_coordinator.apps.loops.runner import Runner
from archipelag_coordinator.apps.loops.table import TABLE
from archipelag_coordinator.apps.ops.metrics import MetricsDoor
from archipelag_coordinator.apps.web.app import create_pages
from archipelag_coordinator.apps.web.settings import PagesSettings
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.config import Settings
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.place_tokens import PlaceTokens
from archipelag_coordinator.errands import cancel_handed, leave, look_after
from archipelag_coordinator.errors import InvalidInput
from archipelag_coordinator.ids import SystemIds
from archipelag_coordinator.services import upkeep
from archipelag_coordinator.services.bootstrap import FIRST_USER
from archipelag_coordinator.services.known_callers import KnownCallers
from archipelag_coordinator.services.list_cargos import load_catalogue
from archipelag_coordinator.services.ports_of_files import Blobs
from archipelag_coordinator.services.ports_of_traces import NoTraces
from archipelag_coordinator.services.settled import settled
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

HTTP_BACKLOG: Final = 2_048
STREAMS_END_S: Final = 3.0
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
    door: KnownCallers
    monitor: BrokerMonitor | None
    pace: Pace = field(default_factory=partial(Pace, spent=core_wanted_s))
    lag: Lag = field(default_factory=Lag)


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises OSError and the drivers' errors when it cannot start.

    The ports come first: nobody is told of a Coordinator that cannot be reached.
    """
    sockets = _sockets(settings)
    address = f"{settings.grpc_host}:{settings.grpc_port}"
    enrolment, _ = bind_enrolment(address, shared=settings.worker > 0)
    async with _open(settings) as parts:
        metrics = _metrics(parts)
        world = replace(parts.world, figures=metrics)
        await upkeep.beat(world)
        await load_catalogue(world)
        await upkeep.load_fleet(world)
        known = KnownKeys(world)
        await parts.bus.listen_heartbeats(Heartbeats(world, known, parts.keys.assignment).take)
        await parts.bus.listen_ended(world.home, lambda job_id: settled(world, job_id))
        taking = Reports(world, known)
        await parts.bus.listen_reports(world.home, taking.take_here)
        await parts.bus.listen_cancels(world.home, partial(cancel_handed, world))
        await parts.bus.listen_here(world.home)
        await parts.bus.listen_files(IslandFiles(world, UNREACHABLE).take, BUSY)
        reports = ReportQueue(parts.connection, taking.take, taking.all_taken)
        secret = _shared_secret(parts.keys, b"archipelag nonces\n")
        nonces = Nonces(secret, world.clock, os.urandom)
        await start_enrolment(enrolment, EnrolmentService(world, nonces))
        try:
            async with asyncio.TaskGroup() as group:
                others = [
                    group.create_task(parts.leader.run(), name="leader"),
                    group.create_task(parts.runner.run(world), name="loops"),
                    group.create_task(parts.lag.run(), name="lag"),
                    group.create_task(reports.run(), name="reports"),
                    group.create_task(run_chores(lambda: _chores(settings, parts)), name="chores"),
                ]
                server = _http(settings, parts, metrics, partial(leave, parts.runner, world))
                await server.serve(sockets)
                await end_tasks(others)
            await leave(parts.runner, world)
        finally:
            await enrolment.stop(grace=1)


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Parts]:
    clock, ids, fleet = SystemClock(), SystemIds(), Fleet()
    home = ids.relay(clock.now())
    keys = credentials.load_keys(settings.state_dir)
    urls = settings.nats_url.split(",")
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            PostgresStore(settings.database_url, pool_max=settings.database_pool_max)
        )
        who = _identity(keys, home, clock)
        door = KnownCallers(
            store,
            clock,
            settings.policy.caller_known_s,
            hears=lambda: connection.connected and fleet.reaches_all,
        )
        greet = partial(_make_streams, settings, home)
        connection = Connection(urls, who, on_connected=greet, on_lost=door.forget)
        broker = NatsBroker(keys, urls, home, clock)
        relay = NatsChunkRelay(home, clock, StreamReplay(connection, clock))
        wire = Wire(urls, who)
        for line in (connection, broker, wire):
            await line.open()
            stack.push_async_callback(line.close)
        relay.attach(wire)
        stack.push_async_callback(relay.stop)
        bus = NatsIslandBus(connection, keys.assignment)
        stack.push_async_callback(bus.close)
        blobs = _blobs(settings, connection, clock)
        mail, provider = _mail(settings, clock), _provider(settings, clock)
        monitor = BrokerMonitor(settings.nats_monitor_urls) if settings.nats_monitor_urls else None
        _close_with(stack, blobs, mail, provider, monitor)
        leader = Leader(settings.database_url)
        runner = Runner(TABLE, lambda: leader.is_leader, lambda: leader.is_settled)
        world = World(
            store=store,
            door=door,
            clock=clock,
            ids=ids,
            bus=bus,
            relay=relay,
            broker=broker,
            home=home,
            region=settings.region,
            policy=settings.policy,
            fleet=fleet,
            blobs=blobs,
            mail=mail,
            mailbox=mail if isinstance(mail, LocalMailbox) else None,
            identity_provider=provider,
            public_url=settings.people_url,
            prompt_secret=_shared_secret(keys, b"archipelag prompts\n"),
            assignment_keys=(keys.assignment.public,),
            publisher_keys=(keys.publisher.public,),
            publisher_key=keys.cosign.public,
            signer=KeyCatalogueSigner(keys.catalogue),
            registry=settings.registry,
            broker_urls=settings.broker_public_urls or tuple(urls),
            version=__version__,
            nudge=runner.nudge,
            traces=_traces(settings, home, clock, stack),
            place_tokens=PlaceTokens(_shared_secret(keys, b"archipelag places\n")),
        )
        await look_after(world, runner, relay, bus, broker, stack)
        await bus.listen_keys_changed(door.forget)
        yield Parts(world, store, connection, bus, relay, leader, runner, keys, door, monitor)


def _close_with(stack: AsyncExitStack, *parts: object) -> None:
    for part in parts:
        if isinstance(part, S3Blobs | Outbox | OpenIdProvider | BrokerMonitor):
            stack.push_async_callback(part.close)


async def _make_streams(settings: Settings, home: RelayId, connection: Connection) -> None:
    if settings.region:
        await make_streams_of_region(connection, home, settings.nats_replicas)
    else:
        await make_streams(connection, settings.nats_replicas)
    if settings.keeps_blobs:
        await make_blob_stream(connection, settings.nats_replicas)


def _blobs(settings: Settings, connection: Connection, clock: SystemClock) -> NatsBlobs | S3Blobs:
    if settings.blobs_over_nats:
        return NatsBlobs(connection, settings.blobs_region)
    return _bucket(settings, clock)


def _bucket(settings: Settings, clock: SystemClock) -> S3Blobs:
    try:
        bucket = bucket_of(settings.blobs)
    except ValueError as error:
        raise InvalidInput({"ARCHIPELAG_BLOBS": [str(error)]}) from None
    access = Access(settings.blobs_key_id, settings.blobs_secret, bucket.region)
    return S3Blobs(bucket, access, clock.now)


@asynccontextmanager
async def opened_blobs(settings: Settings) -> AsyncIterator[Blobs]:
    """The store of files by itself, for whoever backs it up. Raises ConnectionError where the broker is not there."""
    clock = SystemClock()
    if not settings.blobs_over_nats:
        bucket = _bucket(settings, clock)
        try:
            yield bucket
        finally:
            await bucket.close()
        return
    keys = credentials.load_keys(settings.state_dir)
    who = _identity(keys, SystemIds().relay(clock.now()), clock)
    connection = Connection(settings.nats_url.split(","), who)
    try:
        try:
            await connection.open()
            if settings.keeps_blobs:
                await make_blob_stream(connection, settings.nats_replicas)
        except (nats.errors.Error, TimeoutError) as error:
            why = f"the broker, which keeps the files, does not answer: {error!r}"
            raise ConnectionError(why) from error
        yield NatsBlobs(connection, settings.blobs_region)
    finally:
        await connection.close()


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


def _http(
    settings: Settings, parts: Parts, metrics: Metrics, on_leaving: Callable[[], Awaitable[None]]
) -> LeavingServer:
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
        pace=parts.pace,
        stream_says=partial(streams_say, parts.connection),
    )
    config = uvicorn.Config(
        MetricsDoor(
            app,
            metrics.page,
            settings.metrics_token,
            shared_port=settings.http_port if settings.worker else 0,
        ),
        host=settings.http_host,
        port=settings.http_port,
        loop="none",
        http=DirectProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=HTTP_BACKLOG,
    )
    return LeavingServer(config, on_leaving, STREAMS_END_S)


def _traces(
    settings: Settings, home: RelayId, clock: SystemClock, stack: AsyncExitStack
) -> Spans | NoTraces:
    if not settings.traces_url:
        return NoTraces()
    about = {"service.version": __version__, "service.instance.id": home}
    sampled = settings.traces_sampled
    try:
        tracer = Tracer("archipelag-coordinator", settings.traces_url, sampled=sampled, about=about)
    except TracesMissing as error:
        raise InvalidInput({"ARCHIPELAG_TRACES_URL": [str(error)]}) from None
    stack.push_async_callback(asyncio.to_thread, tracer.close)
    return Spans(tracer, clock)


def _metrics(parts: Parts) -> Metrics:
    counts, pace, door = parts.relay.counts, parts.pace, parts.door
    innards = Innards(
        relay=lambda: asdict(counts),
        written=lambda: Written(pace.writes, pace.held, pace.hold_s, pace.load),
        callers=lambda: {"asked": door.asked, "known": door.known},
        pool=parts.store.pool_counts,
        leads=lambda: parts.leader.is_leader,
        connected=lambda: parts.connection.connected,
        lag_s=parts.lag.longest_s,
    )
    return Metrics(parts.world, innards, parts.store.server, parts.store.books, parts.monitor)


def _sockets(settings: Settings) -> list[socket.socket]:
    """The port of HTTP, and a worker's own beside the one that all share, where it can be asked about itself. Raises
    OSError."""
    shared = settings.worker > 0
    sockets = [bind(settings.http_host, settings.http_port, "ARCHIPELAG_HTTP_PORT", shared=shared)]
    if shared and settings.worker_port:
        own = settings.worker_port + settings.worker - 1
        sockets.append(bind(settings.http_host, own, "ARCHIPELAG_WORKER_PORT", shared=True))
    return sockets


def _enrol_address(settings: Settings) -> str:
    """Where Islands reach us, as far as we know: where people do, and the port of enrolment."""
    host = urlsplit(settings.people_url).hostname or settings.grpc_host
    return f"{f'[{host}]' if ':' in host else host}:{settings.grpc_port}"


def _shared_secret(keys: Keys, purpose: bytes) -> bytes:
    """The same for every Coordinator of a network, and nobody else's."""
    return sha256(purpose + keys.assignment.seed()).digest()
