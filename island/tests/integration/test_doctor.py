"""Each thing that the doctor looks at, well and then broken for real: it names it, and says what to do."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.pb.archipelag.v1 import island_pb2
from archipelag_contracts.signing import SigningKey
from archipelag_island.adapters import doctor
from archipelag_island.adapters.doctor import Finding, State, machine, network
from archipelag_island.adapters.identity import Home
from archipelag_island.config import Settings
from archipelag_island.services.ports import Standing
from archipelag_island.testing.builders import ECHO_MODULE, ISLAND
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .conftest import free_port
from .doors import Desk, JwtBroker, a_jwt_broker
from .test_full_disk import small_disk

__all__ = ["small_disk"]


@dataclass
class Clock:
    """The machine's, moved."""

    moved: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.moved

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


CATALOGUE_KEY = SigningKey.generate()


class Patient:
    """An enrolled Island whose every part is well, until a test breaks one."""

    def __init__(self, home: Path, desk: Desk, broker: JwtBroker) -> None:
        self.clock = Clock()
        self.home = Home(home)
        self.home.prepare()
        key = self.home.key()
        self.settings = Settings(
            home=home,
            coordinator=f"127.0.0.1:{desk.port}",
            name="patient",
            model_dir=home / "models",
            extra_engines={"echo": ECHO_MODULE},
            runtimes=("wasm",),
        )
        self.standing = Standing(
            island_id=ISLAND,
            broker_urls=(broker.url,),
            broker_jwt=broker.admit(key),
            broker_jwt_expires_at=datetime.now(UTC) + timedelta(hours=24),
            assignment_keys=(b"a" * 32,),
            publisher_keys=(b"p" * 32,),
            approved=True,
            catalogue_keys=(CATALOGUE_KEY.public,),
        )
        self.save()
        self.shelve(self.catalogue())

    def save(self, **changes: Any) -> None:
        self.standing = replace(self.standing, **changes)
        self.home.save(self.standing)

    def catalogue(self, age_s: float = 60, life_s: float = 7 * 86_400) -> bytes:
        at_ms = int((datetime.now(UTC).timestamp() - age_s) * 1000)
        document = island_pb2.Catalogue(
            version=3, issued_at_ms=at_ms, expires_at_ms=at_ms + int(life_s * 1000)
        )
        return CATALOGUE_KEY.seal(document)

    def shelve(self, sealed: bytes) -> None:
        (self.settings.home / "catalogue.signed").write_bytes(sealed)

    async def told(self) -> dict[str, Finding]:
        findings = await doctor.examine(self.settings, self.clock)
        return {finding.what: finding for finding in findings}

    async def found(self, what: str) -> Finding:
        return (await self.told())[what]


@pytest.fixture
async def patient(tmp_path: Path, desk: Desk, jwt_broker: JwtBroker) -> Patient:
    desk.at = datetime.now(UTC)
    return Patient(tmp_path / "home", desk, jwt_broker)


async def test_who_is_well_has_nothing_to_mend(patient: Patient) -> None:
    told = await patient.told()

    assert [one for one in told.values() if not one.well] == []
    for what in (
        *("rights", "folder", "enrolment", "Coordinator", "clock", "broker name", "broker port"),
        *("broker", "broker welcome", "credentials", "catalogue", "engine echo", "wasm runtime"),
    ):
        assert told[what].state is State.OK, told[what]


def _readable_key(patient: Patient) -> None:
    (patient.settings.home / "key").chmod(0o644)


def _open_folder(patient: Patient) -> None:
    patient.settings.home.chmod(0o755)


def _broken_identity(patient: Patient) -> None:
    (patient.settings.home / "identity.json").write_text("{}")


def _broken_key(patient: Patient) -> None:
    (patient.settings.home / "key").write_text("x")


def _not_enrolled(patient: Patient) -> None:
    (patient.settings.home / "identity.json").unlink()


def _coordinator_gone(patient: Patient) -> None:
    patient.settings = replace(patient.settings, coordinator=f"127.0.0.1:{free_port()}")


def _no_such_name(patient: Patient) -> None:
    patient.save(broker_urls=("nats://broker.invalid:4222",))


def _no_such_port(patient: Patient) -> None:
    patient.save(broker_urls=(f"nats://127.0.0.1:{free_port()}",))


def _others_token(patient: Patient) -> None:
    patient.save(broker_jwt="e30.e30.e30")


def _credentials_ended(patient: Patient) -> None:
    patient.save(broker_jwt_expires_at=datetime.now(UTC) - timedelta(hours=2))


def _catalogue_expired(patient: Patient) -> None:
    patient.shelve(patient.catalogue(age_s=8 * 86_400))


def _catalogue_forged(patient: Patient) -> None:
    sealed = bytearray(patient.catalogue())
    sealed[len(sealed) // 2] ^= 1
    patient.shelve(bytes(sealed))


def _highest_damaged(patient: Patient) -> None:
    (patient.settings.home / "catalogue.highest").write_text("many")


def _engine_missing(patient: Patient) -> None:
    patient.settings = replace(patient.settings, extra_engines={"lost": "no_such.engine"})


def _registry_gone(patient: Patient) -> None:
    patient.settings = replace(patient.settings, registry=f"127.0.0.1:{free_port()}")


def _agent_deaf(patient: Patient) -> None:
    status = {"format": 2, "pid": os.getpid(), "trouble": ""}
    status |= {"drain": {"draining": False}, "pause": {"paused": False}}
    (patient.settings.home / "status.json").write_text(json.dumps(status))


BREAKAGES: dict[str, tuple[Callable[[Patient], None], str, str, str]] = {
    "a key that others may read": (_readable_key, "rights", "may read key", "join again"),
    "a home that others may enter": (_open_folder, "rights", "may read home", "chmod"),
    "a broken identity": (_broken_identity, "identity", "not readable", "enrol with a new"),
    "a broken key": (_broken_key, "identity", "not readable", "enrol anew"),
    "not enrolled": (_not_enrolled, "enrolment", "not yet", "archipelag-island join"),
    "no Coordinator": (_coordinator_gone, "Coordinator", "127.0.0.1", "that it runs"),
    "no such name": (_no_such_name, "broker name", "broker.invalid", "DNS"),
    "no such port": (_no_such_port, "broker port", "refused", "outgoing connections"),
    "credentials of nobody": (_others_token, "broker welcome", "refuses", "suspended"),
    "ended credentials": (_credentials_ended, "credentials", "2.0 hours ago", "clock"),
    "an expired catalogue": (_catalogue_expired, "catalogue", "expired 24.0 h", "heartbeat"),
    "a forged catalogue": (_catalogue_forged, "catalogue", "not what the network", "remove"),
    "a damaged memory": (_highest_damaged, "catalogue", "not readable", "restore it"),
    "a missing engine": (_engine_missing, "engine lost", "missing", "no_such.engine"),
    "no registry": (_registry_gone, "registry", "127.0.0.1", "ARCHIPELAG_REGISTRY"),
    "a deaf agent": (_agent_deaf, "agent", "cannot be asked", "start the agent again"),
}


@pytest.mark.parametrize("name", BREAKAGES)
async def test_what_is_broken_is_named_with_what_to_do(patient: Patient, name: str) -> None:
    break_it, what, found, advice = BREAKAGES[name]
    break_it(patient)

    finding = await patient.found(what)

    assert finding.state is State.FAIL
    assert found in finding.found, finding
    # What an error of ours says may hold the advice.
    assert advice in finding.advice, finding


@pytest.mark.parametrize(
    ("off_s", "state", "words"),
    [
        (0, State.OK, "agrees"),
        (40, State.WARN, "s ahead of"),
        (-40, State.WARN, "s behind"),
        (3600, State.FAIL, "s ahead of"),
        (-3600, State.FAIL, "s behind"),
    ],
)
async def test_clock_is_held_against_the_coordinators(
    patient: Patient, desk: Desk, off_s: int, state: State, words: str
) -> None:
    desk.at = datetime.now(UTC) - timedelta(seconds=off_s)

    finding = await patient.found("clock")

    assert finding.state is state
    seconds = [int(word) for word in finding.found.split() if word.isdigit()]
    # The doctor needs a moment, in which this clock goes on and the Coordinator's stands still.
    assert not seconds or abs(seconds[0] - abs(off_s)) <= 5
    assert words in finding.found
    assert ("timedatectl" in finding.advice) is (state is not State.OK)


async def test_who_is_not_approved_yet_is_told_whom_to_ask(patient: Patient) -> None:
    patient.save(approved=False)

    finding = await patient.found("enrolment")

    assert finding.state is State.WARN and "operator" in finding.advice


async def test_ended_token_is_refused_by_the_broker_itself(
    patient: Patient, jwt_broker: JwtBroker
) -> None:
    patient.save(broker_jwt=jwt_broker.admit(patient.home.key(), lasts_s=-10))

    finding = await patient.found("broker welcome")

    assert finding.state is State.FAIL and "refuses this Island" in finding.found


async def test_running_agents_line_is_left_alone(patient: Patient) -> None:
    """Else the Coordinator would see an Island's line end, and give up what it streams."""
    _agent_deaf(patient)

    finding = await patient.found("broker welcome")

    assert finding.state is State.OK and "not tried" in finding.found


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak as a NATS server"),
        (b"INFO {broken\r\n", "Expecting"),
        (b'INFO {"version": "1", "nonce": "archipelag.v1.Report\\n"}\r\n', "not a nonce"),
        (b"INFO " + b"x" * 200_000, "limit"),
        (b"", "no answer within"),
    ],
)
async def test_something_else_that_listens_there_is_told_apart(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, says: bytes, words: str
) -> None:
    monkeypatch.setattr(network, "CONNECT_S", 1.0)
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        heard.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        patient.save(broker_urls=(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}",))
        finding = await patient.found("broker")

    assert finding.state is State.FAIL and words in finding.found
    assert not any(b"sig" in one for one in heard), "it signed what a stranger wanted"


@asynccontextmanager
async def a_tls_broker(folder: Path) -> AsyncIterator[tuple[JwtBroker, Path]]:
    """With a certificate that only who is told trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "broker.pem", folder / "broker.key"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    more = f'tls {{ cert_file: "{cert}", key_file: "{private}" }}'
    async with a_jwt_broker(folder, more) as broker:
        yield broker, cert


async def test_certificate_is_checked_before_anything_is_shown_to_the_broker(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    async with a_tls_broker(folder) as (broker, cert):
        url = broker.url.replace("nats://", "tls://")
        patient.save(broker_urls=(url,), broker_jwt=broker.admit(patient.home.key()))
        stranger = await patient.told()
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        trusted = await patient.told()

    assert stranger["broker TLS"].state is State.FAIL
    assert "certificate not accepted" in stranger["broker TLS"].found
    assert "broker welcome" not in stranger
    assert trusted["broker TLS"].state is State.OK
    assert trusted["broker welcome"].state is State.OK


async def test_full_disk_is_named(patient: Patient, small_disk: Path) -> None:
    (small_disk / "home").mkdir(mode=0o700)
    patient.settings = replace(patient.settings, home=small_disk / "home")

    finding = await patient.found("disk")

    assert finding.state is State.FAIL and "2 GB" in finding.advice


def test_little_memory_and_a_graphics_processor_that_cannot_be_asked(tmp_path: Path) -> None:
    device = tmp_path / "nvidia0"
    without = machine._gpu((str(device),))
    device.touch()

    with_device = machine._gpu((str(device),))
    little, enough = machine._memory(100 << 20), machine._memory(64 << 30)

    assert without.state is State.OK and "no graphics" in without.found
    assert with_device.state is State.WARN and str(device) in with_device.found
    assert little.state is State.WARN
    assert enough.state is State.OK or "smallest" in enough.advice
