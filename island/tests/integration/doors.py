"""Doors that an Island knocks at: enrolment over gRPC, and a broker that knows it by its key alone."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import nkeys
from archipelag_contracts import subjects
from archipelag_contracts.pb.archipelag.v1 import enrolment_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.enrolment_pb2_grpc import (
    EnrolmentServicer,
    add_EnrolmentServicer_to_server,
)
from archipelag_contracts.signing import SigningKey, verify
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.testing.builders import ISLAND


@dataclass
class Desk(EnrolmentServicer):
    """Knows the one code GOOD234, once."""

    used: bool = False
    suspended: bool = False
    nonce: bytes = b"n" * 16
    seen: list[Any] = field(default_factory=list)
    port: int = 0
    at: datetime | None = None
    """What its clock says."""

    async def Challenge(self, request: Any, context: Any) -> pb.ChallengeReply:  # noqa: N802
        at_ms = int(self.at.timestamp() * 1000) if self.at else 0
        return pb.ChallengeReply(nonce=self.nonce, at_ms=at_ms)

    async def Enrol(self, request: Any, context: Any) -> pb.EnrolReply:  # noqa: N802
        self.seen.append(request)
        signed = self.nonce + b"\n" + request.pairing_code.encode()
        verify(request.public_key, b"archipelag.v1.enrol\n", signed, request.signature)
        if request.pairing_code != "GOOD234":
            await context.abort(grpc.StatusCode.NOT_FOUND, "pairing code unknown")
        if self.used:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "pairing code used")
        self.used = True
        return self._reply()

    async def Renew(self, request: Any, context: Any) -> pb.EnrolReply:  # noqa: N802
        if self.suspended:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this Island is suspended")
        signed = self.nonce + b"\n" + request.island_id.encode()
        verify(self.seen[0].public_key, b"archipelag.v1.renew\n", signed, request.signature)
        return self._reply()

    def _reply(self) -> pb.EnrolReply:
        return pb.EnrolReply(
            island_id=ISLAND,
            broker_urls=["nats://127.0.0.1:4222"],
            broker_jwt="jwt",
            broker_jwt_expires_at=int(time.time()) + 3600,
            assignment_keys=[b"a" * 32],
            publisher_keys=[b"p" * 32],
            approved=False,
        )


@asynccontextmanager
async def a_desk() -> AsyncIterator[Desk]:
    made = Desk()
    server = grpc.aio.server()
    add_EnrolmentServicer_to_server(made, server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield made
    finally:
        await server.stop(None)


def nkey(prefix: bytes) -> Any:
    return nkeys.from_seed(nkeys.encode_seed(SigningKey.generate().seed(), prefix))


def a_jwt(issuer: Any, subject: str, claims: dict[str, Any], expires: int = 0) -> str:
    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    body: dict[str, Any] = {
        "iat": int(time.time()), "iss": issuer.public_key.decode(), "sub": subject,
        "name": "test", "nats": {"version": 2, **claims},
    }  # fmt: skip
    if expires:
        body["exp"] = expires
    body["jti"] = hashlib.sha256(json.dumps(body).encode()).hexdigest()
    head = part(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    text = f"{head}.{part(json.dumps(body).encode())}"
    return f"{text}.{part(issuer.sign(text.encode()))}"


def user_subject(key: SigningKey) -> str:
    raw = bytes([nkeys.PREFIX_BYTE_USER]) + key.public
    raw += nkeys.crc16(bytearray(raw)).to_bytes(2, "little")
    return base64.b32encode(raw).decode().rstrip("=")


@dataclass
class JwtBroker:
    account: Any
    url: str

    def admit(self, key: SigningKey, lasts_s: int = 3600) -> str:
        claims = {
            "type": "user",
            "pub": {"allow": subjects.island_publishes(ISLAND)},
            "sub": {"allow": subjects.island_subscribes(ISLAND)},
            "subs": -1, "data": -1, "payload": -1,
        }  # fmt: skip
        return a_jwt(self.account, user_subject(key), claims, int(time.time()) + lasts_s)


@asynccontextmanager
async def a_jwt_broker(folder: Path, more: str = "") -> AsyncIterator[JwtBroker]:
    """`more`: lines of its configuration."""
    operator, account = nkey(nkeys.PREFIX_BYTE_OPERATOR), nkey(nkeys.PREFIX_BYTE_ACCOUNT)
    limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    account_jwt = a_jwt(
        operator,
        account.public_key.decode(),
        {"type": "account", "limits": {**limits, "wildcards": True}},
    )
    operator_jwt = a_jwt(operator, operator.public_key.decode(), {"type": "operator"})
    ports = folder / "ports"
    ports.mkdir()
    config = folder / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:-1"\nports_file_dir: "{ports}"\noperator: "{operator_jwt}"\nresolver: MEMORY\n'
        f'resolver_preload: {{ {account.public_key.decode()}: "{account_jwt}" }}\n{more}\n'
    )
    server = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "nats-server"), "-c", str(config),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                files = list(ports.glob("*.ports"))
                if files and (text := files[0].read_text()):
                    url = json.loads(text)["nats"][0]
                    break
                await asyncio.sleep(0.01)
        yield JwtBroker(account, url)
    finally:
        server.kill()
        await server.wait()
