"""Which runtime runs a Cargo on this host: the strongest that can, or the reason why none may."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from archipelag_contracts.manifest import Manifest
from archipelag_contracts.tiers import Tier

from archipelag_island.domain.tier import tier_of
from archipelag_island.runtime import RuntimeInfo


@dataclass(frozen=True)
class Choice:
    runtime: str
    tier: Tier
    module: str = ""
    """Native: the package that is the engine."""


def choose(
    manifest: Manifest,
    trust: int,
    runtimes: Collection[RuntimeInfo],
    engines: Mapping[str, str],
) -> Choice | str:
    """A choice, or why this Cargo may not run here.

    A native Cargo that has an image as well runs from it where containers are to be had: they isolate better.
    """
    tier = tier_of(manifest, trust)
    if tier is None:
        return f"trust level {trust} does not permit the tier {manifest.limits.tier}"
    usable = {info.name: info for info in runtimes}
    module = engines.get(manifest.engine, "") if manifest.runtime == "native" else ""
    wanted = _ways(manifest, installed=bool(module))
    reasons = []
    for name in wanted:
        info = usable.get(name)
        if info is None:
            reasons.append(f"this Island has no {name} runtime")
        elif trust < info.trust_min:
            reasons.append(
                f"the {name} runtime of this Island does not isolate well enough for trust level {trust}"
            )
        else:
            return Choice(name, tier, module if name == "native" else "")
    if not reasons:
        reasons.append(f"the engine {manifest.engine} is not installed here")
    return "; ".join(reasons)


def _ways(manifest: Manifest, *, installed: bool) -> list[str]:
    """Runtimes that could run it, strongest first."""
    if manifest.runtime != "native":
        return [manifest.runtime]
    return (["oci"] if manifest.image else []) + (["native"] if installed else [])
