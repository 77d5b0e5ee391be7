"""What every module does alike: its manifest holds, its example runs, bad envelopes are told, answers come in items."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts import tiers
from archipelag_contracts.manifest import parse_toml

HERE = Path(__file__).parents[1]
NAMES = sorted(path.parent.name for path in HERE.glob("*/manifest.toml"))
Run = Callable[..., Any]
PUSHED = f'repository = "cargos/x"\ndigest = "sha256:{"0" * 64}"\nsize_bytes = 1\n'


def test_there_are_eight() -> None:
    eight = ["csv", "diff", "hash", "image-resize", "json-query", "markdown", "qr", "regex"]

    assert eight == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_manifest_is_good_and_its_example_runs(run: Run, name: str) -> None:
    text = (HERE / name / "manifest.toml").read_text()

    # `archipelag cargo push` adds where the module was pushed to.
    manifest = parse_toml(f"{text}\n[image]\n{PUSHED}")
    answer = run(name, tomllib.loads(text)["example"])

    assert (manifest.slug, manifest.kind, manifest.runtime) == (name, "json", "wasm")
    assert manifest.limits.tier == "restricted" and not tiers.exceeds(manifest)
    assert isinstance(answer.json, dict)
    # About ten milliseconds of a slow core; benchmarks/wasm_cargos.py shows the real figures.
    assert answer.fuel < 20_000_000


@pytest.mark.parametrize("name", NAMES)
def test_schema_names_every_field_that_the_module_knows(run: Run, name: str) -> None:
    schema = tomllib.loads((HERE / name / "manifest.toml").read_text())["input"]

    assert schema["additionalProperties"] is False
    for field in schema["properties"]:
        # A wrong type is told by name; a field that is not known would be told as such.
        assert "not known" not in run(name, {field: [[]]}).bad_input
    assert "surely_not is not known" in run(name, {"surely_not": 1}).bad_input


HOSTILE = {
    "nothing": b"",
    "no JSON": b"hello",
    "no object": b"[]",
    "no input": b"{}",
    "input is text": b'{"input":"x"}',
    "cut short": b'{"input":{"text":"x',
    "deep": b'{"input":' + b"[" * 100_000,
    "deep objects": b'{"input":' + b'{"a":' * 100_000,
    "invalid UTF-8": b'{"input":{"text":"\xff\xfe"}}',
    "half a character": b'{"input":{"text":"\\ud83c"}}',
    "overlong": b'{"input":{"text":"\xc0\xaf"}}',
    "too large": b'{"input":{"text":"' + b"x" * (17 << 20) + b'"}}',
    "a number of digits": b'{"input":{"text":' + b"9" * 100_000 + b"}}",
    "many values": b'{"input":{"list":[' + b"0," * 4_000_000 + b"0]}}",
    "a bad position": b'{"input":{},"first_position":-1}',
    "a backslash at the end": b'{"input":{"text":"\\',
    "zeros": b"\0" * 1000,
}


@pytest.mark.parametrize("name", ["hash", "json-query"])
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_envelopes_end_with_a_sentence(
    raw: Callable[[str, bytes], Any], name: str, what: str
) -> None:
    answer = raw(name, HOSTILE[what])

    assert answer.bad_input or answer.error


@pytest.mark.parametrize(
    "text", ["x" * 200_000, "é" * 100_000, "a" + "🌊" * 50_000, '\n"\\\u0001' * 30_000]
)
def test_long_answers_come_in_items_that_join(run: Run, text: str) -> None:
    whole = run("json-query", {"data": text, "query": "$"})
    rest = run("json-query", {"data": text, "query": "$"}, first_position=2)
    some = run("json-query", {"data": text, "query": "$"}, output_items_max=3)

    assert json.loads(whole.text)["values"] == [text]
    assert len(whole.items) > 3
    assert all(len(item.encode()) > 32_760 for item in whole.items[:-1])
    assert rest.items == whole.items[2:]
    assert some.items == whole.items[:3] and some.finish_reason == "length"
