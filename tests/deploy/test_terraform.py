"""The Terraform module, as far as it can be checked without its provider: form, names, and that no secret is in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

MODULE = Path(__file__).parents[2] / "deploy" / "terraform"
TEXT = "\n".join(path.read_text() for path in sorted(MODULE.glob("*.tf")))


def test_it_is_formatted() -> None:
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("needs terraform")

    done = subprocess.run(
        [program, f"-chdir={MODULE}", "fmt", "-check", "-diff", "-no-color"],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "CHECKPOINT_DISABLE": "1"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "")


def test_it_can_be_parsed_and_names_only_what_it_declares() -> None:
    hcl = pytest.importorskip("hcl2")
    declared, resources = set(), set()
    used = set(re.findall(r"\bvar\.(\w+)", TEXT))
    for path in sorted(MODULE.glob("*.tf")):
        found = hcl.loads(path.read_text())
        declared |= {name for one in found.get("variable", ()) for name in named(one)}
        for one in (*found.get("resource", ()), *found.get("data", ())):
            resources |= {
                (kind, name) for kind, inner in named(one).items() for name in named(inner)
            }

    assert declared and resources
    assert declared == used, "declared and never used"
    for kind, name in re.findall(r"\b(hcloud_\w+)\.(\w+)\b", TEXT):
        assert (kind, name) in resources


def named(found: dict[str, Any]) -> dict[str, Any]:
    """Without what the parser adds, nor the quotes that it keeps."""
    return {key.strip('"'): value for key, value in found.items() if not key.startswith("__")}


def test_no_secret_passes_through_it() -> None:
    assert not re.search(
        r"(?i)password|secret|token|private_key", re.sub(r"#.*|\"[^\"]*\"", "", TEXT)
    )
    template = (MODULE / "cloud-init.yaml.tftpl").read_text()
    given = set(re.findall(r"\$\{(\w+)\}", template))
    told = re.search(r"templatefile\(.*?, \{(.*?)\}\)", TEXT, re.S)

    assert told is not None and set(re.findall(r"(\w+)\s+=", told[1])) == given
    document = yaml.safe_load(template.replace("${volume}", "/dev/disk"))
    assert document["mounts"][0][0] == "/dev/disk"


def test_only_the_networks_own_doors_are_open() -> None:
    everywhere = re.search(r'for_each = toset\((\["80".*?\])\)', TEXT)

    assert everywhere is not None
    assert "22" not in re.findall(r'"([\d-]+)"', everywhere[1])
    assert "5432" not in TEXT and "9090" not in TEXT and "3000" not in TEXT
