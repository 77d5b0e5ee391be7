"""The source as a whole: who knows whom, sizes, banned names, pages in step with the code."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "docs")]
checks = importlib.import_module("checks")


@cache
def files() -> tuple[str, ...]:
    """Every file of ours: tracked, or new and not ignored."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    found = sorted(name for name in set(done.stdout.split("\0")) if (ROOT / name).is_file())
    assert len(found) > 50
    return tuple(found)


def sources(*, tests: bool = False) -> list[str]:
    return [
        name
        for name in files()
        if name.endswith(".py")
        and "/pb/" not in name
        and ("/src/" in name or (tests and not name.startswith(".")))
    ]


def complaints(names: list[str], check: Callable[[str, str], list[str]]) -> list[str]:
    assert names
    return [one for name in names for one in check(name, read(name))]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_imports_follow_the_layers() -> None:
    code = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 kept, 0 broken" in done.stdout


def test_files_and_functions_fit_the_eye() -> None:
    assert complaints(sources(tests=True), checks.sizes) == []


def test_time_chance_and_environment_are_passed_in() -> None:
    assert complaints(sources(), checks.banned_names) == []


def test_technologies_stay_in_their_place() -> None:
    assert complaints(sources(), checks.misplaced_imports) == []


def test_nothing_names_a_machine_or_a_registry() -> None:
    found = []
    for name in files():
        try:
            found += checks.machine_names(name, read(name))
        except UnicodeDecodeError:  # not text: the baseline of the messages, pictures
            continue

    assert found == []


def test_diagrams_are_what_the_tables_say() -> None:
    diagrams = importlib.import_module("diagrams")

    assert read("docs/state-machines.md") == diagrams.page()


def test_every_error_code_is_in_the_reference() -> None:
    errors = importlib.import_module("archipelag_coordinator.errors")
    kinds = [errors.CoordinatorError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    # An app may have errors of its own; whether they are imported yet depends on the order of the tests.
    codes = sorted({kind.code for kind in kinds[1:] if kind.__module__ == errors.__name__})
    assert len(codes) > 10

    assert checks.undocumented(codes, read("docs/reference/api.md")) == []


def test_links_lead_somewhere() -> None:
    pages = [name for name in files() if name.endswith(".md")]

    broken = [
        f"{page} → {target}"
        for page in pages
        for target in checks.links(page, read(page))
        if not (ROOT / target).exists()
    ]

    assert broken == []


def test_the_reference_of_settings_is_what_the_code_reads() -> None:
    settings_page = importlib.import_module("settings_page")

    assert settings_page.page() == read("docs/reference/settings.md")
    assert "ARCHIPELAG_POLICY_LEASE_S` | 60 |" in settings_page.page()
    # That an Island's settings are just those that it reads is tried by its own tests.
    assert "ARCHIPELAG_ISLAND_SLOTS` | 4 |" in settings_page.page()


def test_the_walks_pass_through_rooms_that_stand() -> None:
    pages = [name for name in files() if name.startswith("docs/walks/")]
    assert len(pages) >= 3

    found = [m for page in pages for m in checks.missing_rooms(page, read(page), files())]

    assert found == []


def test_changes_are_told() -> None:
    told = [n for n in files() if n.startswith("changes/") and n != "changes/README.md"]

    assert complaints(told, checks.fragment) == []


@pytest.mark.parametrize("allowed", ["LONG_FILES", "LONG_FUNCTIONS"])
def test_what_is_let_off_still_stands(allowed: str) -> None:
    for where, reason in getattr(checks, allowed).items():
        assert reason and (ROOT / where.split("::")[0]).is_file()
