"""What those who release the Island's software do: make a key, and sign a release into a folder that is handed out."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from archipelag_contracts import releases
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.releases import File, Release

from archipelag_coordinator.clock import Clock
from archipelag_coordinator.errors import Conflict

DAY_S: Final = 86_400
AT_ONCE: Final = ((100, 0),)


def add_commands(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    key = acts.add_parser("key", help="make the key that signs releases; keep it off the network")
    key.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help="and FILE.pub beside it"
    )
    publish = acts.add_parser("publish", help="sign a release and lay it into a folder")
    publish.add_argument("--key", type=Path, required=True, metavar="FILE")
    publish.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    publish.add_argument("--number", type=int, required=True, help="higher than the last one's")
    publish.add_argument("--release", required=True, metavar="VERSION", help="for people: 0.2.0")
    publish.add_argument(
        "--file", action="append", required=True, metavar="PLATFORM=FILE",
        help="for example linux-x86_64=dist/archipelag-island-linux-x86_64",
    )  # fmt: skip
    publish.add_argument(
        "--script", action="append", default=[], type=Path, metavar="FILE",
        help="of the installer's, which root runs: laid there with its signature, FILE.sig",
    )  # fmt: skip
    publish.add_argument("--days", type=int, default=30, help="until it expires; default: 30")
    publish.add_argument(
        "--at-once", action="store_true", help="to every Island now, and not in waves of a week"
    )


def run(arguments: argparse.Namespace, clock: Clock) -> str:
    """Raises Conflict, OSError, or a ContractError for what can be no release."""
    if arguments.act == "key":
        return make_key(arguments.to)
    given = dict(one.partition("=")[::2] for one in arguments.file)
    now = int(clock.now().timestamp())
    release = Release(
        number=arguments.number,
        version=arguments.release,
        issued_at=now,
        expires_at=now + arguments.days * DAY_S,
        waves=AT_ONCE if arguments.at_once else releases.WAVES,
        files={},
    )
    key = CosignKey.from_pem(arguments.key.read_bytes())
    files = {platform: Path(path) for platform, path in given.items()}
    told = publish(arguments.to, key, release, files)
    for script in arguments.script:
        lay_script(arguments.to, key, script)
    return told


def make_key(to: Path) -> str:
    key = CosignKey.generate()
    handle = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(key.private_pem())
    public = to.with_name(f"{to.name}.pub")
    public.write_bytes(key.public_pem)
    return f"{to} signs; {public} is for whoever installs"


def publish(to: Path, key: CosignKey, release: Release, files: Mapping[str, Path]) -> str:
    """Signing the newest number again lets it live longer: who has its turn keeps it."""
    release = replace(release, files={name: _file(path) for name, path in files.items()})
    to.mkdir(parents=True, exist_ok=True)
    standing = to / releases.DOCUMENT
    if standing.exists():
        before = releases.parse(standing.read_bytes())
        if release.number < before.number:
            raise Conflict(f"{to} has release {before.number}, and no Island goes back to an older")
        if release.number == before.number:
            if (release.version, release.files) != (before.version, before.files):
                raise Conflict(
                    f"release {before.number} is out with other files: take a new number"
                )
            release = replace(release, issued_at=before.issued_at)
    document = releases.document(release)
    for name, path in files.items():
        _place(path.read_bytes(), to / f"sha256-{release.files[name].digest}")
    # Who comes between these two finds a signature that does not hold, and comes again.
    _place(releases.sign(key, document), to / releases.SIGNATURE)
    _place(document, standing)
    return f"release {release.number}, version {release.version}, stands in {to}"


def lay_script(to: Path, key: CosignKey, script: Path) -> None:
    """So that whoever installs can verify what they run as root, although it comes from a Coordinator."""
    data = script.read_bytes()
    _place(releases.sign(key, data), to / f"{script.name}.sig")
    _place(data, to / script.name)


def _file(path: Path) -> File:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return File(digest, path.stat().st_size)


def _place(data: bytes, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.chmod(0o644)
    shutil.move(part, path)
