"""Hands mail to an SMTP server: in the clear, by STARTTLS or by TLS from the first byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from enum import StrEnum
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from archipelag_coordinator.adapters.mail.message import compose
from archipelag_coordinator.adapters.mail.outbox import Undeliverable

SHAPE: Final = "must be smtps://[user:password@]host[:465], smtp+starttls://…[:587], or smtp://host[:25] in the clear"
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
STEP_S: Final = 15.0


class Security(StrEnum):
    CLEAR = "smtp"
    STARTTLS = "smtp+starttls"
    TLS = "smtps"


_PORTS: Final = {Security.CLEAR: 25, Security.STARTTLS: 587, Security.TLS: 465}


@dataclass(frozen=True)
class SmtpServer:
    host: str
    port: int
    security: Security
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def server_of(url: str) -> SmtpServer:
    """Raises ValueError. A password never goes over a network in the clear."""
    try:
        parts = urlsplit(url)
        security = Security(parts.scheme)
        port = parts.port or _PORTS[security]
    except ValueError:
        raise ValueError(SHAPE) from None
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(SHAPE)
    username = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    if (username is None) is not (password is None):
        raise ValueError("must have a user and a password, or neither")
    if password and security is Security.CLEAR and parts.hostname not in LOOPBACK:
        raise ValueError("would send the password in the clear: use smtps:// or smtp+starttls://")
    return SmtpServer(parts.hostname, port, security, username, password)


class SmtpCarrier:
    """Implements `Carrier`: one connection a message. Certificates are checked, and STARTTLS is not given up on."""

    def __init__(
        self,
        server: SmtpServer,
        sender: Address,
        now: Callable[[], datetime],
        *,
        cert_bundle: str | None = None,
    ) -> None:
        self._server = server
        self._sender = sender
        self._now = now
        self._cert_bundle = cert_bundle

    async def carry(self, to: str, subject: str, text: str, html: str) -> None:
        message = compose(self._sender, to, subject, text, html, self._now())
        server = self._server
        try:
            await aiosmtplib.send(
                message,
                sender=self._sender.addr_spec,
                recipients=[to],
                hostname=server.host,
                port=server.port,
                username=server.username,
                password=server.password,
                timeout=STEP_S,
                use_tls=server.security is Security.TLS,
                start_tls=server.security is Security.STARTTLS,
                cert_bundle=self._cert_bundle,
            )
        except aiosmtplib.SMTPException as error:
            if _for_good(error):
                raise Undeliverable(f"the mail server refused it: {error}") from None
            raise ConnectionError(str(error)) from error


def _for_good(error: aiosmtplib.SMTPException) -> bool:
    """Whether the server said that this message will never do: of the recipient or the content, by 5xx.

    A password that it does not take is the operator's to mend, and may be mended before the next try.
    """
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return False
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(one.code >= 500 for one in error.recipients)
    return isinstance(error, aiosmtplib.SMTPResponseException) and error.code >= 500
