"""The mail server: whether it answers, speaks TLS where it must, and takes our password."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from archipelag_coordinator.doctor.finding import Finding, fail, ok, warn

ANSWER_S: Final = 10.0
PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
ADVICE: Final = "check ARCHIPELAG_SMTP_URL, and that this machine may send mail out by that port"


async def examine(url: str) -> list[Finding]:
    """Sends nothing. `url` as ARCHIPELAG_SMTP_URL: smtp://, smtp+starttls:// or smtps://, user and password in it."""
    if not url:
        advice = "set ARCHIPELAG_SMTP_URL, or people cannot sign in by mail"
        return [warn("mail", "no server is set", advice)]
    return [await asyncio.to_thread(_ask, url)]


def _ask(url: str) -> Finding:
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError):
        return fail("mail", "ARCHIPELAG_SMTP_URL cannot be read", ADVICE)
    where = f"{parts.hostname}:{port}"
    try:
        with _connection(parts, port) as server:
            if parts.scheme == "smtp+starttls":
                server.starttls(context=ssl.create_default_context())
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.noop()
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


def _connection(parts: SplitResult, port: int) -> smtplib.SMTP:
    host = parts.hostname or ""
    if parts.scheme == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, port, timeout=ANSWER_S, context=context)
    return smtplib.SMTP(host, port, timeout=ANSWER_S)


def _said(error: smtplib.SMTPResponseException) -> str:
    told = error.smtp_error
    return told.decode(errors="replace") if isinstance(told, bytes) else str(told)
