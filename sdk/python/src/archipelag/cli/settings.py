"""Where the network is and which key to use: flags, then the environment, then a profile of the config file."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from archipelag import transport

PROFILE: Final = "default"
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Chosen:
    """What a command uses, and where each came from: flag, environment, profile, or the default."""

    profile: str
    url: str | None
    url_from: str
    key: str | None
    key_from: str


def path() -> Path:
    """The config file, whether it is there or not."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "archipelag" / "config.toml"


def profile_name(given: str | None) -> str:
    """Raises ValueError for what is no name."""
    name = given or os.environ.get("ARCHIPELAG_PROFILE") or PROFILE
    if not NAME.fullmatch(name):
        raise ValueError(f"a profile's name has letters, digits, - and _ only: {name!r}")
    return name


def choose(url: str | None, key: str | None, profile: str | None) -> Chosen:
    """Raises ValueError for a config file that cannot be read."""
    name = profile_name(profile)
    kept = read().get(name, {})
    urls = (url, "flag"), (os.environ.get("ARCHIPELAG_API_URL"), "environment")
    keys = (key, "flag"), (os.environ.get("ARCHIPELAG_API_KEY"), "environment")
    chosen_url, url_from = _first(*urls, (kept.get("url"), f"profile {name}"))
    chosen_key, key_from = _first(*keys, (kept.get("key"), f"profile {name}"))
    if key_from.startswith("profile") and not _same(chosen_url, kept.get("url")):
        # A key goes to the network that it was made for, and to no other that was named for once.
        chosen_key, key_from = None, "nowhere: the profile's key is for another address"
    return Chosen(name, chosen_url, url_from, chosen_key, key_from)


def must_be_kept(profile: str | None) -> None:
    """Raises ValueError for a profile that was named and is not there: never is another one's key used instead."""
    name, kept = profile_name(profile), read()
    if (profile or os.environ.get("ARCHIPELAG_PROFILE")) and name not in kept:
        others = f"; there are {', '.join(sorted(kept))}" if kept else ""
        login = f"archipelag --profile {name} auth login"
        raise ValueError(f"there is no profile {name}{others}. To make it: `{login}`")


def _first(*given: tuple[str | None, str]) -> tuple[str | None, str]:
    return next(((value, where) for value, where in given if value), (None, "nowhere"))


def _same(one: str | None, other: str | None) -> bool:
    """Whether both name the same network."""
    found = [transport.settings(url or transport.BASE_URL, "-", 1, 1, 0) for url in (one, other)]
    return found[0].addresses == found[1].addresses


def read() -> dict[str, dict[str, str]]:
    """Every profile. Raises ValueError."""
    file = path()
    try:
        whole = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    found = whole.get("profiles", {})
    if not isinstance(found, Mapping):
        raise ValueError(f"{file}: profiles must be a table")
    return {str(name): _profile(file, name, kept) for name, kept in found.items()}


def _profile(file: Path, name: str, kept: Any) -> dict[str, str]:
    if not isinstance(kept, Mapping) or not all(isinstance(one, str) for one in kept.values()):
        raise ValueError(f"{file}: profiles.{name} must be a table of texts")
    return dict(kept)


def readable_by_others() -> bool:
    try:
        return path().stat().st_mode & 0o077 != 0
    except OSError:
        return False


def write(profile: str, kept: Mapping[str, str] | None) -> Path:
    """Keeps this profile, or forgets it, and leaves the others as they are. Only its owner may read the file."""
    file = path()
    profiles = {name: one for name, one in read().items() if name != profile}
    if kept:
        profiles[profile] = dict(kept)
    lines: list[str] = []
    for name, one in sorted(profiles.items()):
        lines += [f"[profiles.{_text(name)}]", *(f"{k} = {_text(v)}" for k, v in one.items()), ""]
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = file.with_name(f".config.toml.{os.getpid()}")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write("\n".join(lines))
    part.replace(file)
    return file


def _text(value: str) -> str:
    """As TOML writes it, which is as JSON does."""
    return json.dumps(value, ensure_ascii=False)
