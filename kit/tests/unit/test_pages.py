"""The reference pages are what the code says: every field of a manifest, every word of a schema, every tier."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts import manifest, schema
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb
from archipelag_contracts.tiers import TIERS
from archipelag_kit import Run
from archipelag_kit.commands.parser import EPILOG, TEMPLATES, parser

ROOT = Path(__file__).parents[3]
MANIFEST = (ROOT / "docs/reference/manifest.md").read_text()
PROTOCOL = (ROOT / "docs/reference/cargo-protocol.md").read_text()
ROW = re.compile(r"^\| `([a-z0-9_.]+)` \|(.*)\|$", re.M)
TABLES: dict[str, Any] = {
    "model.": manifest.Model,
    "image.": manifest.Image,
    "needs.": manifest.Needs,
    "limits.": manifest.Limits,
    "price.": manifest.Price,
}


def test_every_field_of_a_manifest_is_in_its_reference_and_no_other() -> None:
    known = {field.name for field in fields(manifest.Manifest)} - {n[:-1] for n in TABLES}
    for table, kind in TABLES.items():
        known |= {table + field.name for field in fields(kind)}

    assert {name for name, _ in ROW.findall(MANIFEST)} == known


def test_the_defaults_are_those_of_the_code() -> None:
    told = dict(ROW.findall(MANIFEST))

    for table, kind in TABLES.items():
        for field in fields(kind):
            if isinstance(field.default, int | str) and field.default != "":
                assert told[table + field.name].split("|")[-1].strip() == str(field.default)


def test_every_choice_is_named() -> None:
    for word in (*manifest.KINDS, *manifest.RUNTIMES, *manifest.DEVICES, *TIERS, *schema.FORMATS):
        assert f"`{word}`" in MANIFEST or f'"{word}"' in MANIFEST, word


@pytest.mark.parametrize("word", [*schema._WHOLE, *schema._FREE, *schema._TEXTS, "anyOf", "items"])
def test_every_word_of_a_schema_is_named(word: str) -> None:
    assert f"`{word}`" in MANIFEST


def test_the_protocols_fields_are_told() -> None:
    for message in (pb.RunRequest, pb.RunEvent):
        for field in message.DESCRIPTOR.fields:
            assert f"`{field.name}`" in PROTOCOL, field.name


def test_the_tiers_are_told_with_their_limits() -> None:
    for tier in TIERS.values():
        row = next(line for line in PROTOCOL.splitlines() if line.startswith(f"| {tier.name} |"))
        cells = [cell.strip() for cell in row.split("|")]
        memory = {256: "256 MiB", 1024: "1 GiB", 8192: "8 GiB"}[tier.memory_bytes >> 20]
        assert cells[2:6] == [memory, str(tier.cpus), f"{tier.seconds} s", str(tier.pids)]


def test_what_an_author_may_use_of_a_run_is_told() -> None:
    public = {n for n in vars(Run) if not n.startswith("_")} - {"cancel"}

    assert [name for name in sorted(public) if f"run.{name}" not in PROTOCOL] == []


def test_every_command_is_in_the_help() -> None:
    commands = parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]

    assert {"init", "build", "test", "keygen", "sign", "push", "submit", "status"} <= set(commands)  # type: ignore[arg-type]
    assert {"list", "review"} <= set(commands)  # type: ignore[arg-type]
    assert all(f"archipelag cargo {name}" in EPILOG for name in ("init", "build", "submit"))
    assert set(TEMPLATES) == {"python", "grpc", "wasm-c", "wasm-rust"}
