"""`archipelag cargo keygen` and `sign`: a P-256 key, and signatures in cosign's format over image and Cargo."""

from __future__ import annotations

import argparse
import base64
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from archipelag_contracts import cosign
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.errors import BadSignature
from archipelag_contracts.manifest import Manifest

from archipelag_kit.commands import environment, saying
from archipelag_kit.commands.errors import WrongUsage
from archipelag_kit.commands.folder import Folder

_PRIVATE: Final = 0o600


@dataclass(frozen=True)
class Signed:
    """One signature: over which OCI manifest, and cosign's two parts of it."""

    digest: str
    payload: str
    signature: str


@dataclass(frozen=True)
class Signatures:
    """What `sign` leaves for `push` and `submit`."""

    public_key: str
    cargo: Signed
    image: Signed | None


def keygen(arguments: argparse.Namespace) -> None:
    settings = environment.read()
    path: Path = arguments.out or settings.signing_key
    public = path.with_suffix(".pub")
    for taken in (path, public):
        if taken.exists():
            raise WrongUsage(f"{taken} is there already, and is not overwritten: it may be in use")
    key = CosignKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_pem(settings.passphrase))
    public.write_bytes(key.public_pem)
    saying.facts(
        {
            "private key": f"{path} (keep it, and keep it secret)",
            "public key": str(public),
            "fingerprint": cosign.fingerprint(key.public),
            "passphrase": "yes" if settings.passphrase else "none: set ARCHIPELAG_CARGO_PASSPHRASE",
        }
    )


def sign(arguments: argparse.Namespace) -> None:
    folder = Folder(arguments.folder)
    manifest = folder.built()
    _warn_untested(folder, manifest)
    key = _key(arguments.signing_key)
    canonical = manifest.canonical()
    name = manifest.image.repository if manifest.image is not None else manifest.slug
    made = Signatures(
        public_key=key.public_pem.decode(),
        cargo=_signed(key, name, cosign.artifact_digest(canonical)),
        image=_signed(key, name, manifest.image.digest) if manifest.image is not None else None,
    )
    folder.signature.write_text(json.dumps(asdict(made), indent=2))
    if arguments.json:
        saying.as_json({"artifact": made.cargo.digest, "key": cosign.fingerprint(key.public)})
        return
    saying.facts(
        {
            "signed": f"{manifest.slug} {manifest.version}",
            "artifact": made.cargo.digest,
            "key": cosign.fingerprint(key.public),
        }
    )


def read(folder: Folder, manifest: Manifest) -> Signatures:
    """What `sign` made, checked against what is built. Raises WrongUsage."""
    try:
        raw: Any = json.loads(folder.signature.read_bytes())
        image = raw["image"]
        found = Signatures(
            raw["public_key"], Signed(**raw["cargo"]), Signed(**image) if image else None
        )
        public = cosign.public_from_pem(found.public_key.encode())
        _verify(public, found.cargo, cosign.artifact_digest(manifest.canonical()))
        if manifest.image is not None and found.image is not None:
            _verify(public, found.image, manifest.image.digest)
    except (OSError, ValueError, KeyError, TypeError, BadSignature):
        raise WrongUsage("what is built is not signed: run `archipelag cargo sign`") from None
    return found


def _signed(key: CosignKey, name: str, digest: str) -> Signed:
    payload = cosign.payload(name, digest)
    signature = key.sign(payload)
    return Signed(digest, base64.b64encode(payload).decode(), base64.b64encode(signature).decode())


def _verify(public: bytes, signed: Signed, digest: str) -> None:
    payload = base64.b64decode(signed.payload, validate=True)
    cosign.verify(public, payload, base64.b64decode(signed.signature, validate=True), digest)


def _key(given: Path | None) -> CosignKey:
    settings = environment.read()
    path = given or settings.signing_key
    try:
        return CosignKey.from_pem(path.read_bytes(), settings.passphrase)
    except FileNotFoundError:
        raise WrongUsage(f"{path}: there is no key; `archipelag cargo keygen` makes one") from None
    except OSError as error:
        raise WrongUsage(f"{path}: {error.strerror}") from None
    except BadSignature as error:
        hint = "its passphrase belongs into ARCHIPELAG_CARGO_PASSPHRASE"
        raise WrongUsage(f"{path}: {error}; {hint}") from None


def _warn_untested(folder: Folder, manifest: Manifest) -> None:
    """A warning only: who signs says what they vouch for."""
    try:
        tested = json.loads(folder.tested.read_bytes())
        fine = tested["digest"] == manifest.digest and tested["passed"] is True
    except (OSError, ValueError, KeyError, TypeError):
        fine = False
    if not fine:
        saying.note("warning: this build has not passed `archipelag cargo test`")
