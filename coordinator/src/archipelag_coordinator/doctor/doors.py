"""The Coordinator's own doors: whether something answers at them, and whether it is one of us."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc
import grpc.aio
import httpx
from archipelag_contracts.findings import Finding, fail, ok, warn
from archipelag_contracts.pb.archipelag.v1 import enrolment_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.enrolment_pb2_grpc import EnrolmentStub

from archipelag_coordinator.config import Settings

ANSWER_S: Final = 5.0
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - not bound, asked
NOBODY: Final = "if a Coordinator should run on this machine: `archipelag-coordinator serve`"


async def examine(settings: Settings) -> list[Finding]:
    return [await _http(settings), await _grpc(settings)]


async def _http(settings: Settings) -> Finding:
    host = _host(settings.http_host)
    url = f"http://{host}:{settings.http_port}/api/v1/ready"
    try:
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:
            answer = await client.get(url)
    except httpx.ConnectError:
        return warn("HTTP door", f"nothing listens at {host}:{settings.http_port}", NOBODY)
    except httpx.HTTPError as error:
        return fail(
            "HTTP door", f"{url}: {error or type(error).__name__}", "see the Coordinator's log"
        )
    try:
        checks = answer.json()["checks"]
    except (ValueError, KeyError, TypeError):
        advice = "another program has this port: end it, or set ARCHIPELAG_HTTP_PORT"
        return fail(
            "HTTP door", f"what answers at {host}:{settings.http_port} is no Coordinator", advice
        )
    if answer.status_code != 200:
        said = ", ".join(f"{name} {how}" for name, how in checks.items())
        return fail("HTTP door", f"a Coordinator that is not ready: {said}", "see the parts above")
    return ok("HTTP door", f"a Coordinator is ready at {host}:{settings.http_port}")


async def _grpc(settings: Settings) -> Finding:
    """Asks for a nonce, as an Island that enrols does first."""
    where = f"{_host(settings.grpc_host)}:{settings.grpc_port}"
    try:
        async with asyncio.timeout(ANSWER_S):
            _, writer = await asyncio.open_connection(
                _host(settings.grpc_host).strip("[]"), settings.grpc_port
            )
        writer.close()
    except (OSError, TimeoutError):
        return warn("door for Islands", f"nothing listens at {where}", NOBODY)
    options = [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(where, options=options) as channel:
        try:
            await EnrolmentStub(channel).Challenge(pb.ChallengeRequest(), timeout=ANSWER_S)
        except grpc.aio.AioRpcError as error:
            said = f"what answers at {where} is no Coordinator: {error.code().name}"
            advice = "another program has this port: end it, or set ARCHIPELAG_GRPC_PORT"
            return fail("door for Islands", said, advice)
    return ok("door for Islands", f"Islands can enrol at {where}")


def _host(bound: str) -> str:
    host = EVERYWHERE.get(bound, bound)
    return f"[{host}]" if ":" in host else host
