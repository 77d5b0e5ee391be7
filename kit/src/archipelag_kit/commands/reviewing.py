"""`archipelag cargo review`: what an operator's reviewer runs, on a machine apart from the Coordinator.

It pulls a stranger's bytes by digest, and everything that it does with them is bounded and in the Island's own sandbox.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from archipelag_contracts import cosign
from archipelag_contracts.errors import BadSignature
from archipelag_island.errors import NotUsable
from archipelag_oci.errors import OciError, RegistryUnreachable
from archipelag_oci.reference import parse
from archipelag_oci.settings import Settings

from archipelag_kit.commands import saying
from archipelag_kit.commands.api import Api
from archipelag_kit.commands.errors import NotReachable, ToolMissing
from archipelag_kit.conformance import submission
from archipelag_kit.conformance.submission import Verdict

_MIB: Final = 1 << 20


def review(arguments: argparse.Namespace) -> None:
    with Api(arguments.url, arguments.key) as api:
        while True:
            left = _round(api, arguments)
            if arguments.once:
                if left:
                    raise NotReachable("; ".join(left))
                return
            time.sleep(arguments.interval_s)


def _round(api: Api, arguments: argparse.Namespace) -> list[str]:
    """Looks at each that waits; gives the reasons why some could not be looked at now."""
    left = []
    for one in api.waiting():
        name = f"{one.get('slug')} {one.get('version')}"
        saying.note(f"reviewing {name}")
        try:
            verdicts, sbom = _look(one, arguments)
        except RegistryUnreachable as error:
            # Not the publisher's fault for certain: it is tried again.
            saying.note(f"  left for later: {error}")
            left.append(f"{name}: {error}")
            continue
        api.send_checks(str(one["id"]), _body(verdicts, sbom))
        _tell(one, verdicts, as_json=arguments.json)
    return left


def _look(
    one: dict[str, Any], arguments: argparse.Namespace
) -> tuple[Sequence[Verdict], dict[str, Any] | None]:
    settings = Settings(plain_hosts=frozenset(arguments.plain_http))
    try:
        asked = submission.Asked(
            parse(str(one["reference"])),
            cosign.public_from_pem(str(one["publisher"]["public_key"]).encode()),
            str(one["digest"]),
            arguments.image_mb_max * _MIB,
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
    except (OciError, BadSignature, KeyError, TypeError) as error:
        return [Verdict("signature", False, f"what was submitted cannot be read: {error}")], None
    with tempfile.TemporaryDirectory(prefix="archipelag-review-") as scratch:
        Path(scratch).chmod(0o755)
        try:
            return asyncio.run(submission.look(asked, settings, Path(scratch)))
        except NotUsable as error:
            # Nothing about the Cargo: this machine cannot judge it.
            raise ToolMissing(f"no sandbox for it on this machine: {error}") from None


def _body(verdicts: Sequence[Verdict], sbom: dict[str, Any] | None) -> dict[str, Any]:
    checks = [{"name": v.name, "passed": v.passed, "said": v.said[:500]} for v in verdicts]
    return {"checks": checks} | ({"sbom": sbom} if sbom is not None else {})


def _tell(one: dict[str, Any], verdicts: Sequence[Verdict], *, as_json: bool) -> None:
    if as_json:
        told = [{"name": v.name, "passed": v.passed, "said": v.said} for v in verdicts]
        saying.as_json({"id": one["id"], "slug": one.get("slug"), "checks": told})
        return
    for verdict in verdicts:
        saying.line(f"{'✓' if verdict.passed else '✗'} {verdict.name.ljust(12)} {verdict.said}")
