"""Composes a message by the standard library, which refuses what would break out of a header."""

from __future__ import annotations

from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from archipelag_coordinator.adapters.mail.outbox import Undeliverable


def sender_of(text: str) -> Address:
    """One address, with a name or without. Raises ValueError."""
    try:
        header = SMTP.header_factory("From", text)
        addresses = tuple(header.addresses)
    except (MessageError, ValueError, IndexError) as error:
        raise ValueError("must be an address such as Archipelag <net@example.org>") from error
    if len(addresses) != 1 or not addresses[0].domain or header.defects or "\n" in text:
        raise ValueError("must be an address such as Archipelag <net@example.org>")
    address = addresses[0]
    assert isinstance(address, Address)
    return address


def compose(
    sender: Address, to: str, subject: str, text: str, html: str, at: datetime
) -> EmailMessage:
    """Both forms in one message. Raises Undeliverable for an address or subject that no header can hold."""
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = sender
        message["To"] = Address(addr_spec=to)
        message["Subject"] = subject
    except (MessageError, ValueError, IndexError) as error:
        raise Undeliverable(f"not a message: {type(error).__name__}") from None
    message["Date"] = format_datetime(at)
    message["Message-ID"] = make_msgid(domain=sender.domain)
    # Machines that answer by themselves leave such a message alone.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message
