"""Every setting with its unit and default; the one reader of the environment."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.errors import InvalidInput

_REGISTRY: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9._-]+)*")

REGION: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")

PORT_MAX: Final = 65_535
WORKERS_MAX: Final = 64
_LOOPBACK: Final = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:|$)")
_PUBLIC_URL: Final = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


METRICS_TOKEN_MIN: Final = 16


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
    workers: int = 1
    """Coordinator processes on this host that share both ports, each with connections of its own."""
    worker_port: int = 0
    """Where each worker answers by itself, too: the first one here, the next one port higher. 0: nowhere."""
    worker: int = 0
    """Which of the workers this process is; told by its parent and not by the environment."""
    broker_public_urls: tuple[str, ...] = ()
    """Where Islands reach the broker, when that is another address than the Coordinator's own."""
    region: str = ""
    """Where this Coordinator and its broker stand, in a network of several: `eu`. The broker's JetStream domain too."""
    nats_replicas: int = 1
    """Servers of a cluster that keep reports and the replay of output: 1, 3 or 5."""
    database_pool_max: int = 16
    blobs: str = "nats"
    """Where the bytes of files are kept: `nats`, with several regions `nats:eu` by the one whose broker keeps them, or
    `s3://bucket/prefix?endpoint=https://…&region=…`."""
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
    log_format: str = "text"
    """`text` for people, `json` for programs: one object a line, with the ids of traces and jobs."""
    metrics_token: str = field(default="", repr=False)
    """What Prometheus must show at `/metrics`. Empty: only programs on this machine are answered."""
    nats_monitor_urls: tuple[str, ...] = ()
    """Monitoring doors of the broker's servers, `http://host:8222`, whose figures are told at `/metrics` too."""
    traces_url: str = ""
    """Where spans are sent by OTLP over HTTP: `http://host:4318/v1/traces`. Empty: nobody follows requests."""
    traces_sampled: float = 0.0
    """Which part of requests is followed, 0 to 1, where the client does not decide it."""
    policy: Policy = field(default_factory=Policy)

    @property
    def people_url(self) -> str:
        """`public_url`, or where the HTTP door is on this machine."""
        if self.public_url:
            return self.public_url
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
        host = everywhere.get(self.http_host, self.http_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.http_port}"

    @property
    def keeps_blobs(self) -> bool:
        """Whether the bytes of files lie at this Coordinator's own broker."""
        return self.blobs in ("nats", f"nats:{self.region}")

    @property
    def blobs_over_nats(self) -> bool:
        """Whether the bytes of files lie at a broker of the network, and in no bucket."""
        return self.blobs.partition(":")[0] == "nats"

    @property
    def blobs_region(self) -> str | None:
        """The region whose broker it is; None: our own."""
        return self.blobs.partition(":")[2] or None

    def describe(self) -> str:
        """For the log: no secrets."""
        which = f"worker={self.worker} " if self.worker else ""
        return (
            f"{which}http={self.http_host}:{self.http_port} grpc={self.grpc_host}:{self.grpc_port} "
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
        if one.name in ("policy", "worker") or raw is None or raw == "":
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
    _check_region(given, errors)
    _check_mail(given, errors)
    _check_provider(given, errors)
    _check_workers(given, errors)
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
    if not given.get("blobs", "nats").startswith("s3://"):
        return
    for name in ("blobs_key_id", "blobs_secret"):
        if not given.get(name):
            errors[f"ARCHIPELAG_{name.upper()}"] = ["is required with s3://"]


def _check_region(given: Mapping[str, Any], errors: dict[str, list[str]]) -> None:
    """Each region's broker has streams of its own, and a file must be found from all."""
    blobs = given.get("blobs", "nats")
    if given.get("region") and blobs == "nats":
        errors["ARCHIPELAG_BLOBS"] = [
            "must be s3://…, or nats:REGION by the one whose broker keeps files for all, with ARCHIPELAG_REGION"
        ]
    if blobs.startswith("nats:") and not given.get("region"):
        errors.setdefault("ARCHIPELAG_REGION", ["is required with nats:REGION"])


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


def _check_workers(given: Mapping[str, Any], errors: dict[str, list[str]]) -> None:
    if given.get("workers", 1) == 1:
        return
    if not hasattr(socket, "SO_REUSEPORT"):
        errors["ARCHIPELAG_WORKERS"] = [
            "must be 1 on this system, where processes cannot share a port"
        ]
    for name in ("http_port", "grpc_port"):
        if given.get(name) == 0:
            errors[f"ARCHIPELAG_{name.upper()}"] = ["must not be 0 with several workers"]
    first = given.get("worker_port", 0)
    if first and first + given["workers"] - 1 > PORT_MAX:
        errors["ARCHIPELAG_WORKER_PORT"] = [f"with so many workers, must be {PORT_MAX} at most"]


def _public_url(raw: str) -> str:
    url = raw.rstrip("/")
    if not _PUBLIC_URL.fullmatch(url):
        raise ValueError("must be https://host[:port], in lower case and without a path")
    return url


def _blobs(raw: str) -> str:
    if raw == "nats" or raw.startswith("s3://"):
        return raw
    if raw.startswith("nats:") and REGION.fullmatch(raw[5:]):
        return raw
    raise ValueError("must be nats, nats:REGION or s3://bucket/prefix?endpoint=https://…&region=…")


def _region(raw: str) -> str:
    if not REGION.fullmatch(raw):
        raise ValueError("must be 1 to 32 small letters, digits and dashes, such as eu-west")
    return raw


def _port(raw: str) -> int:
    if not raw.isascii() or not raw.isdigit() or not 0 <= int(raw) <= PORT_MAX:
        raise ValueError("must be a port, 0 to 65535")
    return int(raw)


def _count(raw: str) -> int:
    if not raw.isascii() or not raw.isdigit() or not 1 <= int(raw) <= 1000:
        raise ValueError("must be a whole number, 1 to 1000")
    return int(raw)


def _workers(raw: str) -> int:
    if not raw.isascii() or not raw.isdigit() or not 1 <= int(raw) <= WORKERS_MAX:
        raise ValueError(f"must be a whole number, 1 to {WORKERS_MAX}: one for each core is plenty")
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


def _log_format(raw: str) -> str:
    if raw not in ("text", "json"):
        raise ValueError("must be text or json")
    return raw


def _secret(raw: str) -> str:
    if len(raw) < METRICS_TOKEN_MIN or not raw.isascii() or not raw.isprintable() or " " in raw:
        raise ValueError(f"must be {METRICS_TOKEN_MIN} or more printable characters without spaces")
    return raw


def _http_url(raw: str) -> str:
    parts = urlsplit(raw)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError("must be http://host:port or https://host:port, without a user")
    return raw


def _part(raw: str) -> float:
    try:
        part = float(raw)
    except ValueError:
        part = -1.0
    if not 0 <= part <= 1:
        raise ValueError("must be a number, 0 to 1")
    return part


def _several(raw: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in raw.split(",") if one.strip())


def _registry(raw: str) -> str:
    if not _REGISTRY.fullmatch(raw):
        raise ValueError("must be host[:port][/path], in lower case and without https://")
    return raw


_READERS = {
    "state_dir": lambda raw: Path(raw).absolute(),
    "releases_dir": lambda raw: Path(raw).absolute(),
    "http_port": _port,
    "grpc_port": _port,
    "workers": _workers,
    "worker_port": _port,
    "region": _region,
    "nats_replicas": _replicas,
    "database_pool_max": _count,
    "broker_public_urls": _several,
    "log_format": _log_format,
    "metrics_token": _secret,
    "nats_monitor_urls": lambda raw: tuple(_http_url(one) for one in _several(raw)),
    "traces_url": _http_url,
    "traces_sampled": _part,
    "log_level": _level,
    "blobs": _blobs,
    "registry": _registry,
    "public_url": _public_url,
    "local_mailbox": _truth,
}
