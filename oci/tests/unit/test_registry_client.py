"""A registry that lies, hangs, breaks off or wants our credentials gets an error, and nothing else of us."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from archipelag_oci import descriptor, media, signatures
from archipelag_oci.descriptor import Descriptor
from archipelag_oci.errors import (
    AccessDenied,
    DiskFull,
    NotInRegistry,
    NotSigned,
    OciError,
    RegistryLied,
    RegistryRefused,
    RegistryUnreachable,
    TooLarge,
    WrongDigest,
    WrongSize,
)
from archipelag_oci.reference import Reference, parse
from archipelag_oci.registry import Registry
from archipelag_oci.settings import Credentials, Settings

DATA = bytes(range(256)) * 400
BLOB = descriptor.of("application/octet-stream", DATA)
QUICK = Settings(attempts_max=3, silence_s=0.3, connect_s=0.5, slack_s=20)
Answerer = Callable[[httpx.Request], httpx.Response]


@asynccontextmanager
async def registry(answer: Answerer, settings: Settings = QUICK) -> AsyncIterator[Registry]:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    transport = httpx.MockTransport(lambda request: _streamed(answer(request)))
    async with Registry(settings, transport=transport, sleep=sleep) as client:
        client.waited = waited  # type: ignore[attr-defined]
        yield client


def image(host: str = "r.example", version: str = BLOB.digest) -> Reference:
    return parse(f"{host}/a/b@{version}" if ":" in version else f"{host}/a/b:{version}")


def partial(data: bytes, begin: int, total: int | str | None = None) -> httpx.Response:
    size = len(DATA) if total is None else total
    span = f"bytes {begin}-{begin + len(data) - 1}/{size}"
    return httpx.Response(206, content=data, headers={"Content-Range": span})


async def test_broken_download_is_gone_on_with_by_range(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("range", ""))
        begin = int(asked[-1].removeprefix("bytes=").rstrip("-") or 0)
        if begin + 30_000 < len(DATA):
            return _cut(DATA[begin : begin + 30_000], begin)
        return partial(DATA[begin:], begin)

    async with registry(answer) as client:
        await client.blob_to_file(image(), BLOB, tmp_path / "part")

    assert (tmp_path / "part").read_bytes() == DATA
    assert asked == ["", "bytes=30000-", "bytes=60000-", "bytes=90000-"]


async def test_registry_without_ranges_is_read_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(DATA[:5000])

    async with registry(lambda _: httpx.Response(200, content=DATA)) as client:
        await client.blob_to_file(image(), BLOB, tmp_path / "part")

    assert (tmp_path / "part").read_bytes() == DATA


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: partial(DATA[4000:], 4000),
        lambda _: partial(DATA[5000:-1], 5000),
        lambda _: partial(DATA[5000:], 5000, len(DATA) + 1),
        lambda _: httpx.Response(206, content=DATA[5000:]),
        lambda _: httpx.Response(206, content=DATA[5000:], headers={"Content-Range": "x"}),
    ],
)
async def test_range_that_was_not_asked_for_is_refused(answer: Answerer, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(DATA[:5000])

    async with registry(answer) as client:
        with pytest.raises(RegistryLied, match="another range"):
            await client.blob_to_file(image(), BLOB, tmp_path / "part")

    assert not (tmp_path / "part").exists()


async def test_first_byte_too_many_is_refused(tmp_path: Path) -> None:
    sent = 0

    async def flood() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 10_000
            yield b"x" * 10_000

    async with registry(lambda _: httpx.Response(200, content=flood())) as client:
        with pytest.raises(WrongSize, match="more than"):
            await client.blob_to_file(image(), BLOB, tmp_path / "part")

    assert sent <= len(DATA) + 2_000_000 and not (tmp_path / "part").exists()


@pytest.mark.parametrize("data", [DATA + b"x", DATA[:-1]])
async def test_announced_size_that_is_wrong_is_refused(data: bytes, tmp_path: Path) -> None:
    async with registry(lambda _: httpx.Response(200, content=data)) as client:
        with pytest.raises(WrongSize, match="instead of"):
            await client.blob_to_file(image(), BLOB, tmp_path / "part")
        with pytest.raises(OciError):
            await client.blob(image(), BLOB, 1 << 20)


async def test_other_bytes_are_refused_and_not_kept(tmp_path: Path) -> None:
    async with registry(lambda _: httpx.Response(200, content=DATA[::-1])) as client:
        with pytest.raises(WrongDigest):
            await client.blob_to_file(image(), BLOB, tmp_path / "part")
        with pytest.raises(WrongDigest):
            await client.blob(image(), BLOB, 1 << 20)

    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize("announced", ["", descriptor.of("a/b", b"{}").digest, BLOB.digest])
async def test_manifest_of_another_digest_is_refused(announced: str) -> None:
    headers = {"Docker-Content-Digest": announced} if announced else {}

    async with registry(lambda _: httpx.Response(200, content=b"{}", headers=headers)) as client:
        with pytest.raises(WrongDigest, match=r"for r\.example/a/b@sha256"):
            await client.manifest(image())


async def test_manifest_that_is_not_what_its_registry_calls_it_is_refused() -> None:
    wrong = httpx.Response(200, content=b"{}", headers={"Docker-Content-Digest": BLOB.digest})

    async with registry(lambda _: wrong) as client:
        with pytest.raises(WrongDigest, match="called it"):
            await client.manifest(image(version="tag"))


async def test_manifest_without_end_is_refused() -> None:
    async def flood() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 100_000

    async with registry(lambda _: httpx.Response(200, content=flood())) as client:
        with pytest.raises(TooLarge):
            await client.manifest(image())


async def test_what_may_pass_is_tried_again_a_bounded_number_of_times() -> None:
    asked = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(503, headers={"Retry-After": "9999"})

    async with registry(answer) as client:
        with pytest.raises(RegistryUnreachable, match="tried 3 times"):
            await client.manifest(image())
        assert client.waited == [30.0, 30.0]  # type: ignore[attr-defined]

    assert asked == 3


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotInRegistry), (403, AccessDenied), (400, RegistryRefused), (418, RegistryRefused)],
)
async def test_what_will_not_pass_is_told_at_once(status: int, error: type[OciError]) -> None:
    asked = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(status, content=b"\x1b[2Jhostile\n" * 1000)

    async with registry(answer) as client:
        with pytest.raises(error) as told:
            await client.manifest(image())

    assert asked == 1 and str(told.value).isprintable()


def token_dance(realm: str, seen: list[httpx.Request]) -> Answerer:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if str(request.url).startswith(realm):
            return httpx.Response(200, json={"token": "t0ken"})
        if request.headers.get("authorization") == "Bearer t0ken":
            return httpx.Response(200, content=DATA)
        challenge = f'Bearer realm="{realm}",service="s",scope="repository:other:push,delete"'
        return httpx.Response(401, headers={"WWW-Authenticate": challenge})

    return answer


async def test_token_is_asked_for_with_our_scope_and_kept() -> None:
    seen: list[httpx.Request] = []
    settings = replace(QUICK, credentials={"r.example": Credentials("me", "pw")})

    async with registry(token_dance("https://r.example/token", seen), settings) as client:
        for _ in range(2):
            await client.blob(image(), BLOB, 1 << 20)

    tokens = [request for request in seen if request.url.path == "/token"]
    assert len(tokens) == 1 and len(seen) == 4
    assert dict(tokens[0].url.params) == {"scope": "repository:a/b:pull", "service": "s"}
    assert tokens[0].headers["authorization"] == "Basic " + base64.b64encode(b"me:pw").decode()


async def test_credentials_go_to_no_other_host() -> None:
    settings = replace(QUICK, credentials={"r.example": Credentials("me", "pw")})
    for host, named in (("evil.example", ""), ("auth.example", "auth.example")):
        seen: list[httpx.Request] = []
        known = Credentials("me", "pw", named)
        settings = replace(QUICK, credentials={"r.example": known})

        async with registry(token_dance(f"https://{host}/token", seen), settings) as client:
            await client.blob(image(), BLOB, 1 << 20)

        sent = [r.headers.get("authorization") for r in seen if r.url.host == host]
        assert (sent == [None]) is (named == "")


async def test_basic_credentials_are_sent_only_when_asked_and_only_there() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.host == "store.example":
            return httpx.Response(200, content=DATA)
        if "authorization" not in request.headers:
            return httpx.Response(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return httpx.Response(307, headers={"Location": "https://store.example/blob?sig=1"})

    settings = replace(QUICK, credentials={"r.example": Credentials("me", "pw")})
    async with registry(answer, settings) as client:
        assert await client.blob(image(), BLOB, 1 << 20) == DATA
        with pytest.raises(AccessDenied, match="credentials"):
            await client.blob(image("other.example"), BLOB, 1 << 20)

    elsewhere = [request for request in seen if request.url.host != "r.example"]
    assert elsewhere and all("authorization" not in request.headers for request in elsewhere)


@pytest.mark.parametrize(
    "location",
    [
        "http://store.example/x",
        "http://127.0.0.1:9000/x",
        "http://localhost/x",
        "http://169.254.169.254/latest",
        "ftp://store.example/x",
        "file:///etc/passwd",
        "",
        "https://[bad/x",
        "/again",
    ],
)
async def test_redirect_out_of_tls_or_without_end_is_refused(location: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "r.example" and request.url.scheme == "https"
        return httpx.Response(302, headers={"Location": location})

    async with registry(answer) as client:
        with pytest.raises(RegistryLied):
            await client.blob(image(), BLOB, 1 << 20)


@pytest.mark.parametrize(
    "realm", ["http://127.0.0.1/token", "http://r.example/token", "nonsense", ""]
)
async def test_token_is_not_fetched_without_tls(realm: str) -> None:
    seen: list[httpx.Request] = []

    async with registry(token_dance(realm or "none://", seen)) as client:
        with pytest.raises(RegistryLied):
            await client.blob(image(), BLOB, 1 << 20)

    assert {request.url.host for request in seen} == {"r.example"}


async def test_plain_http_is_for_this_machine_and_named_hosts() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.scheme)
        return httpx.Response(200, content=DATA)

    async with registry(answer, replace(QUICK, plain_hosts=frozenset({"lan.example"}))) as client:
        for host in (
            "127.0.0.1:5000",
            "localhost:5000",
            "[::1]:5000",
            "lan.example:80",
            "r.example",
        ):
            await client.blob(image(host), BLOB, 1 << 20)

    assert seen == ["http", "http", "http", "http", "https"]


async def test_list_of_tags_is_bounded_and_stays_at_its_registry() -> None:
    def endless(request: httpx.Request) -> httpx.Response:
        tags = [f"t{number}" for number in range(1000)]
        link = '</v2/a/b/tags/list?last=x>; rel="next"'
        return httpx.Response(200, json={"tags": tags}, headers={"Link": link})

    def hostile(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"tags": ["../x"]})

    async with registry(endless) as client:
        with pytest.raises(TooLarge):
            await client.tags(image())
    async with registry(hostile) as client:
        with pytest.raises(RegistryLied):
            await client.tags(image())


async def test_full_disk_ends_a_download_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archipelag_oci import download

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_write_all", full)
    async with registry(lambda _: httpx.Response(200, content=DATA)) as client:
        with pytest.raises(DiskFull, match="free some space"):
            await client.blob_to_file(image(), BLOB, tmp_path / "part")

    assert not (tmp_path / "part").exists()


# A real socket: what no client can be told by a made-up transport.

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[str]:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_registry_that_hangs_is_given_up_and_what_came_is_kept(tmp_path: Path) -> None:
    hanging = asyncio.Event()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA) + DATA[:1000])
        await writer.drain()
        await hanging.wait()

    settings = replace(QUICK, silence_s=0.1, backoff_s=0.001, attempts_max=2)
    async with listening(talk) as host, Registry(settings) as client:
        with pytest.raises(RegistryUnreachable, match=r"in time.*kept"):
            await client.blob_to_file(image(host), BLOB, tmp_path / "part")
        hanging.set()

    assert (tmp_path / "part").read_bytes() == DATA[:1000]


async def test_registry_that_drips_is_given_up(tmp_path: Path) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA))
        for byte in DATA:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    settings = replace(QUICK, slack_s=0.3, bytes_s_min=1 << 30)
    async with listening(talk) as host, Registry(settings) as client:
        with pytest.raises(RegistryUnreachable, match="too slow"):
            await client.blob_to_file(image(host), BLOB, tmp_path / "part")


async def test_registry_that_is_not_there_is_told() -> None:
    async with Registry(replace(QUICK, backoff_s=0.001)) as client:
        with pytest.raises(RegistryUnreachable, match="cannot be reached"):
            await client.manifest(image("127.0.0.1:1"))


async def test_registry_that_speaks_no_http_is_told() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n\r\n")

    async with listening(talk) as host, Registry(replace(QUICK, backoff_s=0.001)) as client:
        with pytest.raises(RegistryUnreachable):
            await client.manifest(image(host))


async def test_lists_of_signatures_are_bounded_and_broken_ones_do_not_count() -> None:
    config = descriptor.of(media.CONFIG, b"{}")
    payload = descriptor.of(media.COSIGN_LAYER, b"not json", {signatures.ANNOTATION: "AAAA"})
    broken = [
        payload,
        replace(payload, annotations={}),
        replace(payload, annotations={signatures.ANNOTATION: "no base64!"}),
        replace(payload, annotations={signatures.ANNOTATION: "A" * 60_000}),
        replace(payload, size=1 << 40),
        replace(payload, media_type="text/plain"),
    ]

    def answering(layers: list[Descriptor]) -> Answerer:
        def answer(request: httpx.Request) -> httpx.Response:
            if "/blobs/" in request.url.path:
                return httpx.Response(200, content=b"not json")
            document = {
                "schemaVersion": 2,
                "mediaType": media.MANIFEST,
                "config": config.document(),
                "layers": [layer.document() for layer in layers],
            }
            return httpx.Response(200, content=json.dumps(document).encode())

        return answer

    from archipelag_contracts.cosign import CosignKey

    trusted = [CosignKey.generate().public]
    for layers in ([], broken, [payload] * 33):
        async with registry(answering(layers)) as client:
            with pytest.raises(NotSigned):
                await signatures.verify(client, image(), trusted)


def _cut(data: bytes, begin: int) -> httpx.Response:
    async def parts() -> AsyncIterator[bytes]:
        yield data
        raise httpx.ReadError("the line broke")

    headers = {"Content-Range": f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"}
    return httpx.Response(206 if begin else 200, content=parts(), headers=headers if begin else {})


def _streamed(answer: httpx.Response) -> httpx.Response:
    """As a network gives it: a body that is still to come."""
    if not answer.is_stream_consumed:
        return answer

    async def body() -> AsyncIterator[bytes]:
        yield answer.content

    return httpx.Response(answer.status_code, headers=answer.headers, content=body())
