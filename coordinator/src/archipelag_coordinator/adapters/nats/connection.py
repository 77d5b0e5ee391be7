"""One connection to the broker that outlives every fault: it reconnects for ever and brings its subscriptions along."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import nats.errors
from archipelag_contracts import streams, subjects
from archipelag_contracts.ids import RelayId
from archipelag_contracts.signing import SigningKey
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from archipelag_coordinator.adapters.nats.jwt import base64url

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 5
RECONNECT_S: Final = (0.05, 0.5)
# First wait and the longest.
GREETING_RETRY_S: Final = (0.1, 2.0)
GREETING_START_S: Final = 30.0
"""After which `open` gives up: the servers of a cluster that starts need some seconds to agree on a leader."""
PING_INTERVAL_S: Final = 5
PINGS_OUTSTANDING_MAX: Final = 2
PENDING_BYTES_MAX: Final = 16 << 20
REQUEST_TIMEOUT_S: Final = 5.0
# Reports of one Island that wait; one that floods fills up its own share and nobody else's.
REPORTS_PER_ISLAND_MAX: Final = 256
# A message id of an Island's own choosing must not silence another Island's message for long.
DUPLICATE_WINDOW_S: Final = 0.1
RELAYS_KEPT_MAX: Final = 256
"""Processes of a region whose output is kept for replay, those that ended a while ago among them."""
WRITES_MAX: Final = 20
REREAD_S: Final = (0.05, 0.4)
_ALREADY_OTHERWISE: Final = 10058  # JetStream's code: the stream stands with another configuration

OnMessage = Callable[[Msg], Awaitable[None]]


@dataclass(frozen=True)
class Identity:
    """Who connects: a key, and the token that was made for it."""

    key: SigningKey
    token: Callable[[], str]
    inbox_prefix: str
    name: str


@dataclass(frozen=True)
class _Subscription:
    subject: str
    queue: str
    on_message: OnMessage


class PatientClient(Client):
    """nats-py reads nothing more once the answer comes to a ping that was given up, and does not notice for a while."""

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pongs_received += 1
            self._pings_outstanding = 0
        else:
            await super()._process_pong()


class Connection:
    """Guards one NATS client over time. `on_connected` runs after every connect, the first one included; `on_lost` is
    called, and must not block, whenever a connection ends."""

    def __init__(
        self,
        urls: Sequence[str],
        identity: Identity,
        *,
        on_connected: Callable[[Connection], Awaitable[None]] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._urls = list(urls)
        self._identity = identity
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._client: Client | None = None
        self._subscriptions: list[_Subscription] = []
        self._closed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._hooks: set[asyncio.Task[None]] = set()

    @property
    def client(self) -> Client:
        """Ask anew each time: it changes when the broker has closed the old one for good."""
        assert self._client is not None, "open the connection first"
        return self._client

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    async def open(self) -> None:
        """Raises OSError or nats.errors.Error when the broker cannot be reached now."""
        assert self._keeper is None
        try:
            await self._connect()
        except BaseException:
            if self._client is not None:
                await self._client.close()
            raise
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self._identity.name}")

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        for hook in tuple(self._hooks):
            hook.cancel()
        if self._client is not None:
            await self._client.close()

    async def subscribe(self, subject: str, on_message: OnMessage, *, queue: str = "") -> None:
        """Stands until the connection is closed, whatever happens to the broker."""
        subscription = _Subscription(subject, queue, on_message)
        self._subscriptions.append(subscription)
        await _subscribe(self.client, subscription)
        # Twice: nats-py's first ping overtakes what it has not yet written.
        await self.client.flush(CONNECT_TIMEOUT_S)
        await self.client.flush(CONNECT_TIMEOUT_S)

    async def request(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        """Raises nats.errors.Error or TimeoutError."""
        return (await self.client.request(subject, payload, timeout=timeout_s)).data

    async def _connect(self) -> None:
        key = self._identity.key
        self._closed.clear()
        client = PatientClient()
        await client.connect(
            servers=self._urls,
            name=self._identity.name,
            user_jwt_cb=lambda: bytearray(self._identity.token().encode()),
            signature_cb=lambda nonce: base64url(key.sign(b"", nonce.encode())).encode(),
            inbox_prefix=self._identity.inbox_prefix,
            connect_timeout=CONNECT_TIMEOUT_S,
            max_reconnect_attempts=-1,
            reconnect_to_server_handler=lambda servers, _: (random.choice(servers), _jitter()),
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=PINGS_OUTSTANDING_MAX,
            pending_size=PENDING_BYTES_MAX,
            error_cb=_log_error,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            closed_cb=self._was_closed,
        )
        old, self._client = self._client, client
        if old is not None:
            await old.close()
            self._closed.clear()
        for subscription in self._subscriptions:
            await _subscribe(client, subscription)
        if self._keeper is None:
            await self._greet()
        else:
            await self._reconnected()

    async def _keep(self) -> None:
        """A client that the broker closed with an error never reconnects by itself: make a new one."""
        while True:
            await self._closed.wait()
            await asyncio.sleep(_jitter())
            try:
                await self._connect()
            except (TimeoutError, OSError, nats.errors.Error) as error:
                log.warning("broker_unreachable name=%s error=%s", self._identity.name, error)
                self._closed.set()

    async def _reconnected(self) -> None:
        # Not awaited here: nats-py reads nothing more before this returns, and greeting asks the broker something.
        for before in self._hooks:
            before.cancel()
        task = asyncio.create_task(self._greet())
        self._hooks.add(task)
        task.add_done_callback(self._hooks.discard)

    async def _greet(self) -> None:
        """Until it works: a broker that has just started may not have its streams yet."""
        client = self._client
        log.info("broker_connected name=%s", self._identity.name)
        give_up_at = asyncio.get_running_loop().time() + GREETING_START_S
        wait = GREETING_RETRY_S[0]
        while self._on_connected is not None and self._client is client:
            try:
                await self._on_connected(self)
                return
            except (OSError, nats.errors.Error) as error:
                log.warning("broker_greeting_failed name=%s error=%r", self._identity.name, error)
                if self._keeper is None and asyncio.get_running_loop().time() > give_up_at:
                    raise  # At the start, somebody is there to hear of it.
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(GREETING_RETRY_S[1], wait * 2)

    async def _was_closed(self) -> None:
        self._closed.set()

    async def _disconnected(self) -> None:
        log.info("broker_disconnected name=%s", self._identity.name)
        if self._on_lost is not None:
            self._on_lost()


async def make_streams(connection: Connection, replicas: int = 1) -> None:
    """Every stream of the contracts, as the contracts say. Idempotent; a broker may have lost them."""
    await _make([_config(stream, replicas) for stream in streams.ALL], connection)


async def make_streams_of_region(connection: Connection, relay: RelayId, replicas: int = 1) -> None:
    """The same, but the replay of output keeps what is said to this process and to others of its region, by their own
    subjects: a stream of all output would draw all other regions' over the link.

    Raises TimeoutError where others change the stream at the same time, again and again.
    """
    await _make([_config(streams.REPORTS, replicas)], connection)
    own = subjects.output_of(relay)
    for _ in range(WRITES_MAX):
        kept = [one for one in await _kept(connection) if one not in streams.OUTPUT.subjects]
        if own in kept:
            return
        config = _config(streams.OUTPUT, replicas)
        # Ids of processes grow with time: the oldest are those that are gone.
        config.subjects = sorted([*kept, own])[-RELAYS_KEPT_MAX:]
        await _make([config], connection)
        # Whoever read what we had read has overwritten it by now.
        await asyncio.sleep(random.uniform(*REREAD_S))
    raise TimeoutError(f"{streams.OUTPUT.name} is changed by others all the time")


async def _kept(connection: Connection) -> list[str]:
    """The subjects of the stream of output; none where it is not there."""
    js = connection.client.jetstream(timeout=REQUEST_TIMEOUT_S)
    try:
        return list((await js.stream_info(streams.OUTPUT.name)).config.subjects or ())
    except NotFoundError:
        return []


async def _make(configs: Iterable[StreamConfig], connection: Connection) -> None:
    js = connection.client.jetstream(timeout=REQUEST_TIMEOUT_S)
    for config in configs:
        try:
            await js.add_stream(config)
        except BadRequestError as error:
            if error.err_code != _ALREADY_OTHERWISE:
                raise
            log.info("stream_changed name=%s", config.name)
            await js.update_stream(config)


async def streams_say(connection: Connection) -> str:
    """How many messages each stream of the contracts keeps. Raises the driver's error where one does not answer."""
    js = connection.client.jetstream(timeout=REQUEST_TIMEOUT_S)
    told = []
    for stream in streams.ALL:
        found = await js.stream_info(stream.name)
        told.append(f"{stream.name} keeps {found.state.messages}")
    return ", ".join(told)


def _config(stream: streams.Stream, replicas: int) -> StreamConfig:
    refuse = stream.discard == "new"
    return StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        storage=StorageType.FILE if stream.storage == "file" else StorageType.MEMORY,
        retention=RetentionPolicy.WORK_QUEUE
        if stream.retention == "workqueue"
        else RetentionPolicy.LIMITS,
        max_age=stream.age_max_s,
        max_bytes=stream.bytes_max,
        max_msg_size=stream.message_bytes_max,
        discard=DiscardPolicy.NEW if refuse else DiscardPolicy.OLD,
        discard_new_per_subject=refuse,
        max_msgs_per_subject=REPORTS_PER_ISLAND_MAX if refuse else -1,
        duplicate_window=DUPLICATE_WINDOW_S,
        allow_direct=True,
        # An acknowledgement goes where the Island's message says, under any subject: only reports need one.
        no_ack=not refuse,
        deny_delete=False,
        allow_rollup_hdrs=False,
        num_replicas=replicas,
    )


async def _subscribe(client: Client, subscription: _Subscription) -> None:
    await client.subscribe(
        subscription.subject, queue=subscription.queue, cb=subscription.on_message
    )


async def _log_error(error: Exception) -> None:
    log.warning("broker_error error=%r", error)


def _jitter() -> float:
    return random.uniform(*RECONNECT_S)
