"""The Island's own runtimes, opened to try a Cargo: the strongest that works on this host, or none with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from archipelag_contracts.manifest import Manifest
from archipelag_contracts.tiers import TIERS, TRUST_MAX, Tier
from archipelag_island.domain.tier import tier_of
from archipelag_island.errors import NotUsable
from archipelag_island.runtime import CargoSpec, Runtime, RuntimeInfo
from archipelag_oci import media
from archipelag_oci.image import ImageFile
from archipelag_oci.manifests import ImageConfig
from archipelag_oci.pull import Layer
from archipelag_oci.unpack import UnpackLimits, unpack

SLOTS: Final = 2
_UNPACKED: Final = UnpackLimits(bytes_max=8 << 30)

Open = Callable[[Path], Runtime]


@dataclass(frozen=True)
class Room:
    """A runtime that works here, and what it says of itself."""

    runtime: Runtime
    info: RuntimeInfo


async def open_room(name: str, scratch: Path) -> Room:
    """Raises NotUsable with every reason."""
    reasons = []
    for kind, make in _ways(name).items():
        try:
            runtime = make(scratch)
            return Room(runtime, await runtime.probe())
        except NotUsable as error:
            reasons.append(f"{kind}: {error}")
    raise NotUsable("; ".join(reasons))


def _ways(name: str) -> Mapping[str, Open]:
    """How the host may be able to, the strongest first."""
    # Late: each needs packages and a kernel that an author's machine may lack.
    match name:
        case "oci":
            from archipelag_island.adapters.runtimes.oci.direct import DirectRuntime
            from archipelag_island.adapters.runtimes.oci.engine import EngineRuntime

            return {"crun or runc": DirectRuntime, "Docker or Podman": EngineRuntime}
        case "wasm":
            from archipelag_island.adapters.runtimes.wasm.runtime import WasmRuntime

            return {"wasmtime": lambda scratch: WasmRuntime(scratch / "modules")}
        case _:
            from archipelag_island.adapters.runtimes.native import NativeRuntime

            return {"bubblewrap": NativeRuntime}


@contextmanager
def image_spec(
    manifest: Manifest,
    config: ImageConfig,
    layers: Sequence[Layer],
    scratch: Path,
    model: Path | None = None,
) -> Iterator[CargoSpec]:
    """The Cargo of an image, unpacked for as long as this lasts. Raises OciError."""
    with TemporaryDirectory(prefix="archipelag-root-", dir=scratch) as folder:
        # Other users of this host must reach the root: a sandbox's are not ours.
        Path(folder).chmod(0o755)
        root = unpack(layers, Path(folder) / "root", limits=_UNPACKED).folder
        yield CargoSpec(
            manifest,
            manifest.digest,
            model=model,
            slots=SLOTS,
            tier=_tier(manifest),
            root=root,
            command=config.arguments,
            environment=config.environment,
            working_dir=config.working_dir or "/",
        )


def module_spec(manifest: Manifest, module: Path) -> CargoSpec:
    return CargoSpec(
        manifest, manifest.digest, slots=SLOTS, tier=_tier(manifest), wasm=module.resolve()
    )


def native_spec(manifest: Manifest, package: str, model: Path | None = None) -> CargoSpec:
    return CargoSpec(
        manifest,
        manifest.digest,
        module=package,
        model=model,
        slots=SLOTS,
        tier=_tier(manifest),
    )


def layers_of(image: ImageFile) -> list[Layer]:
    """A layout's layers, as the unpacker takes them."""
    return [
        Layer(layer.path, media.COMPRESSION[layer.descriptor.media_type], layer.diff_id)
        for layer in image.layers
    ]


def _tier(manifest: Manifest) -> Tier:
    """The tier's whole memory, so that a Cargo that needs more than it says is seen and not killed."""
    tier = tier_of(manifest, TRUST_MAX)
    assert tier is not None
    whole = TIERS[manifest.limits.tier]
    return replace(tier, memory_bytes=whole.memory_bytes, tmp_bytes=whole.tmp_bytes)
