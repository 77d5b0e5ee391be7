"""Mail through a real SMTP server on loopback: in the clear, by STARTTLS, by TLS; refused, hanging, away."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from archipelag_coordinator.adapters.mail.message import sender_of
from archipelag_coordinator.adapters.mail.outbox import Outbox, Undeliverable
from archipelag_coordinator.adapters.mail.smtp import SmtpCarrier, SmtpServer, server_of
from archipelag_coordinator.testing.fakes import START
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SENDER = sender_of("Archipelag <net@example.org>")
LETTER = ("ada@example.org", "Sign in", "Open:\n\nhttps://x.example/sign-in/al_1\n", "<p>Open</p>")


@dataclass
class Inbox:
    """What the server took, and what it says to the next ones."""

    taken: list[Envelope] = field(default_factory=list)
    secure: list[bool] = field(default_factory=list)
    known: list[bool] = field(default_factory=list)
    says: list[str] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - the server's name for it
        self,
        server: SMTP,
        session: Any,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        said = self.says.pop(0) if self.says else "250 OK"
        if said.startswith("250"):
            envelope.rcpt_tos.append(address)
        return said

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:  # noqa: N802
        self.taken.append(envelope)
        self.secure.append(server.transport.get_extra_info("ssl_object") is not None)
        self.known.append(session.authenticated)
        return "250 OK"


@asynccontextmanager
async def a_server(
    inbox: Inbox, *, tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[int]:
    """On a free port, which it gives. `options` are the server's own."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: SMTP(inbox, loop=loop, **options), "127.0.0.1", 0, ssl=tls
    )
    async with listener:
        yield listener.sockets[0].getsockname()[1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("mail") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def port(inbox: Inbox) -> AsyncIterator[int]:
    """Of a server without TLS."""
    async with a_server(inbox) as port:
        yield port


def carrier(url: str, certificate: Path | None = None) -> SmtpCarrier:
    bundle = None if certificate is None else str(certificate)
    return SmtpCarrier(server_of(url), SENDER, lambda: START, cert_bundle=bundle)


async def test_a_letter_arrives_in_the_clear_on_ones_own_machine(port: int, inbox: Inbox) -> None:
    await carrier(f"smtp://127.0.0.1:{port}").carry(*LETTER)

    (envelope,) = inbox.taken
    assert (envelope.mail_from, envelope.rcpt_tos) == ("net@example.org", ["ada@example.org"])
    assert b"https://x.example/sign-in/al_1\r\n" in (envelope.content or b"")
    assert b"Subject: Sign in\r\n" in (envelope.content or b"")


async def test_by_tls_with_a_password(inbox: Inbox, tls: ssl.SSLContext, certificate: Path) -> None:
    def known(server: Any, session: Any, envelope: Any, mechanism: Any, said: Any) -> AuthResult:
        good = LoginPassword(b"net", b"p@ss:w/rd")
        return AuthResult(success=said == good, handled=False)

    async with a_server(inbox, tls=tls, authenticator=known, auth_require_tls=False) as port:
        base = f"127.0.0.1:{port}"
        await carrier(f"smtps://net:p%40ss%3Aw%2Frd@{base}", certificate).carry(*LETTER)
        # What an operator can mend is tried again.
        with pytest.raises(OSError, match="535"):
            await carrier(f"smtps://net:wrong@{base}", certificate).carry(*LETTER)
        # Whoever cannot show a certificate that we trust is not spoken to.
        with pytest.raises(OSError, match="certificate"):
            await carrier(f"smtps://net:p%40ss@{base}").carry(*LETTER)

    assert len(inbox.taken) == 1 and inbox.secure == [True] and inbox.known == [True]


async def test_by_starttls(inbox: Inbox, tls: ssl.SSLContext, certificate: Path) -> None:
    async with a_server(inbox, tls_context=tls, require_starttls=True) as port:
        await carrier(f"smtp+starttls://127.0.0.1:{port}", certificate).carry(*LETTER)

    assert inbox.secure == [True]


async def test_a_server_without_starttls_gets_nothing_in_the_clear(port: int, inbox: Inbox) -> None:
    with pytest.raises((OSError, Undeliverable)):
        await carrier(f"smtp+starttls://u:p@127.0.0.1:{port}").carry(*LETTER)

    assert inbox.taken == []


async def test_what_is_refused_for_good_is_told_from_what_may_go_later(
    port: int, inbox: Inbox
) -> None:
    sender = carrier(f"smtp://127.0.0.1:{port}")
    inbox.says = ["550 no such mailbox", "451 later, please"]

    with pytest.raises(Undeliverable, match="550"):
        await sender.carry(*LETTER)
    with pytest.raises(OSError, match="451"):
        await sender.carry(*LETTER)
    await sender.carry(*LETTER)

    assert len(inbox.taken) == 1


async def test_a_hostile_address_never_reaches_the_server(port: int, inbox: Inbox) -> None:
    sender = carrier(f"smtp://127.0.0.1:{port}")

    for to in ("a@b.org>\r\nRCPT TO:<c@d.org", "a@b.org\nBcc: c@d.org", "a@b.org,c@d.org"):
        with pytest.raises(Undeliverable):
            await sender.carry(to, *LETTER[1:])

    assert inbox.taken == []


async def test_an_outbox_brings_it_in_the_end(port: int, inbox: Inbox) -> None:
    async def at_once(_: float) -> None:
        """No test waits."""

    inbox.says = ["451 later", "451 later"]
    outbox = Outbox(carrier(f"smtp://127.0.0.1:{port}"), sleep=at_once)

    await outbox.send(*LETTER)
    await outbox.settled()

    assert len(inbox.taken) == 1


async def test_nobody_waits_for_a_server_that_says_nothing() -> None:
    connected = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        outbox = Outbox(carrier(f"smtp://127.0.0.1:{port}"), close_s=0)
        await outbox.send(*LETTER)
        await connected.wait()
        waiting = outbox.waiting
        await outbox.close()

    assert waiting == 1


async def test_a_server_that_is_away_may_come_back() -> None:
    listener = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()

    with pytest.raises(OSError):  # noqa: PT011 - whatever the system says of it
        await carrier(f"smtp://127.0.0.1:{port}").carry(*LETTER)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://127.0.0.1", SmtpServer("127.0.0.1", 25, "smtp")),  # type: ignore[arg-type]
        ("smtps://a%40b:c%2F@m.example", SmtpServer("m.example", 465, "smtps", "a@b", "c/")),  # type: ignore[arg-type]
        ("smtp+starttls://m.example:2525/", SmtpServer("m.example", 2525, "smtp+starttls")),  # type: ignore[arg-type]
    ],
)
def test_an_address_says_how(url: str, expected: SmtpServer) -> None:
    found = server_of(url)

    assert found == expected
    assert found.password is None or found.password not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "m.example",
        "http://m.example",
        "smtp://",
        "smtp://m.example:99999",
        "smtp://m.example/path",
        "smtp://m.example?x=y",
        "smtps://user@m.example",
        "smtp://user:password@m.example",
    ],
)
def test_what_would_be_unsafe_or_unclear_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|would"):
        server_of(url)
