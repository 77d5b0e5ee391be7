"""`archipelag cargo submit`, `list` and `status`: a pushed Cargo handed in to a network, and what became of it."""

from __future__ import annotations

import argparse
import base64
import time
from collections.abc import Mapping
from typing import Any, Final

from archipelag_kit.commands import pushing, saying, signing
from archipelag_kit.commands.api import Api
from archipelag_kit.commands.errors import ChecksFailed, CommandError
from archipelag_kit.commands.folder import Folder

LOOK_S: Final = 2.0
WAIT_S: Final = 3600.0
DECIDED: Final = ("listed", "rejected", "revoked", "withdrawn")
REFUSED: Final = ("rejected", "revoked")


def submit(arguments: argparse.Namespace) -> None:
    folder = Folder(arguments.folder)
    manifest = folder.built()
    made = signing.read(folder, manifest)
    body = {
        "reference": str(pushing.reference_of(manifest, arguments.registry)),
        "manifest": base64.b64encode(manifest.canonical()).decode(),
        "payload": made.cargo.payload,
        "signature": made.cargo.signature,
        "public_key": made.public_key,
    }
    with Api(arguments.url, arguments.key) as api:
        found = api.submit(body)
    _show(found, as_json=arguments.json)
    if not arguments.json:
        saying.note(f"It is checked now: archipelag cargo status {found.get('id')} --wait")


def listing(arguments: argparse.Namespace) -> None:
    with Api(arguments.url, arguments.key) as api:
        found = api.mine()
    if arguments.json:
        saying.as_json(found)
        return
    rows = [
        [str(one.get(name, "")) for name in ("id", "slug", "version", "status")] for one in found
    ]
    if rows:
        saying.table(("ID", "CARGO", "VERSION", "STATUS"), rows)
    else:
        saying.note("You have submitted nothing yet.")


def status(arguments: argparse.Namespace) -> None:
    deadline = time.monotonic() + WAIT_S
    with Api(arguments.url, arguments.key) as api:
        found = api.one(arguments.id)
        shown = ""
        while arguments.wait and found.get("status") not in DECIDED and not _failed(found):
            if time.monotonic() > deadline:
                raise CommandError(f"still {found.get('status')} after {WAIT_S / 60:.0f} minutes")
            if shown != (shown := str(found.get("status"))):
                saying.note(shown)
            time.sleep(LOOK_S)
            found = api.one(arguments.id)
    _show(found, as_json=arguments.json)
    if found.get("status") in REFUSED or _failed(found):
        raise ChecksFailed(f"{found.get('slug')} {found.get('version')} was not accepted")


def _failed(found: Mapping[str, Any]) -> bool:
    return any(not check.get("passed") for check in found.get("checks") or [])


def _show(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        saying.as_json(found)
        return
    rows = {
        "id": str(found.get("id", "")),
        "cargo": f"{found.get('slug')} {found.get('version')}",
        "status": str(found.get("status")),
    }
    if found.get("status") == "listed":
        rows["trust"] = str(found.get("trust"))
    if found.get("reason"):
        rows["reason"] = str(found["reason"])
    saying.facts(rows)
    for check in found.get("checks") or []:
        mark = "✓" if check.get("passed") else "✗"
        saying.line(f"{mark} {str(check.get('name')).ljust(14)} {check.get('said') or ''}")
