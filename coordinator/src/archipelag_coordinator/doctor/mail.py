"""The mail server: whether it answers, speaks TLS where it must, and takes our password."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from typing import Final

from archipelag_contracts.findings import Finding, fail, ok, warn

from archipelag_coordinator.adapters.mail.smtp import Security, SmtpServer, server_of
from archipelag_coordinator.config import Settings

ANSWER_S: Final = 10.0
ADVICE: Final = "check ARCHIPELAG_SMTP_URL, and that this machine may send mail out by that port"


async def examine(settings: Settings) -> list[Finding]:
    """Sends nothing."""
    if settings.local_mailbox:
        return [ok("mail", f"is kept on this machine, to be read at {settings.people_url}/mailbox")]
    if not settings.smtp_url:
        advice = "set ARCHIPELAG_SMTP_URL, or people cannot sign in by mail"
        return [warn("mail", "no server is set", advice)]
    try:
        server = server_of(settings.smtp_url)
    except ValueError as error:
        return [fail("mail", "ARCHIPELAG_SMTP_URL cannot be used", f"it {error}")]
    return [await asyncio.to_thread(_ask, server)]


def _ask(server: SmtpServer) -> Finding:
    where = f"{server.host}:{server.port}"
    try:
        with _connection(server) as connection:
            if server.security is Security.STARTTLS:
                connection.starttls(context=ssl.create_default_context())
            if server.username:
                connection.login(server.username, server.password or "")
            connection.noop()
    except smtplib.SMTPAuthenticationError as error:
        return fail(
            "mail",
            f"{where} does not take our password: {_said(error)}",
            "correct it in ARCHIPELAG_SMTP_URL",
        )
    except ssl.SSLError as error:
        advice = (
            "its certificate must be for this name and by an authority that this machine trusts"
        )
        return fail("mail", f"{where}: {getattr(error, 'verify_message', '') or error}", advice)
    except (OSError, smtplib.SMTPException) as error:
        return fail("mail", f"{where}: {error or type(error).__name__}", ADVICE)
    return ok("mail", f"{where} takes mail from us")


def _connection(server: SmtpServer) -> smtplib.SMTP:
    if server.security is Security.TLS:
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(server.host, server.port, timeout=ANSWER_S, context=context)
    return smtplib.SMTP(server.host, server.port, timeout=ANSWER_S)


def _said(error: smtplib.SMTPResponseException) -> str:
    told = error.smtp_error
    return told.decode(errors="replace") if isinstance(told, bytes) else str(told)
