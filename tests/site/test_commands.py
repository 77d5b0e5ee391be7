"""Every command in the docs is typed by a test, or is on the list that says why not; and each is one that exists."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from . import commands

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "website"))

import reference  # noqa: E402 - found only once the path is set

# Page → the test that types all of its commands, as they stand there.
TYPED: Mapping[str, str] = {
    "docs/tutorials/first-cargo.md": "tests/acceptance/test_tutorial.py",
    "docs/tutorials/use-the-network.md": "tests/acceptance/test_newcomers.py",
    "docs/tutorials/lend-a-machine.md": "tests/acceptance/test_newcomers.py",
    "docs/tutorials/run-a-network.md": "tests/acceptance/test_newcomers.py",
    "docs/how-to/command-line.md": "tests/acceptance/test_command_line.py",
    "docs/how-to/back-up.md": "tests/acceptance/test_how_tos.py",
    "docs/how-to/doctor.md": "tests/acceptance/test_how_tos.py",
}
# Page → why nobody types it.
NOT_TYPED: Mapping[str, str] = {
    "README.md": "`make up` and `make demo` are the first run itself: tests start the same program without make",
    "CONTRIBUTING.md": "installs the environment that the tests run in",
    "docs/how-to/batches.md": "the requests are made by tests/acceptance/test_batches.py, in Python",
    "docs/how-to/chaos.md": "minutes of killing; tests/chaos runs the same in a small form",
    "docs/how-to/files.md": "names a bucket of a store elsewhere; tests/acceptance/test_files_and_models.py has files",
    "docs/how-to/javascript.md": "installs from a registry; tests/sdk/test_javascript.py runs the built package",
    "docs/how-to/lend-a-machine.md": "takes the machine away; tests/acceptance/test_island_life.py does so",
    "docs/how-to/pages.md": "names a Coordinator elsewhere",
    "docs/how-to/python.md": "installs from a registry; its programs are run by tests/acceptance/test_command_line.py",
    "docs/how-to/run-a-registry.md": "mirrors a whole registry elsewhere; tests/supply has one here",
    "docs/how-to/run-embedded.md": "starts the network that the tests have running",
    "docs/how-to/run-external.md": "names servers elsewhere; tests/trouble/rig.py starts the same parts",
    "docs/how-to/sign-in.md": "names a mail server and a provider elsewhere",
    "docs/how-to/simulate.md": "minutes of virtual time; tests/simulation runs the same with few seeds",
    "docs/how-to/soak.md": "half an hour of streams; tests/soak runs the same in a small form",
    "docs/how-to/upgrade.md": "replaces Coordinators of two versions; tests/upgrade does so",
    "docs/how-to/use-the-openai-client.md": "needs other people's clients; tests/acceptance/ecosystem runs them",
}
# Page that is typed → which of its blocks are `shell` instead of `sh`, and so read but not typed, and why.
READ_ONLY: Mapping[str, str] = {
    "docs/how-to/back-up.md": "`restore` wants an empty database: tests/upgrade/test_restored.py has one",
}
# Pages, and folders of them, that need not be there → the same.
NOT_TYPED_WHERE_THERE: Mapping[str, str] = {
    "docs/runbooks/": "for a network that is in trouble",
    "docs/how-to/deploy.md": "builds images and starts them; tests/deploy does so",
    "docs/how-to/install-an-island.md": "installs into the host; tests/deploy does so elsewhere",
    "docs/how-to/observe.md": "starts servers beside the network; its own tests do so",
    "docs/how-to/update.md": "signs a release; tests/deploy does so",
    "docs/how-to/regions.md": "names servers of two regions elsewhere; tests/regions and tests/deploy have two here",
    "docs/how-to/workers.md": "starts a Coordinator with another setting",
}


def pages() -> dict[str, str]:
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    read = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in found}
    return {name: text for name, text in read.items() if commands.BLOCK.search(text)}


def test_every_page_with_commands_is_typed_or_says_why_not() -> None:
    named = {*TYPED, *NOT_TYPED}

    elsewhere = tuple(NOT_TYPED_WHERE_THERE)
    silent = [one for one in pages() if one not in named and not one.startswith(elsewhere)]

    assert silent == [], "type them in a test, or say in NOT_TYPED why not"
    assert [one for one in named if not (ROOT / one).is_file()] == []


def test_a_typed_page_leaves_nothing_untyped_without_a_reason() -> None:
    partly = [
        page for page in TYPED if re.search(r"^ *```(bash|shell|console)", pages()[page], re.M)
    ]

    assert partly == list(READ_ONLY)


def test_no_command_hides_in_a_block_without_a_language() -> None:
    fence = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.S | re.M)
    ours = re.compile(r"^ *(archipelag[\w-]* [a-z]|make [a-z]|pytest )", re.M)
    texts = {
        path: path.read_text("utf-8")
        for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    }

    hidden = [
        str(path.relative_to(ROOT))
        for path, text in texts.items()
        for language, block in fence.findall(text)
        if not language and ours.search(block)
    ]

    assert hidden == [], "call the block `sh`, or `text` where it shows what is printed"


@pytest.mark.parametrize(("page", "test"), TYPED.items())
def test_what_is_said_to_be_typed_is_read_by_that_test(page: str, test: str) -> None:
    assert Path(page).name in (ROOT / test).read_text("utf-8")


def test_every_command_is_one_that_exists() -> None:
    parsers = reference.parsers()
    found, asked = [], 0
    for name, text in pages().items():
        for words in commands.of_page(text):
            asked += 1
            said = commands.complaint(words, parsers, ROOT)
            found += [f"{name}: {' '.join(words)}: {said}"] if said else []

    assert found == []
    assert asked > 120, "few enough that the reader must have lost its way"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("make up  # now\n", [["make", "up"]]),
        (
            "A=1 B='2 3' archipelag jobs list | head -3 > x 2>&1\n",
            [["archipelag", "jobs", "list"], ["head", "-3"]],
        ),
        (
            "JOB=$(archipelag jobs submit x)\necho $JOB\n",
            [["archipelag", "jobs", "submit", "x"], ["echo", "$JOB"]],
        ),
        ("cat > f <<'END'\nmake nothing\nEND\nmake up\n", [["cat"], ["make", "up"]]),
        (
            'curl -sS \\\n  -d \'{"a": "b; c"}\' X && make up\n',
            [["curl", "-sS", "-d", '{"a": "b; c"}', "X"], ["make", "up"]],
        ),
        (
            "until archipelag-island status --once; do sleep 1; done\n",
            [["archipelag-island", "status", "--once"], ["sleep", "1"]],
        ),
    ],
)
def test_commands_are_read_as_a_shell_reads_them(script: str, expected: list[list[str]]) -> None:
    assert list(commands.of_script(script)) == expected


@pytest.mark.parametrize(
    "command",
    [
        "archipelag jobs lst",
        "archipelag cargo frobnicate",
        "archipelag-island run --fast",
        "archipelag-coordinator backup",
        "make nothing",
        "python benchmarks/none.py",
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str) -> None:
    assert commands.complaint(command.split(), reference.parsers(), ROOT)
