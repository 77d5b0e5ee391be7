"""What a person most likely meant, where a command was mistyped or names what is not there."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from archipelag import ArchipelagError, AuthenticationError, Client, NotFoundError, ValidationError
from archipelag.cli import settings

OFFERED_MAX = 8
PART_MIN = 3
_SOURCES = {"flag": "the one given by --key", "environment": "the one in ARCHIPELAG_API_KEY"}


class Parser(argparse.ArgumentParser):
    """Says what was meant instead of all that could be; without a command, says what there is."""

    def error(self, message: str) -> NoReturn:
        if message.endswith("are required: COMMAND"):
            self.print_help(sys.stderr)
            self.exit(2)
        super().error(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        near = nearest(str(value), map(str, action.choices))
        meant = f"did you mean {near}?" if near else f"one of {', '.join(map(str, action.choices))}"
        raise argparse.ArgumentError(action, f"there is no {value!r}: {meant}")


def nearest(name: str, offered: Iterable[str]) -> str:
    """The one that this may be a slip of, or a part; empty for none."""
    names = list(offered)
    parts = [one for one in names if len(name) >= PART_MIN and name.lower() in one.lower()]
    return next(iter([*difflib.get_close_matches(name, names, n=1), *parts]), "")


def of_file(error: OSError) -> str:
    """Which file, and what is wrong with it, without an error's number."""
    reason = (error.strerror or str(error)).lower()
    reason = "there is no such file" if isinstance(error, FileNotFoundError) else reason
    return f"{error.filename}: {reason}" if error.filename else str(error)


def hint(error: ArchipelagError, client: Client, arguments: argparse.Namespace) -> str:
    """What to do about a refusal; empty where it says so itself. Never raises what the network may say to it."""
    try:
        if isinstance(error, AuthenticationError):
            return _of_key(arguments)
        if isinstance(error, NotFoundError):
            return _of_name(client, arguments)
    except ArchipelagError:
        return ""
    workload = getattr(arguments, "workload", None)
    if isinstance(error, ValidationError) and workload:
        return f"What it takes: `archipelag workloads {workload}`."
    return ""


def _of_key(arguments: argparse.Namespace) -> str:
    chosen = settings.choose(arguments.url, arguments.key, arguments.profile)
    if not chosen.key:
        return ""
    source = _SOURCES.get(chosen.key_from, f"the one of {chosen.key_from}")
    return f"The key {chosen.key[:6]}… was used, {source}."


def _of_name(client: Client, arguments: argparse.Namespace) -> str:
    if model := getattr(arguments, "model", None):
        kind = getattr(arguments, "kind", None)
        offered = [one.id for one in client.list_models() if kind in (None, one.kind)]
        return _among(model, "models", offered)
    if slug := getattr(arguments, "workload", None) or getattr(arguments, "slug", None):
        return _among(slug, "workloads", (one.slug for one in client.list_workloads()))
    return ""


def _among(name: str, command: str, offered: Iterable[str]) -> str:
    names = sorted(offered)
    if near := nearest(name, names):
        return f"Did you mean {near}? `archipelag {command}` lists them all."
    some = ", ".join(names[:OFFERED_MAX]) + (" …" if len(names) > OFFERED_MAX else "")
    return f"There are {some}: see `archipelag {command}`." if names else ""
