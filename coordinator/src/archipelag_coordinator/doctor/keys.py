"""The network's private keys: whether they are there, whole, and nobody else's to read."""

from __future__ import annotations

import os
from pathlib import Path

from archipelag_contracts.findings import Finding, fail, ok, warn

from archipelag_coordinator.adapters.nats.credentials import Keys, KeysUnusable, load_keys


def examine(state_dir: Path) -> list[Finding]:
    if not state_dir.is_dir():
        advice = "`archipelag-coordinator keys init --state-dir …`, or correct ARCHIPELAG_STATE_DIR"
        return [fail("keys", f"{state_dir} is no folder", advice)]
    try:
        load_keys(state_dir)
    except KeysUnusable as error:
        return [fail("keys", "not usable", str(error))]
    except OSError as error:
        advice = "run this as the user that the Coordinator runs as"
        return [fail("keys", f"cannot be read: {error.strerror}", advice)]
    wide = [path.name for path in _files(state_dir) if path.stat().st_mode & 0o077]
    if wide or state_dir.stat().st_mode & 0o077:
        named = ", ".join(wide) or "its folder"
        advice = f"`chmod -R go= {state_dir}`, unless a group of yours must read them"
        return [warn("keys", f"more than their owner may get at {named}", advice)]
    if state_dir.stat().st_uid not in (os.geteuid(), 0):
        advice = "run the Coordinator as the user who owns them"
        return [warn("keys", f"{state_dir} belongs to another user", advice)]
    return [ok("keys", f"whole, and their owner's alone, in {state_dir}")]


def loaded(state_dir: Path) -> Keys | None:
    try:
        return load_keys(state_dir)
    except (KeysUnusable, OSError):
        return None


def _files(state_dir: Path) -> list[Path]:
    return sorted(path for path in state_dir.iterdir() if path.suffix in (".seed", ".pem"))
