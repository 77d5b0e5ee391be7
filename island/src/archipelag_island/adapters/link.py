"""The line to the Coordinators: one NATS connection that comes back for ever, as this Island and nobody else."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from archipelag_contracts import subjects
from archipelag_contracts.errors import ContractError
from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId
from archipelag_contracts.signing import SigningKey
from archipelag_contracts.traces import TRACEPARENT
from nats import errors as nats_errors
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.js import errors as js_errors

from archipelag_island.adapters import codec
from archipelag_island.domain.attempt import (
    Assignment,
    Cancel,
    Chunk,
    Refusal,
    RefusalCode,
    Report,
    Room,
)
from archipelag_island.domain.backoff import Backoff
from archipelag_island.domain.beat import Beat, BeatReply
from archipelag_island.errors import BrokerUnreachable, NoAnswer
from archipelag_island.services.ports import NoTraces, Traces

log = logging.getLogger(__name__)

HEARTBEAT_TIMEOUT_S: Final = 3.0
REPORT_TIMEOUT_S: Final = 5.0
# The answer to a file's last part comes after the Coordinator has read all of it back.
FILE_TIMEOUT_S: Final = 60.0
RTT_TIMEOUT_S: Final = 2.0
CONNECT_TIMEOUT_S: Final = 5
# A dead line is noticed after two pings without an answer.
PING_S: Final = 3
# The first try after a lost line: soon, since a stream waits for it, and never for a whole fleet at once.
FIRST_TRY_S: Final = (0.02, 0.2)
# Later ones: a stream that runs here is given up by the Coordinator soon after it is back itself.
NEXT_TRIES_S: Final = (0.4, 2.0)
NONCE: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
NUMBER_DIGITS_MAX: Final = 20
PENDING_BYTES_MAX: Final = 4 << 20


@dataclass(frozen=True)
class Credentials:
    """What this Island shows the broker; read at each connection, since it is renewed."""

    urls: tuple[str, ...]
    jwt: str
    """Empty for a broker without accounts, as in tests."""
    assignment_keys: tuple[bytes, ...]
    hears_catalogue: bool = False
    """The JWT permits to hear that a new catalogue stands."""


class PatientClient(Client):
    """nats-py reads nothing more once the answer comes to a ping that was given up, and does not notice for a while."""

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pongs_received += 1
            self._pings_outstanding = 0
        else:
            await super()._process_pong()


class NatsLink:
    """`accept` and `cancel` are called for what a trusted Coordinator sends; they must not wait. `room` is what an
    answer to an assignment says of free slots.

    `sent` hears of every payload's size, `catalogue_changed` of the newest catalogue's number.
    """

    def __init__(
        self,
        *,
        island: IslandId,
        key: SigningKey,
        credentials: Callable[[], Credentials],
        accept: Callable[[Assignment], Refusal | None],
        room: Callable[[Assignment], Room | None],
        cancel: Callable[[Cancel], bool],
        up: Callable[[], None],
        refused: Callable[[], None],
        chance: Random,
        sent: Callable[[int], None] = lambda _: None,
        catalogue_changed: Callable[[int], None] = lambda _: None,
        traces: Traces | None = None,
    ) -> None:
        self._island = island
        self._key = key
        self._credentials = credentials
        self._accept = accept
        self._room = room
        self._cancel = cancel
        self._up = up
        self._refused = refused
        self._chance = chance
        self._sent = sent
        self._catalogue_changed = catalogue_changed
        self._traces = traces or NoTraces()
        self._client: Client | None = None
        self._opening = False
        self._standing = False
        """The line stands, and `up` was called since it does."""
        self._tries = Backoff(*NEXT_TRIES_S, chance)
        self._lost = False
        self._rtt_us = 0
        self._given_up = asyncio.Event()

    async def run(self) -> None:
        """Keeps the connection until cancelled."""
        backoff = Backoff(0.2, 10.0, self._chance)
        try:
            while True:
                try:
                    self._client = await self._connect()
                except (OSError, TimeoutError, nats_errors.Error) as error:
                    log.warning("broker_unreachable error=%s", error or type(error).__name__)
                    await asyncio.sleep(backoff.next_s())
                    continue
                backoff.reset()
                log.info("broker_connected url=%s", _shown(self._client))
                self._stands()
                await self._given_up.wait()
                log.warning("broker_connection_closed")
                await _close(self._client)
                await asyncio.sleep(backoff.next_s())
        finally:
            await self.close()

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None and not client.is_closed:
            try:
                async with asyncio.timeout(1.0):
                    await client.flush()
            except (TimeoutError, OSError, nats_errors.Error):
                log.debug("broker_not_flushed")
            await _close(client)

    async def refresh(self) -> None:
        """Connects anew, with credentials as they are now."""
        if self._client is not None and self._client.is_connected:
            await self._client.force_reconnect()

    async def _connect(self) -> Client:
        """Tries once; afterwards the client comes back by itself, until its credentials are refused."""
        self._given_up = given_up = asyncio.Event()
        self._opening = True
        credentials = self._credentials()
        options: dict[str, Any] = {}
        if credentials.jwt:
            options["user_jwt_cb"] = self._jwt
            options["signature_cb"] = self._sign

        async def on_closed() -> None:
            given_up.set()

        client = PatientClient()
        try:
            await client.connect(
                servers=list(credentials.urls),
                name=f"island {self._island}",
                inbox_prefix=subjects.inbox_prefix(self._island),
                connect_timeout=CONNECT_TIMEOUT_S,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_to_server_handler=self._next_try,
                ping_interval=PING_S,
                max_outstanding_pings=2,
                pending_size=PENDING_BYTES_MAX,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                closed_cb=on_closed,
                **options,
            )
            await client.subscribe(subjects.assign(self._island), cb=self._on_assign)
            await client.subscribe(subjects.cancel(self._island), cb=self._on_cancel)
            await client.flush()
        except BaseException:
            await _close(client)
            raise
        finally:
            self._opening = False
        if credentials.hears_catalogue:
            # After the opening: a broker that does not permit it yet is no reason not to work.
            await client.subscribe(subjects.CATALOGUE_CHANGED, cb=self._on_catalogue)
        return client

    def _jwt(self) -> bytes:
        return self._credentials().jwt.encode()

    def _sign(self, nonce: str) -> bytes:
        # NATS signs the bare nonce: the one place where this key signs without our prefix. Every message of ours
        # begins with its kind's name and a line break, which no nonce has: so neither can stand for the other.
        if not NONCE.fullmatch(nonce):
            raise nats_errors.Error("what the broker wants signed is not a nonce")
        return base64.b64encode(self._key.sign(b"", nonce.encode()))

    async def _on_error(self, error: Exception) -> None:
        refused = "auth" in str(error).lower()
        if refused:
            log.warning("broker_refused error=%s", error)
            self._refused()
        else:
            log.warning("broker_error error=%s", error or type(error).__name__)
        if self._opening:
            # Ends the client's own loop, which would try on without our backoff and lose a socket each time.
            raise error
        if refused:
            self._given_up.set()

    async def _on_disconnected(self) -> None:
        log.warning("broker_disconnected")
        self._standing = False
        self._lost = True
        if self._client is not None:
            # What the old line did not take must not come first on the new one: all is said again, in order.
            self._client._pending.clear()
            self._client._pending_data_size = 0

    async def _on_reconnected(self) -> None:
        log.info("broker_reconnected")
        self._stands()

    def _stands(self) -> None:
        self._standing = True
        self._tries.reset()
        self._up()

    def _next_try(self, servers: list[Server], _: dict[str, Any]) -> tuple[Server | None, float]:
        """Which server of the broker to try next, and after how long a wait."""
        first, self._lost = self._lost, False
        wait_s = self._chance.uniform(*FIRST_TRY_S) if first else self._tries.next_s()
        return self._chance.choice(servers), wait_s

    async def _on_assign(self, message: Msg) -> None:
        try:
            assignment = codec.read_assignment(message.data, self._credentials().assignment_keys)
        except ContractError as error:
            log.warning("assignment_not_trusted error=%s", error)
            refusal: Refusal | None = Refusal(RefusalCode.BAD_SIGNATURE, str(error))
            room = None
        else:
            with self._traces.within((message.headers or {}).get(TRACEPARENT, "")):
                refusal = self._accept(assignment)
            room = self._room(assignment)
        if message.reply:
            await self._publish(message.reply, codec.assignment_reply(refusal, room))

    async def _on_cancel(self, message: Msg) -> None:
        try:
            self._cancel(codec.read_cancel(message.data, self._credentials().assignment_keys))
        except ContractError as error:
            log.warning("cancel_not_trusted error=%s", error)

    async def _on_catalogue(self, message: Msg) -> None:
        """Not signed: at worst we ask once too often."""
        if message.data.isdigit() and len(message.data) <= NUMBER_DIGITS_MAX:
            self._catalogue_changed(int(message.data))

    async def heartbeat(self, beat: Beat) -> BeatReply:
        client = self._connected()
        await self._measure(client)
        subject = subjects.heartbeat(self._island)
        sealed = codec.seal_beat(self._key, beat)
        self._sent(len(sealed))
        try:
            reply = await client.request(subject, sealed, timeout=HEARTBEAT_TIMEOUT_S)
        except nats_errors.NoRespondersError:
            raise NoAnswer("no Coordinator listens for heartbeats") from None
        except (TimeoutError, nats_errors.TimeoutError):
            raise NoAnswer("no Coordinator answered the heartbeat in time") from None
        except (OSError, nats_errors.Error) as error:
            raise BrokerUnreachable(str(error)) from error
        return codec.read_beat_reply(reply.data, self._credentials().assignment_keys)

    async def _measure(self, client: Client) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(RTT_TIMEOUT_S):
                await client.flush()
        except (TimeoutError, OSError, nats_errors.Error):
            raise BrokerUnreachable("the broker does not answer pings") from None
        self._rtt_us = int((time.perf_counter() - began) * 1e6)

    async def send(self, relay: RelayId, job: JobId, epoch: Epoch, chunk: Chunk) -> None:
        await self._publish(subjects.out(self._island, relay, job, epoch), codec.chunk(chunk))

    def seal(self, report: Report) -> bytes:
        return codec.seal_report(self._key, report)

    async def deliver(self, sealed: bytes) -> None:
        client = self._connected()
        self._sent(len(sealed))
        try:
            await client.jetstream(timeout=REPORT_TIMEOUT_S).publish(
                subjects.report(self._island), sealed
            )
        except js_errors.NoStreamResponseError:
            raise NoAnswer("the broker has no stream for reports yet") from None
        except (TimeoutError, nats_errors.TimeoutError):
            raise NoAnswer("the report was not acknowledged in time") from None
        except js_errors.APIError as error:
            raise NoAnswer(f"the broker did not take the report: {error.description}") from None
        except (OSError, nats_errors.Error) as error:
            raise BrokerUnreachable(str(error)) from error

    async def ask_files(self, request: bytes) -> bytes:
        """A request for a part of a file, or with one. Raises BrokerUnreachable or NoAnswer."""
        client = self._connected()
        self._sent(len(request))
        try:
            subject = subjects.files(self._island)
            return (await client.request(subject, request, timeout=FILE_TIMEOUT_S)).data
        except nats_errors.NoRespondersError:
            raise NoAnswer("no Coordinator serves files") from None
        except (TimeoutError, nats_errors.TimeoutError):
            raise NoAnswer("no Coordinator answered about a file in time") from None
        except (OSError, nats_errors.Error) as error:
            raise BrokerUnreachable(str(error) or type(error).__name__) from error

    def rtt_us(self) -> int:
        return self._rtt_us

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    def _connected(self) -> Client:
        if self._client is None or not self._client.is_connected:
            raise BrokerUnreachable("not connected to the broker")
        return self._client

    async def _publish(self, subject: str, data: bytes) -> None:
        # Nothing waits for the line to come back: a run says all of it again, and replies would be too late.
        if self._client is None or not self._standing or not self._client.is_connected:
            raise BrokerUnreachable("not connected to the broker")
        self._sent(len(data))
        try:
            await self._client.publish(subject, data)
        except (OSError, nats_errors.Error) as error:
            raise BrokerUnreachable(str(error) or type(error).__name__) from error


async def _close(client: Client) -> None:
    """To the end, also when we are cancelled meanwhile: a client that was half closed keeps its socket.

    Raises nothing of the line's: that it was reset meanwhile must not stand in the place of a cancellation.
    """
    closing = asyncio.create_task(_closed(client))
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise


async def _closed(client: Client) -> None:
    with contextlib.suppress(OSError, nats_errors.Error):
        await client.close()


def _shown(client: Client) -> str:
    url = client.connected_url
    return f"{url.hostname}:{url.port}" if url else "?"
