"""Every setting with its unit and default; the one reader of the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.errors import InvalidInput

_REGISTRY: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9._-]+)*")

_LOOPBACK: Final = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:|$)")
_PUBLIC_URL: Final = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Settings:
    """`ARCHIPELAG_DATABASE_URL` and so on; every limit of `Policy` as `ARCHIPELAG_POLICY_<NAME>`."""

    database_url: str = field(repr=False)
    nats_url: str
    state_dir: Path
    http_host: str = "127.0.0.1"
    http_port: int = 8420
    grpc_host: str = "127.0.0.1"
    grpc_port: int = 8421
    broker_public_urls: tuple[str, ...] = ()
    """Where Islands reach the broker, when that is another address than the Coordinator's own."""
    nats_replicas: int = 1
    """Servers of a cluster that keep reports and the replay of output: 1, 3 or 5."""
    database_pool_max: int = 16
    blobs: str = "nats"
    """Where the bytes of files are kept: `nats`, or `s3://bucket/prefix?endpoint=https://…&region=…`."""
    blobs_key_id: str = field(default="", repr=False)
    """For `s3://`: the access key's id."""
    blobs_secret: str = field(default="", repr=False)
    """For `s3://`: the access key's secret."""
    registry: str = ""
    """host[:port][/path] of the registry where images stand whose names have no host of their own."""
    public_url: str = ""
    """Where people reach the HTTP door, `https://host`; links in mails begin with it. Empty: its host and port."""
    smtp_url: str = field(default="", repr=False)
    """The server that mail is sent by. Empty: no mail is sent, and nobody can sign in by it."""
    mail_from: str = ""
    """Whom that mail comes from: `Archipelag <net@example.org>`."""
    local_mailbox: bool = False
    """Mail is kept in the state's folder for all to read who reach this machine's own pages; for one's own network."""
    oidc_issuer: str = ""
    """A provider of sign-in by OpenID Connect, as it writes itself: `https://…`."""
    oidc_client_id: str = ""
    """What that provider knows this network by."""
    oidc_client_secret: str = field(default="", repr=False)
    """And the secret it gave it."""
    releases_dir: Path | None = None
    """Where releases of the Island's software lie, as `release publish` leaves them. None: none are handed out."""
    log_level: str = "INFO"
    policy: Policy = field(default_factory=Policy)

    @property
    def people_url(self) -> str:
        """`public_url`, or where the HTTP door is on this machine."""
        if self.public_url:
            return self.public_url
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
        host = everywhere.get(self.http_host, self.http_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.http_port}"

    def describe(self) -> str:
        """For the log: no secrets."""
        return (
            f"http={self.http_host}:{self.http_port} grpc={self.grpc_host}:{self.grpc_port} "
            f"nats={self.nats_url} state_dir={self.state_dir}"
        )


@dataclass(frozen=True)
class AdminSettings:
    """What `archipelag-coordinator admin` needs: no database, no keys of the network."""

    api_url: str
    api_key: str = field(repr=False)


def read_admin(environ: Mapping[str, str]) -> AdminSettings:
    """ARCHIPELAG_API_URL, or else the door that ARCHIPELAG_HTTP_PORT names; ARCHIPELAG_API_KEY."""
    port = environ.get("ARCHIPELAG_HTTP_PORT") or str(Settings.http_port)
    url = environ.get("ARCHIPELAG_API_URL") or f"http://127.0.0.1:{port}"
    base = url.split(",")[0].strip().rstrip("/").removesuffix("/api/v1")
    return AdminSettings(base, environ.get("ARCHIPELAG_API_KEY", ""))


def read(environ: Mapping[str, str]) -> Settings:
    """Raises InvalidInput with every setting that is missing or cannot be read."""
    errors: dict[str, list[str]] = {}
    given: dict[str, Any] = {}
    for one in fields(Settings):
        name = f"ARCHIPELAG_{one.name.upper()}"
        raw = environ.get(name)
        if one.name == "policy" or raw is None or raw == "":
            continue
        try:
            given[one.name] = _READERS[one.name](raw) if one.name in _READERS else raw
        except ValueError as error:
            errors[name] = [str(error)]
    for name in ("database_url", "nats_url", "state_dir"):
        if name not in given:
            given[name] = Path() if name == "state_dir" else ""
            if f"ARCHIPELAG_{name.upper()}" not in errors:
                errors[f"ARCHIPELAG_{name.upper()}"] = ["is required"]
    _check_blobs(given, errors)
    _check_mail(given, errors)
    _check_provider(given, errors)
    policy = _policy(environ, errors)
    if errors:
        raise InvalidInput(errors)
    return Settings(**given, policy=policy)


def _policy(environ: Mapping[str, str], errors: dict[str, list[str]]) -> Policy:
    default = Policy()
    given: dict[str, Any] = {}
    for one in fields(Policy):
        name = f"ARCHIPELAG_POLICY_{one.name.upper()}"
        raw = environ.get(name)
        if not raw or one.name == "shares":
            continue
        kind = type(getattr(default, one.name))
        try:
            given[one.name] = _truth(raw) if kind is bool else kind(raw)
        except ValueError:
            errors[name] = [f"must be a {kind.__name__}"]
    policy = replace(default, **given)
    if policy.insured_day_ucredits < 0:
        errors["ARCHIPELAG_POLICY_INSURED_DAY_UCREDITS"] = ["must be 0 or more"]
    if not 0 < policy.catalogue_renew_s < policy.catalogue_life_s:
        errors["ARCHIPELAG_POLICY_CATALOGUE_RENEW_S"] = [
            "must be more than 0 and less than ARCHIPELAG_POLICY_CATALOGUE_LIFE_S"
        ]
    most = policy.insured_of_earned_bp_max
    if not 0 <= policy.insured_of_earned_bp <= most:
        errors["ARCHIPELAG_POLICY_INSURED_OF_EARNED_BP"] = [
            f"must be 0 to {most}: with more, failing on purpose would pay"
        ]
    return policy


def _check_blobs(given: Mapping[str, Any], errors: dict[str, list[str]]) -> None:
    if given.get("blobs", "nats") == "nats":
        return
    for name in ("blobs_key_id", "blobs_secret"):
        if not given.get(name):
            errors[f"ARCHIPELAG_{name.upper()}"] = ["is required with s3://"]


def _check_mail(given: Mapping[str, Any], errors: dict[str, list[str]]) -> None:
    if given.get("local_mailbox") and not _LOOPBACK.match(given.get("public_url", "http://[::1]")):
        errors["ARCHIPELAG_LOCAL_MAILBOX"] = [
            "must be off where ARCHIPELAG_PUBLIC_URL is not this machine: whoever reads it can sign in as anybody"
        ]
    if not given.get("smtp_url"):
        return
    if given.get("local_mailbox"):
        errors["ARCHIPELAG_LOCAL_MAILBOX"] = ["must be off with ARCHIPELAG_SMTP_URL"]
    if not given.get("mail_from"):
        errors["ARCHIPELAG_MAIL_FROM"] = ["is required with ARCHIPELAG_SMTP_URL"]


def _check_provider(given: Mapping[str, Any], errors: dict[str, list[str]]) -> None:
    names = ("oidc_issuer", "oidc_client_id", "oidc_client_secret")
    if any(given.get(name) for name in names):
        for name in names:
            if not given.get(name):
                errors[f"ARCHIPELAG_{name.upper()}"] = ["is required with the others of OIDC"]


def _public_url(raw: str) -> str:
    url = raw.rstrip("/")
    if not _PUBLIC_URL.fullmatch(url):
        raise ValueError("must be https://host[:port], in lower case and without a path")
    return url


def _blobs(raw: str) -> str:
    if raw != "nats" and not raw.startswith("s3://"):
        raise ValueError("must be nats or s3://bucket/prefix?endpoint=https://…&region=…")
    return raw


def _port(raw: str) -> int:
    if not raw.isascii() or not raw.isdigit() or not 0 <= int(raw) <= 65535:
        raise ValueError("must be a port, 0 to 65535")
    return int(raw)


def _count(raw: str) -> int:
    if not raw.isascii() or not raw.isdigit() or not 1 <= int(raw) <= 1000:
        raise ValueError("must be a whole number, 1 to 1000")
    return int(raw)


def _replicas(raw: str) -> int:
    if raw not in ("1", "3", "5"):
        raise ValueError("must be 1, 3 or 5, and no more than the cluster has servers")
    return int(raw)


def _truth(raw: str) -> bool:
    if raw.lower() not in ("1", "0", "true", "false", "yes", "no"):
        raise ValueError("must be true or false")
    return raw.lower() in ("1", "true", "yes")


def _level(raw: str) -> str:
    if raw.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
    return raw.upper()


def _registry(raw: str) -> str:
    if not _REGISTRY.fullmatch(raw):
        raise ValueError("must be host[:port][/path], in lower case and without https://")
    return raw


_READERS = {
    "state_dir": lambda raw: Path(raw).absolute(),
    "releases_dir": lambda raw: Path(raw).absolute(),
    "http_port": _port,
    "grpc_port": _port,
    "nats_replicas": _replicas,
    "database_pool_max": _count,
    "broker_public_urls": lambda raw: tuple(url.strip() for url in raw.split(",") if url.strip()),
    "log_level": _level,
    "blobs": _blobs,
    "registry": _registry,
    "public_url": _public_url,
    "local_mailbox": _truth,
}
