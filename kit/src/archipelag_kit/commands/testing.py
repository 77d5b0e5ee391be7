"""`archipelag cargo test`: the conformance suite in the sandbox, as a table that says what to do."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Final

from archipelag_contracts.manifest import Manifest
from archipelag_island.adapters.engines import installed
from archipelag_island.errors import NotUsable
from archipelag_island.runtime import CargoSpec, RuntimeInfo
from archipelag_oci.errors import OciError
from archipelag_oci.layout import read_layout
from archipelag_oci.manifests import parse_config

from archipelag_kit.commands import saying
from archipelag_kit.commands.errors import ChecksFailed, CommandError, ToolMissing, WrongUsage
from archipelag_kit.commands.folder import Folder
from archipelag_kit.conformance import rooms
from archipelag_kit.conformance.finding import Finding, Outcome
from archipelag_kit.conformance.suite import Tell, check_cargo, check_manifest

_MARKS: Final = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.LEFT_OUT: "–"}


def test(arguments: argparse.Namespace) -> None:
    folder = Folder(arguments.folder)
    manifest = folder.built()
    name = arguments.runtime or manifest.runtime
    tell = _ignore if arguments.json else _tell
    findings = check_manifest(manifest, tell)
    # Short: a Unix socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="archipelag-") as scratch, ExitStack() as stack:
        Path(scratch).chmod(0o755)
        try:
            spec = _spec(folder, manifest, name, arguments.model, Path(scratch), stack)
            info, found = asyncio.run(_try(name, spec, Path(scratch), tell))
        except OciError as error:
            raise CommandError(f"what is built cannot be unpacked: {error}") from None
        except NotUsable as error:
            raise ToolMissing(f"the {name} runtime cannot be used on this host: {error}") from None
    _conclude(folder, manifest, info, [*findings, *found], as_json=arguments.json)


async def _try(
    name: str, spec: CargoSpec, scratch: Path, tell: Tell
) -> tuple[RuntimeInfo, list[Finding]]:
    room = await rooms.open_room(name, scratch)
    if tell is _tell:
        saying.note(f"in {room.info.executor or room.info.name}: {', '.join(room.info.isolation)}")
    return room.info, await check_cargo(room.runtime, spec, tell)


def _spec(
    folder: Folder,
    manifest: Manifest,
    name: str,
    model: Path | None,
    scratch: Path,
    stack: ExitStack,
) -> CargoSpec:
    if manifest.model is not None and model is None:
        raise WrongUsage(
            f"the manifest names a model: --model FILE says where {manifest.model.file} is"
        )
    match name:
        case "oci" if manifest.runtime != "wasm":
            image = read_layout(folder.layout)
            saying.note("unpacking the image")
            config, layers = parse_config(image.config), rooms.layers_of(image)
            room = rooms.image_spec(manifest, config, layers, scratch, model)
            return stack.enter_context(room)
        case "wasm" if manifest.runtime == "wasm":
            return rooms.module_spec(manifest, folder.module)
        case "native" if manifest.runtime == "native":
            package = installed({}).get(manifest.engine)
            if package is None:
                raise ToolMissing(f"the engine {manifest.engine} is not installed here")
            return rooms.native_spec(manifest, package, model)
        case _:
            raise WrongUsage(f"a Cargo for {manifest.runtime} cannot run in {name}")


def _conclude(
    folder: Folder,
    manifest: Manifest,
    info: RuntimeInfo,
    findings: Sequence[Finding],
    *,
    as_json: bool,
) -> None:
    failed = [finding for finding in findings if not finding.passed]
    noted = {"digest": manifest.digest, "passed": not failed}
    folder.tested.write_text(json.dumps(noted))
    if as_json:
        saying.as_json(
            {
                "cargo": manifest.digest,
                "passed": not failed,
                "runtime": info.name,
                "executor": info.executor,
                "checks": [asdict(finding) for finding in findings],
            }
        )
    else:
        saying.line(f"\n{len(findings) - len(failed)} of {len(findings)} checks passed")
    if failed:
        raise ChecksFailed(f"{manifest.slug}: {', '.join(finding.name for finding in failed)}")


def _tell(finding: Finding) -> None:
    saying.line(f"{_MARKS[finding.outcome]} {finding.name.ljust(36)} {finding.said}")
    if finding.todo:
        saying.line(f"  → {finding.todo}")


def _ignore(_finding: Finding) -> None:
    """The whole comes at the end, as JSON."""
