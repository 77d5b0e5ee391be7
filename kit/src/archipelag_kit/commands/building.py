"""`archipelag cargo build`: what an Island pulls, as an OCI layout, and the manifest that names it by digest."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archipelag_contracts import cosign
from archipelag_contracts.errors import BadManifest
from archipelag_contracts.manifest import Image, Manifest
from archipelag_oci import descriptor, media
from archipelag_oci.descriptor import Descriptor
from archipelag_oci.errors import OciError
from archipelag_oci.image import ImageFile, LayerFile
from archipelag_oci.layout import write_layout
from archipelag_oci.manifests import ImageManifest
from archipelag_oci.python_image import python_image
from archipelag_oci.reference import sha256

from archipelag_kit.commands import collecting, compiling, environment, saying
from archipelag_kit.commands.errors import CommandError, WrongUsage
from archipelag_kit.commands.folder import Folder, Recipe
from archipelag_kit.drafts import parse_draft

PIP_S: Final = 900
MODULE_BYTES_MAX: Final = 64 << 20
_WASM_MAGIC: Final = b"\0asm"


@dataclass(frozen=True)
class Built:
    image: ImageFile
    parts: tuple[tuple[str, int], ...]
    """What the layers are, and their packed sizes."""


def build(arguments: argparse.Namespace) -> None:
    folder = Folder(arguments.folder)
    draft, recipe = folder.draft(), folder.recipe()
    _check_runtime(draft, recipe)
    steps = saying.Steps(quiet=arguments.json)
    work = folder.layout.parent
    work.mkdir(exist_ok=True)
    try:
        built = _build(folder, recipe, steps)
        shutil.rmtree(folder.layout, ignore_errors=True)
        write_layout(built.image, folder.layout, f"{draft.slug}:{draft.version}")
        image = Image(recipe.repository or draft.slug, built.image.digest, built.image.size_bytes)
        manifest = parse_draft(folder.text(), image)
    except OciError as error:
        raise CommandError(str(error)) from None
    except BadManifest as error:
        raise WrongUsage(f"the manifest with its image cannot be used: {error}") from None
    finally:
        steps.end()
    folder.built_manifest.write_bytes(manifest.canonical())
    for stale in (folder.signature, folder.tested):
        stale.unlink(missing_ok=True)
    _tell(folder, manifest, built, as_json=arguments.json)


def _check_runtime(draft: Manifest, recipe: Recipe) -> None:
    is_wasm = recipe.kind.startswith("wasm")
    if (draft.runtime == "wasm") != is_wasm:
        raise WrongUsage(
            f"build.toml makes {'a WASM module' if is_wasm else 'an image'}, but manifest.toml says "
            f'runtime = "{draft.runtime}"'
        )


def _build(folder: Folder, recipe: Recipe, steps: saying.Steps) -> Built:
    source = folder.path / recipe.source
    if recipe.kind != "wasm" and not source.is_dir():
        raise WrongUsage(f"{source} is not there: `source` in build.toml names the code's folder")
    if recipe.kind.startswith("wasm"):
        return _module(folder, recipe, source, steps)
    cache = environment.read().cache
    steps.step("collecting packages")
    names = recipe.packages or (collecting.KIT if recipe.kind == "python" else ())
    folders = []
    if names:
        folders.append(collecting.collect(names, cache / "packages"))
    if recipe.requirements:
        steps.step(f"installing {recipe.requirements}")
        folders.append(_installed(folder, folder.path / recipe.requirements))
    steps.step("packing the image (the first time takes some seconds)")
    # Kept for the next Cargo: interpreter and packages are the same for many.
    image = python_image(
        cache / "layers",
        code=source,
        arguments=_arguments(recipe),
        packages=folders,
        labels={"org.opencontainers.image.title": folder.draft().slug},
    )
    titles = ["interpreter", *(["packages"] if folders else []), "code"]
    sizes = [layer.descriptor.size for layer in image.layers]
    return Built(image, tuple(zip(titles, sizes, strict=True)))


def _arguments(recipe: Recipe) -> Sequence[str]:
    if recipe.kind == "python":
        return ("-m", "archipelag_kit", recipe.module)
    if recipe.command[0] not in ("python", "python3"):
        raise WrongUsage("command must begin with python3: it is what the image has")
    return recipe.command[1:]


def _installed(folder: Folder, requirements: Path) -> Path:
    """What the lock names, installed once for this lock and this interpreter."""
    try:
        text = requirements.read_bytes()
    except OSError as error:
        raise WrongUsage(f"{requirements}: {error.strerror}") from None
    if b"--hash=" not in text:
        raise WrongUsage(
            f"{requirements} has no hashes, so that a build could give another image tomorrow: make it by "
            "`uv pip compile --generate-hashes` or `pip-compile --generate-hashes`"
        )
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    key = sha256(text).removeprefix("sha256:")[:16]
    target = folder.path / "build" / f"installed-{version}-{key}"
    if target.is_dir():
        return target
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-input"]
    command += ["--disable-pip-version-check", "--require-hashes", "--target", str(part)]
    done = subprocess.run(
        [*command, "-r", str(requirements)],
        capture_output=True,
        text=True,
        timeout=PIP_S,
        check=False,
    )
    if done.returncode != 0:
        raise CommandError(f"pip could not install {requirements}:\n{done.stderr[-2000:].strip()}")
    part.rename(target)
    return target


def _module(folder: Folder, recipe: Recipe, source: Path, steps: saying.Steps) -> Built:
    target = folder.module
    match recipe.kind:
        case "wasm-c":
            steps.step("compiling (the first time takes a minute: Zig builds its C library)")
            compiling.compile_c(source, target)
        case "wasm-rust":
            steps.step("compiling")
            compiling.compile_rust(source, target)
        case _:
            given = folder.path / recipe.wasm
            if not given.is_file():
                raise WrongUsage(f"{given} is not there: `wasm` in build.toml names the module")
            shutil.copyfile(given, target)
    data = target.read_bytes()
    if not data.startswith(_WASM_MAGIC) or len(data) > MODULE_BYTES_MAX:
        raise WrongUsage(f"{target} is no WASM module of at most {MODULE_BYTES_MAX >> 20} MiB")
    layer = Descriptor(media.WASM, sha256(data), len(data))
    config = descriptor.of(media.WASM_CONFIG, cosign.EMPTY)
    manifest = ImageManifest(media.MANIFEST, config, (layer,))
    image = ImageFile(manifest.encode(), cosign.EMPTY, (LayerFile(layer, layer.digest, target),))
    return Built(image, (("module", len(data)),))


def _tell(folder: Folder, manifest: Manifest, built: Built, *, as_json: bool) -> None:
    assert manifest.image is not None
    if as_json:
        told = {
            "cargo": manifest.digest,
            "image": manifest.image.digest,
            "size_bytes": manifest.image.size_bytes,
            "layers": [{"name": name, "bytes": size} for name, size in built.parts],
            "layout": str(folder.layout),
        }
        saying.as_json(told)
        return
    saying.facts(
        {
            "built": f"{manifest.slug} {manifest.version}",
            "cargo": manifest.digest,
            "image": manifest.image.digest,
            **{name: saying.size(size) for name, size in built.parts},
            "in all": saying.size(manifest.image.size_bytes),
            "layout": str(folder.layout),
        }
    )
