"""What joins the brokers of two regions: each keeps streams of its own, and only what concerns another region goes over
the link, a leaf node's connection of NATS (docs/decisions/0030-regions-are-leaf-nodes.md)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from archipelag_contracts import streams, subjects
from archipelag_contracts.signing import SigningKey

from archipelag_coordinator.adapters.nats import credentials, jwt, nkey
from archipelag_coordinator.adapters.nats.credentials import Keys
from archipelag_coordinator.domain.link import Link

LINK: Final = "link.creds"
SYSTEM_LINK: Final = "link-system.creds"
_LINKS_ONLY: Final = ["LEAFNODE"]
_URL: Final = re.compile(r"(nats-leaf|tls)://[A-Za-z0-9.\[\]:-]+")
# A report is settled in the region where it was said: each has a stream of them.
_STAYS: Final = (subjects.ALL_REPORTS,)
# How streams are asked at home and from another region; who joins could call itself by our region's name.
_STREAMS: Final = ("$JS.API", "$JS.*.API")
_STAYING: Final = (streams.REPORTS.name, streams.OUTPUT.name)
# Of streams, another region's Coordinators write, read and remove files in one, and need no more.
_NO_SAY: Final = (
    "$JS.ACK.>",
    *(
        f"{base}.{what}"
        for base in _STREAMS
        for what in (
            *("INFO", "ACCOUNT.>", "META.>", "SERVER.>", "CONSUMER.>"),
            *(
                "STREAM.NAMES",
                "STREAM.LIST",
                "STREAM.CREATE.>",
                "STREAM.UPDATE.>",
                "STREAM.DELETE.>",
            ),
            *("STREAM.SNAPSHOT.>", "STREAM.RESTORE.>", "STREAM.PEER.>", "STREAM.LEADER.>"),
            "STREAM.MSG.DELETE.>",
            *(f"STREAM.*.{kept}" for kept in _STAYING),
            *(f"STREAM.MSG.GET.{kept}" for kept in _STAYING),
            *(f"DIRECT.GET.{kept}{rest}" for kept in _STAYING for rest in ("", ".>")),
        )
    ),
)


def write_links(keys: Keys, link: Link, folder: Path) -> None:
    """The two files by which the region's broker shows another region's broker that it may join: one for the
    network's account, one for events of connections. Readable by this user alone.

    Raises OSError, also where another link's stand there.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    shown = {
        LINK: link_credentials(keys, link),
        SYSTEM_LINK: system_link_credentials(keys, link),
    }
    for name, text in shown.items():
        credentials.write_once(folder / name, text)
        if (folder / name).read_text() != text:
            raise FileExistsError(
                f"{folder / name} is another link's, or of an older version: choose another folder"
            )


def link_credentials(keys: Keys, link: Link) -> str:
    """For everything within the account but reports and the rule over streams. Whoever has it hears all that Islands
    and Coordinators of other regions say to this one, as its broker does, and can start no client by it."""
    claims = credentials.user_claims()
    claims |= {"pub": {"deny": [*_STAYS, *_NO_SAY]}, "sub": {"deny": list(_STAYS)}}
    return _file(keys.account, keys.account_id, _key(keys, "link", link), f"link of {link}", claims)


def system_link_credentials(keys: Keys, link: Link) -> str:
    """For the word of connections that begin and end, and for nothing else of the system's account."""
    heard = [
        subject.format(account=keys.account_id)
        for subject in (credentials.CONNECTED, credentials.DISCONNECTED)
    ]
    claims = credentials.user_claims(publishes=heard, subscribes=heard)
    key = _key(keys, "system link", link)
    return _file(keys.system, keys.system_id, key, f"system link of {link}", claims)


def user_of(keys: Keys, link: Link) -> str:
    """The public key that it shows for the network's account: what is revoked where it is taken back."""
    return nkey.public(nkey.USER, _key(keys, "link", link).public)


def system_user_of(keys: Keys, link: Link) -> str:
    """The same for the system's account."""
    return nkey.public(nkey.USER, _key(keys, "system link", link).public)


def accepting_config(port: int) -> str:
    """For the configuration of the broker that others join, by the addresses that they know and no others."""
    return f"leafnodes {{ port: {port}, no_advertise: true }}\n"


def joining_config(keys: Keys, urls: Sequence[str], folder: Path) -> str:
    """For the configuration of a broker that joins another region's, whose servers are at `urls`; `folder` holds what
    `write_links` wrote. Raises KeysUnusable, ValueError."""
    for url in urls:
        if not _URL.fullmatch(url):
            raise ValueError(f"a link leads to nats-leaf://host:port or tls://host:port, not {url}")
    at = ", ".join(f'"{url}"' for url in urls)
    remotes = "\n".join(
        f"    {{ urls: [{at}], account: {account}, credentials: {credentials.quoted(folder / name)} }}"
        for account, name in ((keys.account_id, LINK), (keys.system_id, SYSTEM_LINK))
    )
    return f"leafnodes {{\n  reconnect: 1\n  remotes: [\n{remotes}\n  ]\n}}\n"


def _key(keys: Keys, what: str, link: Link) -> SigningKey:
    """Of the same link always the same, so that any copy of the network's keys can write it again. No region's name
    has a space, so that none of another number is taken for it."""
    purpose = f"archipelag {what} {link}\n".encode()
    return SigningKey.from_seed(hashlib.sha256(purpose + keys.operator.seed()).digest())


def _file(
    signer: SigningKey, issuer: str, key: SigningKey, name: str, claims: Mapping[str, Any]
) -> str:
    """A token and the key it is for, in the form that servers read."""
    token = jwt.encode(
        signer,
        issuer=issuer,
        subject=nkey.public(nkey.USER, key.public),
        name=name,
        nats={**claims, "allowed_connection_types": _LINKS_ONLY},
        issued_at=credentials.PRELOADED_AT,
    )
    seed = nkey.seed(nkey.USER, key)
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
