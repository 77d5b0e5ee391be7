"""The gRPC door for hosts that have no broker credentials yet: a nonce, then enrol or renew, each signed."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import grpc
from archipelag_contracts.errors import BadId, BadSignature
from archipelag_contracts.ids import island_id
from archipelag_contracts.pb.archipelag.v1 import enrolment_pb2 as pb
from archipelag_contracts.pb.archipelag.v1 import enrolment_pb2_grpc as rpc
from archipelag_contracts.signing import verify

from archipelag_coordinator.apps.islands.decode import capabilities_of
from archipelag_coordinator.apps.islands.nonces import Nonces
from archipelag_coordinator.errors import (
    CoordinatorError,
    InvalidInput,
    IslandRefused,
    PairingRefused,
    RateLimited,
)
from archipelag_coordinator.services.enroll import Enrolled, enroll, renew
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

REQUEST_BYTES_MAX: Final = 64 << 10
CALLS_AT_ONCE_MAX: Final = 256
PAIRINGS_PER_MINUTE: Final = 10
RENEWALS_PER_MINUTE: Final = 12
"""Of one Island."""
CODE_MAX: Final = 16
NAME_MAX: Final = 256

ENROL_PREFIX: Final = b"archipelag.v1.enrol\n"
RENEW_PREFIX: Final = b"archipelag.v1.renew\n"

Context = grpc.aio.ServicerContext[Any, Any]


class _Refused(Exception):
    """An answer for the caller."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class EnrolmentService(rpc.EnrolmentServicer):
    """Checks who calls; the verbs decide."""

    def __init__(self, world: World, nonces: Nonces) -> None:
        self._world = world
        self._nonces = nonces

    async def Challenge(  # noqa: N802
        self,
        request: pb.ChallengeRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.ChallengeReply:
        now = self._world.clock.now()
        return pb.ChallengeReply(nonce=self._nonces.give(), at_ms=int(now.timestamp() * 1000))

    async def Enrol(self, request: pb.EnrolRequest, context: Context) -> pb.EnrolReply:  # noqa: N802
        return await _answer(context, self._enrol, request)

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.EnrolReply:  # noqa: N802
        return await _answer(context, self._renew, request)

    async def _enrol(self, request: pb.EnrolRequest, peer: str) -> pb.EnrolReply:
        # Six characters can be guessed where guessing is free, so it is counted before anything is looked at.
        await self._count(f"pair:{peer}", PAIRINGS_PER_MINUTE, "pairing attempts a minute")
        if len(request.pairing_code) > CODE_MAX or len(request.name) > NAME_MAX:
            raise _Refused(
                grpc.StatusCode.INVALID_ARGUMENT, "the pairing code or the name is too long"
            )
        signed = request.nonce + b"\n" + request.pairing_code.encode()
        # The signature is looked at first: nobody else can use up an Island's nonce.
        self._check_signature(request.public_key, ENROL_PREFIX, signed, request.signature)
        self._use_up(request.nonce)
        enrolled = await enroll(
            self._world,
            pairing_code=request.pairing_code,
            public_key=request.public_key,
            name=request.name,
            capabilities=capabilities_of(request.capabilities),
        )
        log.info("island_enrolled island=%s peer=%s", enrolled.island.id, peer)
        return self._reply(enrolled)

    async def _renew(self, request: pb.RenewRequest, peer: str) -> pb.EnrolReply:
        del peer  # All Islands may come through one proxy: what a stranger says there must keep nobody out.
        try:
            island = island_id(request.island_id)
        except BadId as error:
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        signed = request.nonce + b"\n" + request.island_id.encode()

        def holds(public_key: bytes) -> None:
            self._check_signature(public_key, RENEW_PREFIX, signed, request.signature)

        enrolled = await renew(self._world, island, holds)
        # Counted where the Island has shown itself, and before a nonce is used up: there is room for so many only.
        await self._count(f"renew:{island}", RENEWALS_PER_MINUTE, "renewals a minute")
        self._use_up(request.nonce)
        return self._reply(enrolled)

    async def _count(self, bucket: str, per_minute: int, what: str) -> None:
        world = self._world
        wait_s = await world.door.count(bucket, world.clock.now(), per_minute)
        if wait_s is not None:
            raise RateLimited(wait_s, f"{per_minute} {what}")

    def _check_signature(
        self, public_key: bytes, prefix: bytes, signed: bytes, signature: bytes
    ) -> None:
        """Raises _Refused."""
        try:
            verify(public_key, prefix, signed, signature)
        except BadSignature:
            raise _Refused(
                grpc.StatusCode.UNAUTHENTICATED,
                "the signature does not hold: it must be made with the Island's own key over a fresh nonce",
            ) from None

    def _use_up(self, nonce: bytes) -> None:
        """Raises _Refused."""
        if not self._nonces.take(nonce):
            raise _Refused(
                grpc.StatusCode.UNAUTHENTICATED,
                "the nonce was used or is older than a minute: ask for a new one and try again",
            )

    def _reply(self, enrolled: Enrolled) -> pb.EnrolReply:
        world = self._world
        return pb.EnrolReply(
            island_id=enrolled.island.id,
            broker_urls=world.broker_urls,
            broker_jwt=enrolled.broker_jwt,
            broker_jwt_expires_at=int(enrolled.expires_at.timestamp()),
            assignment_keys=world.assignment_keys,
            publisher_keys=world.publisher_keys,
            catalogue_keys=[world.signer.public] if world.signer else [],
            approved=enrolled.island.approved,
        )


def bind_enrolment(
    address: str, *, credentials: grpc.ServerCredentials | None = None, shared: bool = False
) -> tuple[grpc.aio.Server, int]:
    """A server at `host:port`, port 0 for any that is free, that does not answer yet; and the port that it got.
    `shared`: beside other processes that share it, too.

    Without `credentials` it speaks plain text: for loopback, or behind something that speaks TLS.
    Raises OSError when the address cannot be used.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
            ("grpc.so_reuseport", int(shared)),
        ],
        maximum_concurrent_rpcs=CALLS_AT_ONCE_MAX,
    )
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError:
        raise OSError(
            f"cannot listen for Islands at {address}: another program does, or this machine has no such address; "
            "ARCHIPELAG_GRPC_HOST and ARCHIPELAG_GRPC_PORT name another"
        ) from None
    return server, port


async def start_enrolment(server: grpc.aio.Server, service: EnrolmentService) -> None:
    """From here on Islands are answered."""
    rpc.add_EnrolmentServicer_to_server(service, server)
    await server.start()


async def _answer(context: Context, verb: Callable[[Any, str], Any], request: Any) -> pb.EnrolReply:
    """The one map from errors to gRPC's codes; each message says what to do."""
    try:
        reply: pb.EnrolReply = await verb(request, _peer(context.peer()))
    except _Refused as refused:
        await context.abort(refused.code, str(refused))
    except PairingRefused as refused:
        stood = "used" in refused.reason or "expired" in refused.reason
        code = grpc.StatusCode.FAILED_PRECONDITION if stood else grpc.StatusCode.NOT_FOUND
        await context.abort(code, f"{refused}: make a new one in your account and pair with it")
    except IslandRefused as refused:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(refused))
    except InvalidInput as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except RateLimited as limited:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(limited))
    except CoordinatorError as error:
        log.exception("enrolment_failed")
        await context.abort(grpc.StatusCode.INTERNAL, str(error))
    except Exception:
        # The door's own catch: the caller learns nothing of our inside, the log does.
        log.exception("enrolment_failed")
        await context.abort(
            grpc.StatusCode.UNAVAILABLE, "the Coordinator cannot do this now: try again in a while"
        )
    return reply


def _peer(peer: str) -> str:
    """The caller's address as one that can be counted: a /64 of IPv6 is one host's to vary."""
    text = unquote(peer)
    kind, _, rest = text.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return kind
    host = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)
