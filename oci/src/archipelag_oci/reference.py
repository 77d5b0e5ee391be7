"""Names of things in registries, by the grammar of the OCI distribution specification."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Final

from archipelag_oci.errors import BadReference

REFERENCE_CHARACTERS_MAX: Final = 512
REPOSITORY_CHARACTERS_MAX: Final = 255

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"({_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]+\])(?::([0-9]{{1,5}}))?")
_REPOSITORY: Final = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """Exactly one of `tag` and `digest` says which version is meant."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def version(self) -> str:
        """What stands in a manifest's address."""
        return self.digest or self.tag

    @property
    def name(self) -> str:
        """Without tag or digest, as it stands in a signature."""
        return f"{self.registry}/{self.repository}"

    def at(self, version: str) -> Reference:
        """The same repository at another digest or tag."""
        if is_digest(version):
            return replace(self, tag="", digest=version)
        return replace(self, tag=version, digest="")

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


def parse(text: str, registry: str = "") -> Reference:
    """`host[:port]/path@sha256:…` or `host/path:tag`; `registry` is where a path without a host lies.

    Raises BadReference. There is no default tag: what is not said is not guessed.
    """
    if len(text) > REFERENCE_CHARACTERS_MAX:
        raise BadReference(f"longer than {REFERENCE_CHARACTERS_MAX} characters")
    name, at, digest = text.partition("@")
    tag = ""
    if not at:
        name, colon, tag = name.rpartition(":")
        if not colon or "/" in tag:
            raise BadReference(f"{text!r} says no version: add `@sha256:…` or `:tag`")
    first, slash, rest = name.partition("/")
    if slash and _is_host(first):
        return Reference(first, rest, tag, digest)
    if not registry:
        raise BadReference(f"{text!r} names no registry: begin with `host/`")
    return Reference(registry, name, tag, digest)


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def sha256(data: bytes) -> str:
    """The digest of some bytes, as OCI writes it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_repository(text: str) -> bool:
    return len(text) <= REPOSITORY_CHARACTERS_MAX and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def hostname(registry: str) -> str:
    """The host of `host:port`, without brackets."""
    found = _HOST.fullmatch(registry)
    if found is None:
        raise BadReference(f"{registry!r} is no registry's host")
    return found[1].strip("[]")


def _is_host(first: str) -> bool:
    """As Docker tells a host from a path: it has a dot or a port, or is this machine."""
    return "." in first or ":" in first or first == "localhost"


def _check(reference: Reference) -> None:
    host = _HOST.fullmatch(reference.registry)
    if host is None or int(host[2] or 1) not in range(1, 65536):
        raise BadReference(f"{reference.registry!r} is no registry's host")
    if not is_repository(reference.repository):
        raise BadReference(
            f"{reference.repository[:80]!r} is no repository: lower-case words, digits, `.`, `_`, `-` and `/`"
        )
    if bool(reference.tag) == bool(reference.digest):
        raise BadReference("either a tag or a digest says which version is meant")
    if reference.tag and not is_tag(reference.tag):
        raise BadReference(f"{reference.tag[:80]!r} is no tag")
    if reference.digest and not is_digest(reference.digest):
        raise BadReference(
            f"{reference.digest[:80]!r} is no digest: `sha256:` and 64 lower-case hex digits"
        )
