"""A Cargo's manifest: parsed strictly, validated as a whole, with one canonical form whose digest names the Cargo.

Canonical bytes are JSON with sorted keys, no spaces, no floats and UTF-8 (the subset of RFC 8785 without numbers that
are not integers), so that every language gives the same bytes and the same digest.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Final

from archipelag_contracts import schema
from archipelag_contracts.errors import BadManifest
from archipelag_contracts.ids import CargoDigest
from archipelag_contracts.signing import digest
from archipelag_contracts.tiers import TIERS
from archipelag_contracts.units import UCREDITS_MAX, ZERO, Ucredits

MANIFEST_BYTES_MAX: Final = 64 * 1024
KINDS: Final = ("chat", "json", "embeddings", "image", "transcription", "speech")
RUNTIMES: Final = ("native", "oci", "wasm")
DEVICES: Final = ("gpu",)
IMAGE_BYTES_MAX: Final = 1 << 40
EGRESS_MAX: Final = 32
DEPTH_MAX: Final = 32

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]{1,32})?")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY: Final = re.compile(r"[a-z0-9]+([._:/-]{1,2}[a-z0-9]+)*")
_HOST: Final = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")


@dataclass(frozen=True)
class Model:
    """Weights that the Cargo loads. `source` says where they may be had; `sha256` says what they must be."""

    name: str
    file: str
    sha256: str
    source: str = ""
    context_tokens: int = 2048


@dataclass(frozen=True)
class Image:
    """What an Island pulls: an OCI image, or the artifact of a WASM module. By digest, so that it is never another."""

    repository: str
    """`host/path`, or a path alone: in the registry that the catalogue names."""
    digest: str
    """`sha256:…` of an OCI manifest, or of an index of manifests for several platforms."""
    size_bytes: int
    """Of all that is pulled, compressed; for one platform."""


@dataclass(frozen=True)
class Needs:
    """What one warm instance needs of the host."""

    memory_mb: int = 256
    vram_mb: int = 0
    disk_mb: int = 0


@dataclass(frozen=True)
class Limits:
    """Bounds of one run."""

    tier: str = "standard"
    seconds: int = 300
    output_items_max: int = 4096
    output_bytes_max: int = 524_288
    # No item and no progress report for so long: the Cargo is frozen.
    progress_s: int = 60


@dataclass(frozen=True)
class Price:
    """Whole micro-credits."""

    job_ucredits: Ucredits = ZERO
    prompt_token_ucredits: Ucredits = ZERO
    output_item_ucredits: Ucredits = ZERO


@dataclass(frozen=True)
class Manifest:
    slug: str
    version: str
    name: str
    description: str
    license: str
    kind: str
    runtime: str
    engine: str = ""
    resumable: bool = False
    model: Model | None = None
    needs: Needs = field(default_factory=Needs)
    limits: Limits = field(default_factory=Limits)
    price: Price = field(default_factory=Price)
    image: Image | None = None
    input: dict[str, Any] = field(default_factory=dict)
    """JSON Schema of a job's input, within `schema.problems`; empty: any object."""
    example: dict[str, Any] = field(default_factory=dict)
    """An input to try it with."""
    egress: tuple[str, ...] = ()
    """Host names that it may reach over TLS; for the elevated tier."""
    devices: tuple[str, ...] = ()

    def canonical(self) -> bytes:
        """The bytes that are signed, stored and hashed."""
        whole = asdict(self)
        for name in _LATER:
            if not whole[name]:
                del whole[name]
        return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @cached_property
    def digest(self) -> CargoDigest:
        """Reckoned once: it is asked for with every job."""
        return digest(self.canonical())

    @cached_property
    def reads_files(self) -> bool:
        """Whether a job's input may name uploaded files. Reckoned once, like the digest."""
        return schema.has_format(self.input, "file")


def parse_toml(text: str) -> Manifest:
    """A manifest as a person writes it. Raises BadManifest with every problem found."""
    try:
        manifest = build(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BadManifest([f"not TOML: {error}"]) from None
    if problems := schema.senseless(manifest.input):
        raise BadManifest(problems)
    return manifest


def parse_canonical(data: bytes) -> Manifest:
    """A manifest as it travels. Raises BadManifest, also when the bytes are not the canonical ones."""
    if len(data) > MANIFEST_BYTES_MAX:
        raise BadManifest([f"more than {MANIFEST_BYTES_MAX} bytes"])
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        raise BadManifest(["not JSON"]) from None
    manifest = build(parsed)
    try:
        same = manifest.canonical() == data
    except UnicodeEncodeError:  # JSON can spell half a character, "\\ud800", which has no bytes
        same = False
    if not same:
        raise BadManifest(["not in canonical form"])
    return manifest


# Fields that the first manifests did not have: left out where empty, so that those keep their digests.
_LATER: Final = ("image", "input", "example", "egress", "devices")
_TABLES: Final[dict[str, type]] = {
    "model": Model,
    "needs": Needs,
    "limits": Limits,
    "price": Price,
    "image": Image,
}
_TYPES: Final[dict[str, type]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "Ucredits": int,
    "dict[str, Any]": dict,
    "tuple[str, ...]": list,
}


def build(raw: Any) -> Manifest:
    """From a parsed table. Raises BadManifest with every problem found."""
    if not isinstance(raw, dict):
        raise BadManifest(["not a table"])
    problems: list[str] = []
    tables: dict[str, Any] = {}
    for name, kind in _TABLES.items():
        part = raw.get(name)
        if part is None:
            continue
        if not isinstance(part, dict):
            problems.append(f"{name} must be a table")
            continue
        tables[name] = _fill(kind, part, f"{name}.", problems)
    flat = {key: value for key, value in raw.items() if key not in _TABLES}
    manifest = _fill(Manifest, flat, "", problems, tables)
    if manifest is not None and not problems:
        problems += _check(manifest)
    if problems or manifest is None:
        raise BadManifest(problems)
    assert isinstance(manifest, Manifest)
    return manifest


def _fill(
    kind: type,
    raw: dict[str, Any],
    where: str,
    problems: list[str],
    extra: dict[str, Any] | None = None,
) -> Any:
    """An instance of `kind` from `raw`, or None after noting why not."""
    known = {f.name: f for f in fields(kind)}
    before = len(problems)
    problems += [f"{where}{key} is not known" for key in sorted(raw.keys() - known.keys())]
    for name, value in raw.items():
        wanted = _TYPES.get(str(known[name].type)) if name in known else None
        # bool is an int in Python; a manifest that says `seconds = true` is wrong all the same.
        if wanted is not None and (
            not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))
        ):
            problems.append(f"{where}{name} must be {wanted.__name__}")
    if len(problems) > before:
        return None
    raw = {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()}
    try:
        return kind(**raw, **(extra or {}))
    except TypeError as error:
        missing = re.findall(r"'(\w+)'", str(error))
        problems.append(f"{where}{', '.join(missing)} missing" if missing else str(error))
        return None


def _check(m: Manifest) -> list[str]:
    """Every reason why a manifest of the right shape is still not acceptable."""
    rules: list[tuple[bool, str]] = [
        (
            bool(_SLUG.fullmatch(m.slug)),
            "slug must be lower-case letters, digits and dashes, 63 at most",
        ),
        (bool(_VERSION.fullmatch(m.version)), "version must look like 1.2.3"),
        (0 < len(m.name) <= 100, "name must have 1 to 100 characters"),
        (len(m.description) <= 2000, "description must have at most 2000 characters"),
        (0 < len(m.license) <= 100, "license must be an SPDX expression"),
        (m.kind in KINDS, f"kind must be one of {', '.join(KINDS)}"),
        (m.runtime in RUNTIMES, f"runtime must be one of {', '.join(RUNTIMES)}"),
        (
            m.runtime != "native" or bool(_SLUG.fullmatch(m.engine)),
            "a native Cargo must name its engine",
        ),
        (
            m.runtime == "native" or m.image is not None,
            f"a Cargo for {m.runtime} must name its image (`archipelag cargo push` does)",
        ),
        (m.limits.tier in TIERS, f"limits.tier must be one of {', '.join(TIERS)}"),
        (1 <= m.limits.seconds <= 86_400, "limits.seconds must be 1 to 86400"),
        (
            1 <= m.limits.output_items_max <= 1_000_000,
            "limits.output_items_max must be 1 to 1000000",
        ),
        (1 <= m.limits.output_bytes_max <= 16 << 20, "limits.output_bytes_max must be 1 to 16 MiB"),
        (
            1 <= m.limits.progress_s <= m.limits.seconds,
            "limits.progress_s must be 1 to limits.seconds",
        ),
    ]
    rules += _rules_of_what_came_later(m)
    rules += [(0 <= n <= 1 << 24, f"needs.{k} is out of range") for k, n in asdict(m.needs).items()]
    # A reservation multiplies a price by up to a million items and must stay within 64 bits.
    rules += [
        (0 <= n <= UCREDITS_MAX >> 24, f"price.{k} is out of range")
        for k, n in asdict(m.price).items()
    ]
    if m.model is not None:
        rules += [
            (
                bool(_MODEL.fullmatch(m.model.name)),
                "model.name has characters that are not allowed",
            ),
            (bool(_SHA256.fullmatch(m.model.sha256)), "model.sha256 must be 64 hexadecimal digits"),
            (
                "/" not in m.model.file and m.model.file not in ("", ".", ".."),
                "model.file must be a file name",
            ),
            (1 <= m.model.context_tokens <= 1 << 24, "model.context_tokens is out of range"),
        ]
    found = [reason for holds, reason in rules if not holds]
    # Only of bounded depth: whoever looks into it goes as deep as it is.
    return found + (schema.problems(m.input) if m.input and _is_plain(m.input) else [])


def _rules_of_what_came_later(m: Manifest) -> list[tuple[bool, str]]:
    hosts = "host names such as api.example.org"
    rules = [
        (_is_plain(m.input), "input must have text, whole numbers, lists and tables only"),
        (_is_plain(m.example), "example must have text, whole numbers, lists and tables only"),
        (
            len(m.egress) <= EGRESS_MAX
            and all(isinstance(h, str) and _HOST.fullmatch(h) for h in m.egress),
            f"egress must be at most {EGRESS_MAX} {hosts}",
        ),
        (
            len(set(m.devices)) == len(m.devices) and all(d in DEVICES for d in m.devices),
            f"devices must be among {', '.join(DEVICES)}",
        ),
    ]
    if m.image is not None:
        repository, size = m.image.repository, m.image.size_bytes
        rules += [
            (
                len(repository) <= 255 and bool(_REPOSITORY.fullmatch(repository)),
                "image.repository must be lower-case, such as host/path",
            ),
            (
                bool(_DIGEST.fullmatch(m.image.digest)),
                "image.digest must be sha256: and 64 hexadecimal digits",
            ),
            (0 < size <= IMAGE_BYTES_MAX, "image.size_bytes is out of range"),
        ]
    return rules


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether canonical bytes can hold it: no fractions, dates or depths without end."""
    if depth > DEPTH_MAX:
        return False
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v, depth + 1) for k, v in value.items())
    if isinstance(value, list):
        return all(_is_plain(v, depth + 1) for v in value)
    return value is None or isinstance(value, (str, int))
