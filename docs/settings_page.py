"""Draws the reference of settings from the code, so that the page and the program cannot differ.

python docs/settings_page.py            writes docs/reference/settings.md
python docs/settings_page.py --check    fails when it differs
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from archipelag_coordinator.config import Settings
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.pricing import Shares
from archipelag_island.config import SETTINGS

PAGE: Final = Path(__file__).parent / "reference" / "settings.md"

COORDINATOR: Final = {
    "database_url": "`postgresql://…`, required",
    "nats_url": "`nats://host:port`, several by comma, required",
    "state_dir": "folder with the network's private keys, mode 0700, required",
    "http_host": "address of the API",
    "http_port": "port of the API",
    "grpc_host": "address where Islands enrol",
    "grpc_port": "port where Islands enrol",
    "workers": "Coordinator processes on this host that share both ports, 1 to 64, each with connections of its own; "
    "see [workers](../how-to/workers.md)",
    "worker_port": "where each worker answers by itself, too: the first one here, the next one port higher; "
    "0: nowhere",
    "broker_public_urls": "where Islands reach NATS, by comma; as `NATS_URL` where it is not set",
    "region": "where this Coordinator and its broker stand, in a network of several: 1 to 32 small letters, digits and "
    "dashes; the broker's JetStream domain too; see [regions](../how-to/regions.md)",
    "nats_replicas": "servers of a NATS cluster that keep reports and the replay of output: 1, 3 or 5",
    "database_pool_max": "connections to PostgreSQL, 1 to 1000",
    "blobs": "where the bytes of files are kept: `nats`, with several regions `nats:REGION` by the one that keeps "
    "them, or "
    "`s3://bucket/prefix?endpoint=https://…&region=…`; see [files](../how-to/files.md)",
    "blobs_key_id": "for `s3://`: the access key's id",
    "blobs_secret": "for `s3://`: the access key's secret",
    "registry": "`host[:port][/path]` of the registry where images stand whose names have no host of their own",
    "public_url": "`https://host`: where people reach the API and its pages; links in mails begin with it. "
    "Where it is not set: `http://HTTP_HOST:HTTP_PORT`",
    "smtp_url": "`smtps://user:password@host`, `smtp+starttls://…` or `smtp://host`: the server that mail is sent "
    "by; see [sign-in](../how-to/sign-in.md)",
    "mail_from": "whom that mail comes from: `Archipelag <net@example.org>`",
    "local_mailbox": "keep mail in the state's folder instead of sending it; for a network of one's own only",
    "oidc_issuer": "`https://…`: a provider of sign-in by OpenID Connect, exactly as it writes itself; "
    "see [sign-in](../how-to/sign-in.md)",
    "oidc_client_id": "what that provider knows this network by",
    "oidc_client_secret": "and the secret that it gave",
    "releases_dir": "folder of releases of the Island's software that `/api/v1/releases` hands out; "
    "see [updates](../how-to/update.md)",
    "log_level": "`DEBUG`, `INFO`, `WARNING` or `ERROR`",
    "log_format": "`text` for people, `json` for programs: one object a line; "
    "see [watch a network](../how-to/observe.md)",
    "metrics_token": "what Prometheus must show at `/metrics`, 16 characters or more; where it is not set, only "
    "programs on this machine are answered",
    "nats_monitor_urls": "`http://host:8222`, by comma: monitoring doors of the broker's servers, whose figures are "
    "told at `/metrics` too",
    "traces_url": "`http://host:4318/v1/traces`: where spans are sent by OTLP; needs `archipelag-coordinator[traces]`",
    "traces_sampled": "which part of requests is followed, 0 to 1, where the client does not say it",
}


def page() -> str:
    parts = [
        "# Settings",
        "",
        "Read once at start from the environment; a wrong value is refused with a sentence that",
        "says what to do. This page is drawn from the code by `docs/settings_page.py`.",
        "",
        "## Coordinator",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    for one in fields(Settings):
        if one.name not in ("policy", "worker"):
            default = _shown(one.default)
            parts.append(
                f"| `ARCHIPELAG_{one.name.upper()}` | {default} | {COORDINATOR[one.name]} |"
            )
    parts += [
        "",
        "## Limits and intervals of a network",
        "",
        "Durations in seconds where the name ends in `_S`; amounts in micro-credits.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    words = _docstrings(Policy)
    for one in fields(Policy):
        if one.name != "shares":
            name = f"ARCHIPELAG_POLICY_{one.name.upper()}"
            parts.append(f"| `{name}` | {_shown(one.default)} | {words.get(one.name, '')} |")
    shares = Shares()
    parts += [
        "",
        f"Of every charge, {shares.fees_bp / 100:g} % are fees and {shares.insurance_bp / 100:g} % "
        "fill the insurance; the rest goes to the Islands.",
        "",
        "## Island",
        "",
        "What rules and caps do, and what they do not cover: [lend a machine](../how-to/lend-a-machine.md).",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    parts += [
        f"| `ARCHIPELAG_{name}` | {default} | {meaning} |" for name, default, meaning in SETTINGS
    ]
    return "\n".join(parts) + "\n"


def _shown(default: Any) -> str:
    if default in ("", ()) or not isinstance(default, (str, int, float, tuple, Path)):
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def _docstrings(kind: type) -> dict[str, str]:
    """The text below each field."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        return 0 if PAGE.read_text(encoding="utf-8") == page() else 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
