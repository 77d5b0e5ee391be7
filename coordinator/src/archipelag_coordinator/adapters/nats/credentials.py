"""Keys of a network and the tokens made from them: who may say what on the message fabric. No password anywhere."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from archipelag_contracts import subjects
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.errors import BadSignature
from archipelag_contracts.ids import IslandId, RelayId
from archipelag_contracts.signing import SigningKey
from cryptography.hazmat.primitives.asymmetric import ec

from archipelag_coordinator.adapters.nats import jwt, nkey

CLAIMS_UPDATE: Final = "$SYS.REQ.CLAIMS.UPDATE"
CONNECTED: Final = "$SYS.ACCOUNT.{account}.CONNECT"
DISCONNECTED: Final = "$SYS.ACCOUNT.{account}.DISCONNECT"

ISLAND_PAYLOAD_MAX: Final = 1 << 20
ISLAND_SUBSCRIPTIONS_MAX: Final = 16
# An Island answers an assignment once, on the inbox that the Coordinator named, and only for so long.
REPLY_TTL_NS: Final = 30 * 1_000_000_000
CONNECTION_TYPES: Final = ["STANDARD", "WEBSOCKET"]
# Older than anything that a Coordinator pushes, so that a broker which restarts keeps what was pushed.
PRELOADED_AT: Final = 1
JETSTREAM_DISK_BYTES: Final = 8 << 30
JETSTREAM_MEMORY_BYTES: Final = 1 << 30
LINKS_MAX: Final = 64
"""Servers of other regions that may join this one's, for the network's account and the system's alike."""

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_UNLIMITED: Final = -1
# File name → the kind of key. The last three sign our own messages, not the broker's.
_KINDS: Final = {
    "operator": nkey.OPERATOR,
    "system": nkey.ACCOUNT,
    "account": nkey.ACCOUNT,
    "system_user": nkey.USER,
    "coordinator_user": nkey.USER,
    "assignment": nkey.USER,
    "publisher": nkey.USER,
    "catalogue": nkey.USER,
}
_COSIGN: Final = "cosign.pem"


@dataclass(frozen=True)
class Keys:
    """All private keys of a network's control plane. Whoever has them is the Coordinator."""

    operator: SigningKey
    system: SigningKey
    account: SigningKey
    system_user: SigningKey
    coordinator_user: SigningKey
    assignment: SigningKey
    """Signs assignments, cancels and heartbeat replies."""
    publisher: SigningKey
    """Signs the manifests that this network publishes itself, for Islands that know no other signatures."""
    catalogue: SigningKey
    """Signs the documents that say which Cargos may run."""
    cosign: CosignKey
    """Signs what this network publishes itself, as every publisher does."""

    @property
    def account_id(self) -> str:
        return nkey.public(nkey.ACCOUNT, self.account.public)

    @property
    def system_id(self) -> str:
        return nkey.public(nkey.ACCOUNT, self.system.public)

    @property
    def operator_id(self) -> str:
        return nkey.public(nkey.OPERATOR, self.operator.public)


class KeysUnusable(Exception):
    """The folder of keys cannot be used; the message says what to do."""


def init_keys(state_dir: Path) -> Keys:
    """Makes the keys that are missing in `state_dir`, readable by this user alone. Existing ones stay as they are."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    state_dir.chmod(0o700)
    fresh = not _path(state_dir, "publisher").exists()
    for name, kind in _KINDS.items():
        if fresh or name != "catalogue":
            write_once(_path(state_dir, name), nkey.seed(kind, SigningKey.generate()) + "\n")
    if fresh:
        write_once(state_dir / _COSIGN, CosignKey.generate().private_pem().decode())
    return load_keys(state_dir)


def load_keys(state_dir: Path) -> Keys:
    """Raises KeysUnusable when one is missing, damaged, or readable by other users."""
    _make_later(state_dir)
    keys = {name: _read(_path(state_dir, name), kind) for name, kind in _KINDS.items()}
    return Keys(**keys, cosign=_read_cosign(state_dir / _COSIGN))


def island_token(
    keys: Keys,
    public_key: bytes,
    island: IslandId,
    name: str,
    *,
    issued_at: datetime,
    expires_at: datetime,
) -> str:
    """A user token for the Island's own key: its own subjects and nothing else."""
    claims = user_claims(
        publishes=subjects.island_publishes(island),
        subscribes=subjects.island_subscribes(island),
        subscriptions_max=ISLAND_SUBSCRIPTIONS_MAX,
        payload_max=ISLAND_PAYLOAD_MAX,
    )
    claims["resp"] = {"max": 1, "ttl": REPLY_TTL_NS}
    return jwt.encode(
        keys.account,
        issuer=keys.account_id,
        subject=nkey.public(nkey.USER, public_key),
        name=f"{island} {name}",
        nats=claims,
        issued_at=int(issued_at.timestamp()),
        expires_at=int(expires_at.timestamp()),
    )


def coordinator_token(keys: Keys, relay: RelayId, *, issued_at: datetime) -> str:
    """For a Coordinator process: everything within the account. It holds the account's key anyway."""
    return jwt.encode(
        keys.account,
        issuer=keys.account_id,
        subject=nkey.public(nkey.USER, keys.coordinator_user.public),
        name=f"coordinator {relay}",
        nats=user_claims(),
        issued_at=int(issued_at.timestamp()),
    )


def system_token(keys: Keys, relay: RelayId, *, issued_at: datetime) -> str:
    """For the connection over which a Coordinator tells the broker who is cut off, and hears whose connection began or
    ended; good for nothing else."""
    heard = [subject.format(account=keys.account_id) for subject in (CONNECTED, DISCONNECTED)]
    return jwt.encode(
        keys.system,
        issuer=keys.system_id,
        subject=nkey.public(nkey.USER, keys.system_user.public),
        name=f"coordinator {relay}, claims",
        nats=user_claims(publishes=[CLAIMS_UPDATE], subscribes=[f"{inbox_of(relay)}.>", *heard]),
        issued_at=int(issued_at.timestamp()),
    )


def account_token(keys: Keys, revoked: Mapping[str, int], *, issued_at: int) -> str:
    """The account that Coordinators and Islands share. `revoked`: user's public key → tokens up to when are void."""
    limits = {
        "subs": _UNLIMITED,
        "data": _UNLIMITED,
        "payload": _UNLIMITED,
        "imports": 0,
        "exports": 0,
        "wildcards": False,
        "conn": _UNLIMITED,
        "leaf": LINKS_MAX,
        "disk_storage": JETSTREAM_DISK_BYTES,
        "mem_storage": JETSTREAM_MEMORY_BYTES,
        "streams": 16,
        "consumer": 64,
    }
    nats: dict[str, Any] = {"type": "account", "limits": limits}
    if revoked:
        nats["revocations"] = dict(revoked)
    return _account(keys, keys.account_id, "archipelag", nats, issued_at)


def system_account_token(keys: Keys, revoked: Mapping[str, int], *, issued_at: int) -> str:
    """The account of events and claims. `revoked`: as of `account_token`."""
    nats: dict[str, Any] = {"type": "account", "limits": _system_limits()}
    if revoked:
        nats["revocations"] = dict(revoked)
    return _account(keys, keys.system_id, "system", nats, issued_at)


def broker_config(keys: Keys, *, resolver_dir: Path) -> str:
    """What a nats-server's configuration needs to know this network: no secret stands in it.

    `resolver_dir` is the broker's own folder; what Coordinators push is kept there over a restart.
    """
    return f"""\
operator: "{_operator_token(keys)}"
system_account: {keys.system_id}
resolver: {{
  type: full
  dir: {quoted(resolver_dir)}
  allow_delete: false
  interval: "2m"
}}
resolver_preload: {{
  {keys.system_id}: "{system_account_token(keys, {}, issued_at=PRELOADED_AT)}"
  {keys.account_id}: "{account_token(keys, {}, issued_at=PRELOADED_AT)}"
}}
"""


def inbox_of(relay: RelayId) -> str:
    """Where one Coordinator process receives replies. No Island may listen there."""
    return f"_INBOX.{relay}"


def user_claims(
    *,
    publishes: list[str] | None = None,
    subscribes: list[str] | None = None,
    subscriptions_max: int = _UNLIMITED,
    payload_max: int = _UNLIMITED,
) -> dict[str, Any]:
    """What a token lets its user say and hear. None: everything within the account."""
    return {
        "type": "user",
        "pub": {} if publishes is None else {"allow": publishes},
        "sub": {} if subscribes is None else {"allow": subscribes},
        "subs": subscriptions_max,
        "data": _UNLIMITED,
        "payload": payload_max,
        "allowed_connection_types": CONNECTION_TYPES,
    }


def _operator_token(keys: Keys) -> str:
    return jwt.encode(
        keys.operator,
        issuer=keys.operator_id,
        subject=keys.operator_id,
        name="archipelag",
        nats={"type": "operator", "system_account": keys.system_id},
        issued_at=PRELOADED_AT,
    )


def _account(keys: Keys, subject: str, name: str, nats: Mapping[str, Any], issued_at: int) -> str:
    return jwt.encode(
        keys.operator,
        issuer=keys.operator_id,
        subject=subject,
        name=name,
        nats=nats,
        issued_at=issued_at,
    )


def _system_limits() -> dict[str, Any]:
    names = ("subs", "data", "payload", "imports", "exports", "conn")
    return dict.fromkeys(names, _UNLIMITED) | {"wildcards": True, "leaf": LINKS_MAX}


def quoted(path: Path) -> str:
    """As a value in a server's configuration. Raises KeysUnusable."""
    text = str(path)
    if '"' in text or "\n" in text or "\\" in text:
        raise KeysUnusable(
            f"the broker cannot read a folder of this name, choose another: {text!r}"
        )
    return f'"{text}"'


def _path(state_dir: Path, name: str) -> Path:
    return state_dir / f"{name}.seed"


def _make_later(state_dir: Path) -> None:
    """Keys that the first releases did not have. They follow from the publisher's, so that Coordinators whose folders
    are copies of each other come to the same ones."""
    catalogue, cosigns = _path(state_dir, "catalogue"), state_dir / _COSIGN
    if (catalogue.exists() and cosigns.exists()) or not _path(state_dir, "publisher").exists():
        return
    seed = _read(_path(state_dir, "publisher"), _KINDS["publisher"]).seed()
    made = SigningKey.from_seed(hashlib.sha256(b"archipelag catalogue key\n" + seed).digest())
    number = int.from_bytes(hashlib.sha512(b"archipelag cosign key\n" + seed).digest(), "big")
    curve = ec.SECP256R1()
    private = ec.derive_private_key(1 + number % (_P256_ORDER - 1), curve)
    try:
        write_once(catalogue, nkey.seed(nkey.USER, made) + "\n")
        write_once(cosigns, CosignKey(private).private_pem().decode())
    except OSError as error:
        raise KeysUnusable(
            f"{state_dir} lacks keys that this version needs and cannot be written to ({error.strerror}): "
            "run `archipelag-coordinator keys init` where it can be"
        ) from error


def write_once(path: Path, text: str) -> None:
    """All of the file or none of it, and never over an existing one, even when two processes do this at once."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # Where another process was faster, its key is as good.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _read_cosign(path: Path) -> CosignKey:
    try:
        _refuse_readable(path)
        return CosignKey.from_pem(path.read_bytes())
    except FileNotFoundError:
        raise KeysUnusable(f"{path} is missing: run `archipelag-coordinator keys init`") from None
    except BadSignature as error:
        raise KeysUnusable(f"{path} is damaged ({error}): restore it from a backup") from None


def _refuse_readable(path: Path) -> None:
    if path.stat().st_mode & 0o007:
        raise KeysUnusable(f"other users can read {path}: chmod 600 it, and consider it known")


def _read(path: Path, kind: int) -> SigningKey:
    try:
        _refuse_readable(path)
        return nkey.from_seed(kind, path.read_text())
    except FileNotFoundError:
        raise KeysUnusable(
            f"{path} is missing: run `archipelag-coordinator keys init`, or set ARCHIPELAG_STATE_DIR"
        ) from None
    except ValueError as error:
        raise KeysUnusable(f"{path} is damaged ({error}): restore it from a backup") from None
