"""What runs out: room, open files, connections, time, backups, signatures and certificates, each planted."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest
from archipelag_contracts import releases
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.releases import File, Release
from archipelag_coordinator import releasing
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.config import Settings
from archipelag_coordinator.doctor import State, ends, machine, speed
from archipelag_coordinator.domain.audit import BACKED_UP
from archipelag_coordinator.domain.catalogue import Document
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 1 << 30


class Clock:
    """Stands, unless a question takes its time."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.asked = 0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return self.at_s

    async def question(self, took_s: float) -> None:
        self.asked += 1
        self.at_s += took_s


@pytest.mark.parametrize(
    ("free", "state"),
    [(50 * GIB, State.OK), (GIB, State.WARN), (1 << 20, State.FAIL)],
)
def test_a_disk_that_fills_up_is_told_of_each_folder(
    free: int, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    settings = Settings("", "", tmp_path, releases_dir=tmp_path / "gone")

    found = {one.what: one for one in machine.examine(settings)}

    assert found[f"disk {tmp_path}"].state is state
    assert not any("gone" in what for what in found)


@pytest.mark.parametrize(
    ("most", "state"), [(-1, State.OK), (1 << 20, State.OK), (8_192, State.OK), (1_024, State.WARN)]
)
def test_too_few_open_files_are_told(
    most: int, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (256, most))

    found = {one.what: one for one in machine.examine(Settings("", "", tmp_path))}

    assert found["open files"].state is state
    assert ("LimitNOFILE" in found["open files"].advice) is (state is State.WARN)


@pytest.mark.parametrize(
    ("took_s", "state", "asked"),
    [(0.001, State.OK, 20), (0.1, State.WARN, 20), (4.0, State.WARN, 3)],
)
async def test_a_part_that_is_slow_is_told_and_one_that_is_very_slow_is_not_asked_on(
    took_s: float, state: State, asked: int
) -> None:
    clock = Clock()

    found = await speed.answers("part", lambda: clock.question(took_s), clock, "nearer")

    assert (found.state, clock.asked) == (state, asked)
    assert f"{1000 * took_s:.1f} ms, the median of {asked}" in found.found


async def test_backups_and_the_catalogue_are_known_by_their_age(postgres_dsn: str) -> None:
    settings = Settings(postgres_dsn, "", Path())
    life = timedelta(seconds=settings.policy.catalogue_life_s)

    async def told(backed_up: timedelta, catalogue: timedelta, version: int) -> list[State]:
        async with PostgresStore(postgres_dsn, pool_max=1) as store, store.begin() as tx:
            await tx.audit.note(NOW - backed_up, "op", BACKED_UP, "file")
            issued = NOW - catalogue
            document = Document(version, b"signed", bytes(32), issued, issued + life)
            await tx.cargos.issue(document)
        return [one.state for one in await ends.kept(settings, Clock())]

    never = await ends.kept(settings, Clock())
    fresh = await told(timedelta(hours=24), timedelta(hours=25), 1)
    late = await told(timedelta(hours=26), timedelta(hours=50), 2)
    gone = await told(timedelta(), life + timedelta(hours=1), 3)

    assert [(one.what, one.state) for one in never] == [("backup", State.WARN)]
    assert fresh == [State.OK, State.OK]
    assert late == [State.WARN, State.WARN]
    assert gone == [State.OK, State.FAIL]


@pytest.mark.parametrize(
    ("left", "state"),
    [(timedelta(days=20), State.OK), (timedelta(days=3), State.WARN), (timedelta(0), State.FAIL)],
)
async def test_a_release_that_ends_is_told(left: timedelta, state: State, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    ends_at = int((NOW + left).timestamp())
    release = Release(
        7, "0.7.0", ends_at - 100, ends_at, releases.WAVES, {"linux-x86_64": File("", 0)}
    )
    releasing.publish(tmp_path / "to", CosignKey.generate(), release, {"linux-x86_64": file})
    settings = Settings("", "", Path(), releases_dir=tmp_path / "to")

    (found,) = await ends.examine(settings, Clock())

    assert (found.what, found.state) == ("releases", state)
    assert "0.7.0, number 7" in found.found


async def test_a_folder_without_a_release_or_with_something_else_is_told(tmp_path: Path) -> None:
    settings = Settings("", "", Path(), releases_dir=tmp_path)

    (none,) = await ends.examine(settings, Clock())
    (tmp_path / releases.DOCUMENT).write_text("{")
    (other,) = await ends.examine(settings, Clock())

    assert (none.state, other.state) == (State.WARN, State.FAIL)


def a_certificate(folder: Path, days: int) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server shows, and what trusts it; of this machine's loopback, good for so many days from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "door")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    form, no = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = made.public_bytes(serialization.Encoding.PEM)
    both = folder / f"{days}.pem"
    both.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, no) + pem)
    shows = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shows.load_cert_chain(both)
    return shows, ssl.create_default_context(cadata=pem.decode())


@asynccontextmanager
async def door(shows: ssl.SSLContext, *, greets: bool) -> AsyncIterator[int]:
    """A broker greets in plain text and begins TLS then."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greets:
            writer.write(b'INFO {"tls_required":true}\r\n')
            await writer.drain()
            await writer.start_tls(shows)
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if greets else shows)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("scheme", ["https", "tls"])
@pytest.mark.parametrize(
    ("days", "state"), [(90, State.OK), (10, State.WARN), (-1, State.FAIL)]
)  # fmt: skip
async def test_a_certificate_is_known_by_its_end(
    scheme: str, days: int, state: State, tmp_path: Path
) -> None:
    shows, trusts = a_certificate(tmp_path, days)
    async with door(shows, greets=scheme == "tls") as port:
        found = await ends.certificate(f"{scheme}://127.0.0.1:{port}", datetime.now(UTC), trusts)
        strange = await ends.certificate(f"{scheme}://127.0.0.1:{port}", datetime.now(UTC))

    assert (found.what, found.state) == (f"certificate 127.0.0.1:{port}", state), found
    assert strange.state is State.FAIL and strange.advice


async def test_a_door_that_is_not_there_or_speaks_no_tls_is_no_end() -> None:

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 no\r\n\r\n")
        writer.close()
        await reader.read(1)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        plain = await ends.certificate(f"https://127.0.0.1:{port}", NOW)
    gone = await ends.certificate(f"https://127.0.0.1:{port}", NOW)

    assert (plain.state, gone.state) == (State.WARN, State.WARN)
