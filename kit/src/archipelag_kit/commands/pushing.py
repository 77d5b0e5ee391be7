"""`archipelag cargo push`: image, manifest and both signatures to an OCI registry, named by digest."""

from __future__ import annotations

import argparse
import asyncio
import base64
from collections.abc import Sequence

from archipelag_contracts import cosign
from archipelag_contracts.manifest import Manifest
from archipelag_oci import media, push, signatures
from archipelag_oci.errors import (
    AccessDenied,
    BadReference,
    NotSigned,
    OciError,
    RegistryUnreachable,
)
from archipelag_oci.layout import read_layout
from archipelag_oci.reference import Reference, parse
from archipelag_oci.registry import Registry
from archipelag_oci.settings import Credentials, Settings

from archipelag_kit.commands import environment, saying, signing
from archipelag_kit.commands.errors import CommandError, NotAllowed, NotReachable, WrongUsage
from archipelag_kit.commands.folder import Folder
from archipelag_kit.commands.signing import Signed


def push_cargo(arguments: argparse.Namespace) -> None:
    folder = Folder(arguments.folder)
    manifest = folder.built()
    made = signing.read(folder, manifest)
    reference = reference_of(manifest, arguments.registry)
    settings = registry_settings(reference.registry, arguments.plain_http)
    try:
        asyncio.run(_push(folder, manifest, made, reference, settings, quiet=arguments.json))
    except OciError as error:
        raise told(error) from None
    if arguments.json:
        saying.as_json({"reference": str(reference)})
    else:
        saying.facts({"pushed": f"{manifest.slug} {manifest.version}", "reference": str(reference)})


def reference_of(manifest: Manifest, registry: str) -> Reference:
    """Where the Cargo's artifact lies, by its digest. Raises WrongUsage."""
    assert manifest.image is not None
    default = registry or environment.read().registry
    text = f"{manifest.image.repository}@{cosign.artifact_digest(manifest.canonical())}"
    try:
        return parse(text, default)
    except BadReference as error:
        raise WrongUsage(
            f"{error}. Say where it lies: --registry HOST[:PORT], ARCHIPELAG_REGISTRY, or "
            '`repository = "host/path"` in build.toml'
        ) from None


def registry_settings(host: str, plain: Sequence[str]) -> Settings:
    """The environment's credentials go to that registry alone."""
    known = environment.read()
    given = Credentials(known.registry_user, known.registry_password)
    return Settings(
        plain_hosts=frozenset(plain), credentials={host: given} if known.registry_user else {}
    )


def told(error: OciError) -> CommandError:
    """The command's error, with its exit status."""
    match error:
        case RegistryUnreachable():
            return NotReachable(str(error))
        case AccessDenied():
            hint = "set ARCHIPELAG_REGISTRY_USER and ARCHIPELAG_REGISTRY_PASSWORD"
            return NotAllowed(f"{error}; {hint}")
        case _:
            return CommandError(str(error))


async def _push(
    folder: Folder,
    manifest: Manifest,
    made: signing.Signatures,
    reference: Reference,
    settings: Settings,
    *,
    quiet: bool,
) -> None:
    steps = saying.Steps(quiet=quiet)
    assert manifest.image is not None
    image = reference.at(manifest.image.digest)
    try:
        async with Registry(settings) as registry:
            steps.step(f"pushing {saying.size(manifest.image.size_bytes)} to {reference.name}")
            if manifest.runtime == "wasm":
                await push.push_artifact(
                    registry, image, folder.module, media.WASM, media.WASM_CONFIG
                )
            else:
                await push.push_image(registry, image, read_layout(folder.layout))
            await push.push_cargo(registry, reference, manifest.canonical())
            steps.step("adding the signatures")
            public = cosign.public_from_pem(made.public_key.encode())
            for at, signed in ((image, made.image), (reference, made.cargo)):
                if signed is not None:
                    await _attach(registry, at, signed, public)
    finally:
        steps.end()


async def _attach(registry: Registry, at: Reference, signed: Signed, public: bytes) -> None:
    """Once: a push that is repeated adds nothing."""
    try:
        await signatures.verify(registry, at, [public])
    except NotSigned:
        await signatures.attach(
            registry, at, base64.b64decode(signed.payload), base64.b64decode(signed.signature)
        )
