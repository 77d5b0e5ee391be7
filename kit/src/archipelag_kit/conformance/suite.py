"""Runs the whole suite: the manifest's rules, then the Cargo in a runtime; one finding each, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from archipelag_contracts.manifest import Manifest
from archipelag_island.errors import RuntimeFailed
from archipelag_island.runtime import CargoSpec, Runtime

from archipelag_kit.conformance import checks, manifest_rules
from archipelag_kit.conformance.finding import Failed, Finding, LeftOut, Outcome
from archipelag_kit.conformance.subject import started

# A check is made of several runs.
CHECK_S_MAX: Final = 900.0
STARTS: Final = "it starts"

Tell = Callable[[Finding], None]


def ignore(_finding: Finding) -> None:
    """Nobody watches."""


def check_manifest(manifest: Manifest, tell: Tell = ignore) -> list[Finding]:
    found = []
    for name, check in manifest_rules.CHECKS:
        try:
            finding = Finding(name, Outcome.PASSED, check(manifest))
        except Failed as failed:
            finding = Finding(name, Outcome.FAILED, failed.said, failed.todo)
        tell(finding)
        found.append(finding)
    return found


async def check_cargo(runtime: Runtime, spec: CargoSpec, tell: Tell = ignore) -> list[Finding]:
    """Ends early when it does not become ready: nothing else could pass."""
    found: list[Finding] = []

    def note(finding: Finding) -> bool:
        tell(finding)
        found.append(finding)
        return finding.passed

    try:
        async with started(runtime, spec) as subject:
            note(Finding(STARTS, Outcome.PASSED, "it answers"))
            for name, check in checks.CHECKS:
                passed = note(await _one(name, check(subject)))
                if not passed and check is checks.becomes_ready:
                    break
    except RuntimeFailed as error:
        note(Finding(STARTS, Outcome.FAILED, str(error), "see its standard error"))
    return found


async def _one(name: str, check: object) -> Finding:
    try:
        async with asyncio.timeout(CHECK_S_MAX):
            return Finding(name, Outcome.PASSED, await check)  # type: ignore[misc]
    except LeftOut as why:
        return Finding(name, Outcome.LEFT_OUT, str(why))
    except Failed as failed:
        return Finding(name, Outcome.FAILED, failed.said, failed.todo)
    except TimeoutError:
        return Finding(name, Outcome.FAILED, f"not done after {CHECK_S_MAX:.0f} s", "do less")
    except RuntimeFailed as error:
        return Finding(name, Outcome.FAILED, str(error), "see its standard error")
