"""A mailed link that signs one person in, once: whose it is, how long it is good, where it leads."""

from __future__ import annotations

import hashlib
import html
import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archipelag_coordinator.errors import InvalidInput, LinkNotValid

LINK_SHAPE: Final = re.compile(r"al_[0-9A-Za-z]{43}")
EMAIL_MAX: Final = 254
LOCAL_PART_MAX: Final = 64
NEXT_MAX: Final = 500
# What the mail's headers and other servers take without quoting. Other alphabets' hosts are written as xn--….
_LOCAL_PART: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_HOST: Final = re.compile(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+"
)
# No second slash and no backslash: a browser would take what follows for a host.
_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")


@dataclass(frozen=True)
class SignIn:
    """What is kept of a link. `hash` is the SHA-256 of its secret, which stands in the mail only."""

    hash: bytes
    email: str
    created_at: datetime
    expires_at: datetime
    next_path: str = "/"
    """Where the person wanted to go: a path of ours."""
    used_at: datetime | None = None

    def check_valid(self, now: datetime) -> None:
        """Raises LinkNotValid: used or expired."""
        if self.used_at is not None:
            raise LinkNotValid("was used already")
        if now >= self.expires_at:
            raise LinkNotValid("has expired")


def hash_link(secret: str) -> bytes:
    """What is stored of a link. Raises LinkNotValid when it is not of a link's shape."""
    if not LINK_SHAPE.fullmatch(secret):
        raise LinkNotValid("is unknown")
    return hashlib.sha256(secret.encode()).digest()


def normal_email(given: str) -> str:
    """An address as it is kept and compared: in lower case. Raises InvalidInput."""
    email = given.strip(" ").lower()
    name, _, host = email.rpartition("@")
    fits = len(email) <= EMAIL_MAX and len(name) <= LOCAL_PART_MAX
    if not (fits and _LOCAL_PART.fullmatch(name) and _HOST.fullmatch(host)):
        raise InvalidInput({"email": ["must be an address such as ada@example.org"]})
    return email


def local_path(given: str) -> str:
    """A path of ours, with its query. Raises InvalidInput for what could lead elsewhere."""
    if len(given) > NEXT_MAX or not _LOCAL_PATH.fullmatch(given):
        raise InvalidInput({"next": [f"must be a path of this site, at most {NEXT_MAX} long"]})
    return given


def neighbourhood(client: str) -> str:
    """Whom a client address stands for where requests are counted: of IPv6, whole networks of 64 bits."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client[:64]
    if address.version == 6:
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def letter(link: str, minutes: int) -> tuple[str, str, str]:
    """Subject, text and HTML of the mail with this link."""
    text = (
        f"Open this link to sign in to Archipelag:\n\n{link}\n\n"
        f"It is good for {minutes} minutes, once. If you did not ask for it, do nothing: "
        "nobody can sign in without it.\n"
    )
    shown = html.escape(link)
    body = (
        "<!doctype html><meta charset=utf-8><title>Sign in to Archipelag</title>"
        f'<p>Open this link to sign in to Archipelag:</p><p><a href="{shown}">{shown}</a></p>'
        f"<p>It is good for {minutes} minutes, once. If you did not ask for it, do nothing: "
        "nobody can sign in without it.</p>"
    )
    return "Sign in to Archipelag", text, body
