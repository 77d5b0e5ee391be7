"""Tokens have the shape that nats-server reads, and carry only what they should."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nkeys
import pytest
from archipelag_contracts import subjects
from archipelag_contracts.ids import IslandId, RelayId
from archipelag_contracts.signing import SigningKey, verify
from archipelag_coordinator.adapters.nats import credentials, jwt, nkey

ISLAND = IslandId("isl_00000000000000000000000001")
OTHER = IslandId("isl_00000000000000000000000002")
RELAY = RelayId("rly_00000000000000000000000001")
GOLDEN = "b8151421f7a8c64eb40464d681dc443577af606cc574eedae7ca2059c5fa4a66"
AT = datetime(2026, 1, 1, tzinfo=UTC)


def opened(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    head, body, signature = token.split(".")

    def raw(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    return json.loads(raw(head)), json.loads(raw(body)), f"{head}.{body}".encode(), raw(signature)


@pytest.mark.parametrize(
    ("kind", "letter"), [(nkey.OPERATOR, "O"), (nkey.ACCOUNT, "A"), (nkey.USER, "U")]
)
def test_keys_read_as_the_nkeys_library_writes_them(kind: int, letter: str) -> None:
    key = SigningKey.generate()

    theirs = nkeys.from_seed(nkey.seed(kind, key).encode())

    assert nkey.public(kind, key.public) == theirs.public_key.decode()
    assert nkey.public(kind, key.public)[0] == letter
    assert theirs.sign(b"x") == key.sign(b"", b"x")
    assert nkey.from_seed(kind, nkey.seed(kind, key)).public == key.public


def test_a_seed_of_another_kind_or_with_a_typing_error_is_refused() -> None:
    seed = nkey.seed(nkey.USER, SigningKey.generate())
    flipped = seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:]

    for text in (
        flipped,
        seed[:-1],
        "",
        "ü",
        "SUA",
        nkey.seed(nkey.ACCOUNT, SigningKey.generate()),
    ):
        with pytest.raises(ValueError, match="seed"):
            nkey.from_seed(nkey.USER, text)


def test_a_token_is_what_the_specification_says() -> None:
    key = SigningKey.from_seed(bytes(32))
    issuer = nkey.public(nkey.ACCOUNT, key.public)

    token = jwt.encode(
        key, issuer=issuer, subject="UX", name="n", nats={"type": "user"}, issued_at=7, expires_at=9
    )

    head, claims, signed, signature = opened(token)
    assert head == {"typ": "JWT", "alg": "ed25519-nkey"}
    jti = claims.pop("jti")
    assert claims == {
        "iat": 7,
        "exp": 9,
        "iss": issuer,
        "sub": "UX",
        "name": "n",
        "nats": {"type": "user", "version": 2},
    }
    assert len(jti) == 52 and set(jti) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    verify(key.public, b"", signed, signature)
    assert "=" not in token
    # Golden: the same claims by the same key are the same bytes for ever.
    assert issuer == "AA5WUJ54Z23KILLCUOUNAKTPBVZWKMQVO4O6EQ5GHLAERIMLLHNCS47C"
    assert hashlib.sha256(token.encode()).hexdigest() == GOLDEN


def test_an_islands_token_names_its_own_subjects_alone(tmp_path: Path) -> None:
    keys = credentials.init_keys(tmp_path)
    island = SigningKey.generate()

    token = credentials.island_token(
        keys, island.public, ISLAND, "Ada's box", issued_at=AT, expires_at=AT.replace(day=2)
    )

    _, claims, signed, signature = opened(token)
    verify(keys.account.public, b"", signed, signature)
    assert claims["iss"] == keys.account_id
    assert claims["sub"] == nkey.public(nkey.USER, island.public)
    assert claims["exp"] - claims["iat"] == 24 * 3600
    said = claims["nats"]
    assert said["pub"] == {"allow": subjects.island_publishes(ISLAND)}
    assert said["sub"] == {"allow": subjects.island_subscribes(ISLAND)}
    assert said["resp"]["max"] == 1
    assert said["payload"] == 1 << 20 and 0 < said["subs"] <= 16
    assert OTHER not in json.dumps(claims)


def test_folder_of_an_older_release_gets_the_keys_that_it_lacks(tmp_path: Path) -> None:
    """Two Coordinators whose folders are copies of each other come to the same ones."""
    first = credentials.init_keys(tmp_path / "one")
    for name in ("catalogue.seed", "cosign.pem"):
        (tmp_path / "one" / name).unlink()
    shutil.copytree(tmp_path / "one", tmp_path / "two")

    one = credentials.load_keys(tmp_path / "one")
    two = credentials.init_keys(tmp_path / "two")
    again = credentials.load_keys(tmp_path / "one")

    assert one.catalogue.public == two.catalogue.public == again.catalogue.public
    assert one.cosign.public == two.cosign.public == again.cosign.public
    assert len({first.catalogue.public, one.catalogue.public, one.publisher.public}) == 3
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "one").iterdir())


@pytest.mark.parametrize("name", ["cosign.pem", "catalogue.seed"])
def test_newer_keys_that_are_damaged_or_known_to_others_are_refused(
    tmp_path: Path, name: str
) -> None:
    credentials.init_keys(tmp_path)
    (tmp_path / name).chmod(0o644)
    with pytest.raises(credentials.KeysUnusable, match="other users"):
        credentials.load_keys(tmp_path)
    (tmp_path / name).chmod(0o600)
    (tmp_path / name).write_text("no key")
    with pytest.raises(credentials.KeysUnusable, match="damaged"):
        credentials.load_keys(tmp_path)


def test_keys_are_made_once_and_only_for_this_user(tmp_path: Path) -> None:
    first = credentials.init_keys(tmp_path / "a" / "b")

    again = credentials.init_keys(tmp_path / "a" / "b")

    assert again.account_id == first.account_id
    assert again.assignment.public == first.assignment.public
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    seeds = list((tmp_path / "a" / "b").iterdir())
    assert len(seeds) == 9
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in seeds)
    publics = {key.public for key in vars(first).values()}
    assert len(publics) == 9


def test_missing_damaged_and_readable_keys_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(credentials.KeysUnusable, match="keys init"):
        credentials.load_keys(tmp_path)
    credentials.init_keys(tmp_path)
    seed = tmp_path / "account.seed"
    seed.chmod(0o644)
    with pytest.raises(credentials.KeysUnusable, match="chmod"):
        credentials.load_keys(tmp_path)
    seed.chmod(0o600)
    seed.write_text("SA nothing")
    with pytest.raises(credentials.KeysUnusable, match="restore"):
        credentials.load_keys(tmp_path)


def test_the_brokers_part_is_the_same_every_time_and_holds_no_seed(tmp_path: Path) -> None:
    keys = credentials.init_keys(tmp_path)

    config = credentials.broker_config(keys, resolver_dir=tmp_path / "jwt")

    assert config == credentials.broker_config(keys, resolver_dir=tmp_path / "jwt")
    for seed in tmp_path.glob("*.seed"):
        assert seed.read_text().strip() not in config
    assert keys.system_id in config and keys.account_id in config


def test_a_pushed_account_is_newer_than_the_preloaded_one_and_names_who_is_revoked(
    tmp_path: Path,
) -> None:
    keys = credentials.init_keys(tmp_path)

    _, claims, _, _ = opened(credentials.account_token(keys, {"UA": 5}, issued_at=1000))

    assert claims["iat"] > credentials.PRELOADED_AT
    assert claims["nats"]["revocations"] == {"UA": 5}
    assert claims["nats"]["limits"]["disk_storage"] > 0


def test_the_system_connection_may_push_claims_hear_who_is_connected_and_nothing_else(
    tmp_path: Path,
) -> None:
    keys = credentials.init_keys(tmp_path)

    _, claims, _, _ = opened(credentials.system_token(keys, RELAY, issued_at=AT))

    assert claims["nats"]["pub"] == {"allow": ["$SYS.REQ.CLAIMS.UPDATE"]}
    events = [f"$SYS.ACCOUNT.{keys.account_id}.{word}" for word in ("CONNECT", "DISCONNECT")]
    assert claims["nats"]["sub"] == {"allow": [f"_INBOX.{RELAY}.>", *events]}
