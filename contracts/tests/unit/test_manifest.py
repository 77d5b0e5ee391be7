"""Manifests: strict in what is accepted, one canonical form, every problem told at once."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.errors import BadManifest
from archipelag_contracts.manifest import MANIFEST_BYTES_MAX, parse_canonical, parse_toml
from hypothesis import given
from hypothesis import strategies as st

GOOD = """\
slug = "echo"
version = "1.0.0"
name = "Echo"
description = "Says it again."
license = "Apache-2.0"
kind = "chat"
runtime = "native"
engine = "echo"
"""
MODEL = f'[model]\nname = "m"\nfile = "m.gguf"\nsha256 = "{"a" * 64}"\n'


def problems(text: str) -> list[str]:
    with pytest.raises(BadManifest) as caught:
        parse_toml(text)
    return caught.value.problems


def canonical(**changes: Any) -> bytes:
    raw = json.loads(parse_toml(GOOD).canonical()) | changes
    return json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_canonical_form_survives_the_journey() -> None:
    manifest = parse_toml(GOOD + MODEL)

    assert parse_canonical(manifest.canonical()) == manifest


def test_order_and_comments_do_not_change_the_digest() -> None:
    lines = ["# a comment", *reversed(GOOD.splitlines())]

    assert parse_toml("\n".join(lines)).digest == parse_toml(GOOD).digest


def test_any_value_changes_the_digest() -> None:
    assert parse_toml(GOOD).digest != parse_toml(GOOD.replace("1.0.0", "1.0.1")).digest


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('slug = "echo"', 'slug = "Echo"', "slug must"),
        ('slug = "echo"', 'slug = "../x"', "slug must"),
        ('slug = "echo"', 'slug = "echo\\n"', "slug must"),
        ('slug = "echo"', f'slug = "{"a" * 64}"', "slug must"),
        ('version = "1.0.0"', 'version = "1.0"', "version must"),
        ('version = "1.0.0"', 'version = "١.٠.٠"', "version must"),
        ('version = "1.0.0"', "version = 1", "version must be str"),
        ('name = "Echo"', 'name = ""', "name must"),
        ('kind = "chat"', 'kind = "shell"', "kind must"),
        ('runtime = "native"', 'runtime = "bare"', "runtime must"),
        ('engine = "echo"', "", "must name its engine"),
        ('engine = "echo"', 'engine = "os.system"', "must name its engine"),
        ('engine = "echo"', 'engine = "echo"\nresumable = 1', "resumable must be bool"),
        ('license = "Apache-2.0"', "", "license missing"),
        ('engine = "echo"', 'engine = "echo"\ncommand = "x"', "command is not known"),
        ('engine = "echo"', 'engine = "echo"\nneeds = 3', "needs must be a table"),
    ],
)
def test_each_wrong_value_is_told(was: str, becomes: str, said: str) -> None:
    assert any(said in one for one in problems(GOOD.replace(was, becomes)))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[limits]\nseconds = true", "limits.seconds must be int"),
        ("[limits]\nseconds = 0", "limits.seconds must be 1"),
        ("[limits]\nseconds = 1.5", "limits.seconds must be int"),
        ("[limits]\nseconds = 10\nprogress_s = 11", "limits.progress_s"),
        ('[limits]\ntier = "root"', "limits.tier"),
        ("[limits]\noutput_items_max = 1000001", "output_items_max"),
        ("[needs]\nmemory_mb = -1", "needs.memory_mb"),
        ("[price]\njob_ucredits = -1", "price.job_ucredits"),
        ("[price]\noutput_item_ucredits = 9223372036854775807", "price.output_item_ucredits"),
        ("[price]\nfree = 1", "price.free is not known"),
        (MODEL.replace("m.gguf", "../m.gguf"), "model.file"),
        (MODEL.replace("m.gguf", ".."), "model.file"),
        (MODEL.replace("a" * 64, "A" * 64), "model.sha256"),
        ('[model]\nname = "m"', "model.file, sha256 missing"),
    ],
)
def test_each_wrong_table_is_told(table: str, said: str) -> None:
    assert any(said in one for one in problems(GOOD + table + "\n"))


def test_all_problems_are_told_at_once() -> None:
    found = problems(GOOD.replace("1.0.0", "x").replace('"chat"', '"y"').replace("echo", "E"))

    assert len(found) == 4


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b"[" * 60_000,
        b" " + canonical(),
        canonical() + b"\n",
        json.dumps(json.loads(canonical())).encode(),
        canonical().replace(b'"echo","kind"', b'"echo","engine":"x","kind"'),
        canonical(slug=None),
        canonical().replace(b"Says it again.", b"\\ud800"),
        canonical(needs={"memory_mb": 256.0}),
        canonical(description="a" * MANIFEST_BYTES_MAX),
    ],
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadManifest):
        parse_canonical(data)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(BadManifest):
        parse_canonical(data)


WORD = st.text(max_size=12)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(sorted(json.loads(canonical())))


@given(st.dictionaries(FIELDS | WORD, VALUE, max_size=5))
def test_any_json_is_accepted_canonically_or_refused(changes: dict[str, Any]) -> None:
    try:
        data = canonical(**changes)
    except UnicodeEncodeError:  # lone surrogates never reach the wire
        return

    try:
        manifest = parse_canonical(data)
    except BadManifest:
        return
    assert manifest.canonical() == data


@pytest.mark.parametrize(
    "path",
    sorted(Path(__file__).parents[3].glob("cargos/*/manifest.toml")),
    ids=lambda p: p.parent.name,
)
def test_manifests_of_our_own_cargos_hold(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert parse_toml(text).slug == tomllib.loads(text)["slug"]
