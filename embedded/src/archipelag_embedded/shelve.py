"""Puts the WASM Cargos that come with us into this network's registry, signed: `python -m archipelag_embedded.shelve`.

For each manifest it writes one that names the module by digest, ready for `archipelag-coordinator cargo publish`.
What stands in the registry already is left alone.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any

from archipelag_contracts import manifest as manifests
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.errors import BadManifest
from archipelag_contracts.manifest import Manifest, parse_canonical
from archipelag_oci import media, signatures
from archipelag_oci.errors import OciError
from archipelag_oci.push import push_artifact
from archipelag_oci.reference import parse
from archipelag_oci.registry import Registry

from archipelag_embedded.files import write_private

PREFIX = "archipelag"
"""Of the repositories."""


async def shelve(registry: str, key: CosignKey, folder: Path, written: list[Path]) -> list[Path]:
    """The signed manifests. Raises OciError, BadManifest, OSError."""
    made = []
    cargos = [_read(path) for path in written]
    async with Registry() as client:
        for path, (raw, module) in zip(written, cargos, strict=True):
            target = folder / f"{path.parent.name}.json"
            known = _known(target, raw, len(module))
            where = parse(f"{PREFIX}/{path.parent.name}:{raw.get('version', '')}", registry)
            if known is None or not await _stands(client, where, known, module):
                digest = await push_artifact(
                    client, where, module, media.WASM, media.WASM_CONFIG, title=f"{path.stem}.wasm"
                )
                await signatures.sign(client, where.at(digest), key)
                image = {
                    "repository": f"{PREFIX}/{path.parent.name}",
                    "digest": digest,
                    "size_bytes": len(module),
                }
                write_private(target, manifests.build(raw | {"image": image}).canonical().decode())
            made.append(target)
    return made


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """A manifest as it was written, and the module beside it."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    return raw, path.with_name(f"{raw.get('slug', '')}.wasm").read_bytes()


def _known(target: Path, raw: dict[str, Any], size_bytes: int) -> Manifest | None:
    """What was made of this very manifest the last time."""
    try:
        known = parse_canonical(target.read_bytes().strip())
    except (OSError, BadManifest):
        return None
    if known.image is None or known.image.size_bytes != size_bytes:
        return None
    same = manifests.build(raw | {"image": vars(known.image)})
    return known if same == known else None


async def _stands(client: Registry, where: Any, known: Manifest, module: bytes) -> bool:
    """Whether the registry has this module under the digest that the manifest names."""
    assert known.image is not None
    there = where.at(known.image.digest)
    if not await client.has_manifest(there):
        return False
    return await client.has_blob(there, "sha256:" + sha256(module).hexdigest())


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="archipelag_embedded.shelve", description=__doc__)
    parser.add_argument("--registry", required=True, help="host:port")
    parser.add_argument("--key", type=Path, required=True, help="the publisher's private key, PEM")
    parser.add_argument("--out", type=Path, required=True, help="where signed manifests are put")
    parser.add_argument("manifest", type=Path, nargs="*")
    given = parser.parse_args(arguments)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        key = CosignKey.from_pem(given.key.read_bytes())
        made = asyncio.run(shelve(given.registry, key, given.out, given.manifest))
    except (OciError, BadManifest, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(str(path) for path in made))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
