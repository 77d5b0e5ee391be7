"""What manifests gained with images: pulled by digest, an input described, a tier that holds it."""

from __future__ import annotations

import pytest
from archipelag_contracts import schema, tiers
from archipelag_contracts.errors import BadManifest
from archipelag_contracts.manifest import Manifest, parse_canonical, parse_toml

WASM = """
slug = "hash"
version = "1.0.0"
name = "Hash"
description = ""
license = "Apache-2.0"
kind = "json"
runtime = "wasm"
egress = ["api.example.org"]
example = { text = "abc" }
[image]
repository = "archipelag/hash"
digest = "sha256:DIGEST"
size_bytes = 1000
[limits]
tier = "elevated"
[input]
type = "object"
required = ["text"]
[input.properties.text]
type = "string"
maxLength = 100
""".replace("DIGEST", "ab" * 32)


def manifest(text: str = WASM) -> Manifest:
    return parse_toml(text)


def test_it_travels_and_comes_back_the_same() -> None:
    written = manifest()

    assert parse_canonical(written.canonical()) == written
    assert written.egress == ("api.example.org",)
    assert written.image is not None and written.image.repository == "archipelag/hash"


def test_a_manifest_without_the_new_fields_keeps_its_bytes() -> None:
    old = WASM[: WASM.index("egress")].replace('runtime = "wasm"', 'runtime = "native"')

    canonical = parse_toml(old + 'engine = "hash"\n').canonical()

    for word in (b"image", b"input", b"example", b"egress", b"devices"):
        assert b'"' + word + b'"' not in canonical


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("size_bytes = 1000", "size_bytes = 0", "image.size_bytes"),
        ("sha256:", "sha1:", "image.digest"),
        ("archipelag/hash", "../hash", "image.repository"),
        ("archipelag/hash", "Archipelag/hash", "image.repository"),
        ("api.example.org", "127.0.0.1", "egress"),
        ("api.example.org", "localhost", "egress"),
        ("api.example.org", "*.example.org", "egress"),
        ("maxLength = 100", "maxLength = 1.5", "input"),
        ("maxLength = 100", 'pattern = "(a+)+$"', "input.properties.text.pattern"),
        ("maxLength = 100", '"$ref" = "http://x/"', "input.properties.text.$ref"),
        ("maxLength = 100", 'format = "regex"', "input.properties.text.format"),
        ("maxLength = 100", "multipleOf = 0", "input.properties.text.multipleOf"),
        ("maxLength = 100", "multipleOf = -2", "input.properties.text.multipleOf"),
        ("maxLength = 100", "maxLength = -1", "input.properties.text.maxLength"),
        ("maxLength = 100", f"maximum = {10**400}", "input.properties.text.maximum"),
        ("maxLength = 100", f"multipleOf = {10**400}", "input.properties.text.multipleOf"),
        ("maxLength = 100", "enum = 5", "input.properties.text.enum"),
        ("maxLength = 100", 'enum = "abc"', "input.properties.text.enum"),
        ("maxLength = 100", "enum = []", "input.properties.text.enum"),
        ("maxLength = 100", "items = { anyOf = [{ multipleOf = 0 }] }", "items.anyOf.0.multipleOf"),
        ('type = "string"', "type = []", "input.properties.text.type"),
        ('type = "object"', 'type = "array"', "input must be a schema"),
        ('{ text = "abc" }', "{ text = 1.5 }", "example must have"),
        ('{ text = "abc" }', "{ day = 2026-01-01 }", "example must have"),
        ('egress = ["api.example.org"]', 'devices = ["disk"]', "devices"),
        ('egress = ["api.example.org"]', "egress = [1]", "egress"),
    ],
)
def test_what_cannot_be_is_refused_by_name(old: str, new: str, problem: str) -> None:
    assert old in WASM
    with pytest.raises(BadManifest, match=problem.replace("$", r"\$")):
        manifest(WASM.replace(old, new))


@pytest.mark.parametrize("senseless", ['"multipleOf":0', '"enum":5'])
def test_a_manifest_that_stands_is_read_though_no_input_can_be_checked_by_it(
    senseless: str,
) -> None:
    standing = manifest().canonical().replace(b'"maxLength":100', senseless.encode())

    assert parse_canonical(standing).canonical() == standing
    assert schema.senseless(parse_canonical(standing).input)


@pytest.mark.parametrize("nested", [b'{"a":' * 900 + b"1" + b"}" * 900, b"[" * 900 + b"]" * 900])
def test_a_manifest_of_any_depth_is_refused_and_breaks_nothing(nested: bytes) -> None:
    deep = manifest().canonical().replace(b'"maxLength":100', b'"default":' + nested)

    with pytest.raises(BadManifest):
        parse_canonical(deep)


def test_a_cargo_that_is_pulled_must_say_what() -> None:
    without = WASM[: WASM.index("[image]")] + WASM[WASM.index("[limits]") :]

    with pytest.raises(BadManifest, match="must name its image"):
        manifest(without)


@pytest.mark.parametrize(
    ("trust", "tier", "permitted"),
    [
        (0, "restricted", True),
        (0, "standard", False),
        (1, "standard", True),
        (2, "elevated", False),
        (3, "elevated", True),
        (4, "restricted", False),
        (-1, "restricted", False),
        (3, "root", False),
    ],
)
def test_trust_decides_the_tier(trust: int, tier: str, permitted: bool) -> None:
    assert tiers.permits(trust, tier) is permitted


def test_more_than_the_tier_has_is_told_by_name() -> None:
    greedy = manifest(WASM.replace('tier = "elevated"', 'tier = "restricted"\nseconds = 600'))

    assert tiers.exceeds(manifest()) == []
    assert [said.split()[0] for said in tiers.exceeds(greedy)] == ["limits.seconds", "egress"]


def test_a_manifest_knows_whether_its_input_names_files() -> None:
    named = 'anyOf = [{ type = "string", format = "file" }, { type = "null" }]'

    assert not manifest().reads_files
    assert not manifest(WASM.replace("maxLength = 100", 'default = "file"')).reads_files
    assert manifest(WASM.replace("maxLength = 100", 'format = "file"')).reads_files
    assert manifest(WASM.replace('type = "string"', named)).reads_files
