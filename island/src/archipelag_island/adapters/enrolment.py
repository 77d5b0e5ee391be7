"""Enrolment over gRPC: a nonce, a signature, and in return this Island's broker credentials."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import grpc
import grpc.aio
from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import IslandId
from archipelag_contracts.pb.archipelag.v1 import enrolment_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.enrolment_pb2_grpc import EnrolmentStub
from archipelag_contracts.signing import SigningKey

from archipelag_island.adapters import codec
from archipelag_island.domain.capability import Capabilities
from archipelag_island.errors import CoordinatorUnreachable, EnrolmentRefused
from archipelag_island.services.ports import Standing

TIMEOUT_S: Final = 10.0

# What the owner can do about each; other codes are worth another try.
_REFUSALS: Final = {
    grpc.StatusCode.NOT_FOUND: "the pairing code is not known: look for typing errors, or make a new one",
    grpc.StatusCode.FAILED_PRECONDITION: "the pairing code was used or has expired ({}); make a new one",
    grpc.StatusCode.PERMISSION_DENIED: "the Coordinator refuses this Island ({}); ask its operator",
    grpc.StatusCode.INVALID_ARGUMENT: "the Coordinator does not accept what this agent says ({}); update it",
    grpc.StatusCode.UNAUTHENTICATED: "the Coordinator does not accept this Island's signature ({}); "
    "if its key file was replaced, remove identity.json and enrol anew",
}

_REASONS: Final = {
    "WRONG_VERSION_NUMBER": "it speaks no TLS there, so leave https:// away",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not one that this machine trusts",
    "onnection refused": "nothing listens there",
    "omain name not found": "there is no host of that name",
    "hostname lookup": "there is no host of that name",
}


class GrpcEnrolment:
    """`coordinator` is host:port, with https:// in front for TLS."""

    def __init__(self, coordinator: str, key: SigningKey) -> None:
        self._coordinator = coordinator
        self._key = key

    async def enrol(self, pairing_code: str, name: str, capabilities: Capabilities) -> Standing:
        async with self._channel() as channel:
            stub = EnrolmentStub(channel)
            try:
                nonce = (await stub.Challenge(pb.ChallengeRequest(), timeout=TIMEOUT_S)).nonce
                signed = nonce + b"\n" + pairing_code.encode()
                request = pb.EnrolRequest(
                    pairing_code=pairing_code,
                    public_key=self._key.public,
                    name=name,
                    capabilities=codec.capabilities(capabilities),
                    nonce=nonce,
                    signature=self._key.sign(b"archipelag.v1.enrol\n", signed),
                )
                return _standing(await stub.Enrol(request, timeout=TIMEOUT_S))
            except grpc.aio.AioRpcError as error:
                raise self._explained(error) from error

    async def renew(self, island: IslandId) -> Standing:
        async with self._channel() as channel:
            stub = EnrolmentStub(channel)
            try:
                nonce = (await stub.Challenge(pb.ChallengeRequest(), timeout=TIMEOUT_S)).nonce
                signed = nonce + b"\n" + island.encode()
                request = pb.RenewRequest(
                    island_id=island,
                    nonce=nonce,
                    signature=self._key.sign(b"archipelag.v1.renew\n", signed),
                )
                return _standing(await stub.Renew(request, timeout=TIMEOUT_S))
            except grpc.aio.AioRpcError as error:
                raise self._explained(error) from error

    async def reachable(self, timeout_s: float = TIMEOUT_S) -> datetime | None:
        """What its clock says; None where it does not say. Raises CoordinatorUnreachable."""
        async with self._channel() as channel:
            try:
                reply = await EnrolmentStub(channel).Challenge(
                    pb.ChallengeRequest(), timeout=timeout_s
                )
            except grpc.aio.AioRpcError as error:
                raise self._explained(error) from error
        return datetime.fromtimestamp(reply.at_ms / 1000, UTC) if reply.at_ms else None

    def _channel(self) -> grpc.aio.Channel:
        # A proxy from the environment would see where we enrol, and gRPC's own defaults honour one.
        options = [("grpc.enable_http_proxy", 0)]
        if self._coordinator.startswith("https://"):
            target = self._coordinator.removeprefix("https://")
            return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=options)
        return grpc.aio.insecure_channel(self._coordinator.removeprefix("http://"), options=options)

    def _explained(self, error: grpc.aio.AioRpcError) -> Exception:
        details = error.details() or error.code().name
        text = _REFUSALS.get(error.code())
        if text is not None:
            return EnrolmentRefused(text.format(details))
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return CoordinatorUnreachable(
                f"no Coordinator answers at {self._coordinator}: {_reason(details)}; "
                "check the address (ARCHIPELAG_COORDINATOR), and that it runs"
            )
        return CoordinatorUnreachable(
            f"the Coordinator at {self._coordinator} cannot help now ({details})"
        )


def _reason(details: str) -> str:
    """gRPC's own words, unless we know better ones."""
    return next((ours for theirs, ours in _REASONS.items() if theirs in details), details)


def _standing(reply: pb.EnrolReply) -> Standing:
    try:
        island = ids.island_id(reply.island_id)
    except BadId as error:
        raise EnrolmentRefused(f"the Coordinator's answer makes no sense: {error}") from error
    if not reply.broker_urls or not reply.assignment_keys:
        raise EnrolmentRefused(
            "the Coordinator's answer names no broker or no key; ask its operator"
        )
    return Standing(
        island_id=island,
        broker_urls=tuple(reply.broker_urls),
        broker_jwt=reply.broker_jwt,
        broker_jwt_expires_at=datetime.fromtimestamp(reply.broker_jwt_expires_at, UTC),
        assignment_keys=tuple(reply.assignment_keys),
        publisher_keys=tuple(reply.publisher_keys),
        catalogue_keys=tuple(reply.catalogue_keys),
        approved=reply.approved,
    )
