"""The commands that pages tell people to type, one by one, and whether the programs take them."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Final

BLOCK: Final = re.compile(r"^ *```(?:sh|bash|shell|console)[^\n]*\n(.*?)^ *```$", re.S | re.M)
HERE_DOCUMENT: Final = re.compile(r"<<-?\s*'?(\w+)'?\n.*?^\1$", re.S | re.M)
SUBSTITUTED: Final = re.compile(r"\$\((?!\()([^()]*)\)")
COMMENT: Final = re.compile(r"(^|\s)#.*$", re.M)
WORDS_OF_SHELL: Final = {
    "if",
    "then",
    "else",
    "fi",
    "do",
    "done",
    "while",
    "until",
    "for",
    "!",
    "time",
    "exec",
    "eval",
}
ASSIGNMENT: Final = re.compile(r"\w+=.*", re.S)


def of_page(text: str) -> Iterator[list[str]]:
    """Each simple command of the page's shell blocks, in words, without what stands around it."""
    for block in BLOCK.findall(text):
        yield from of_script(block)


def of_script(script: str) -> Iterator[list[str]]:
    script = COMMENT.sub("", HERE_DOCUMENT.sub("", script)).replace("\\\n", " ")
    for inner in SUBSTITUTED.findall(script):
        yield from of_script(inner)
    script = SUBSTITUTED.sub("SUBSTITUTED", script)
    reading = shlex.shlex(script, posix=True, punctuation_chars="|&;()<>\n")
    reading.commenters = ""  # It would take the end of the line with it.
    reading.whitespace = " \t\r"
    reading.whitespace_split = True
    command: list[str] = []
    skip = False
    for word in reading:
        if skip:
            skip = False
        elif word.strip("\n") == "" or set(word) <= set("|&;()\n"):
            yield from [command] if command else []
            command = []
        elif set(word) <= set("<>&"):
            skip = True
            if command and command[-1].isdigit():
                command.pop()
        elif command or not (word in WORDS_OF_SHELL or ASSIGNMENT.fullmatch(word) or word in "{}"):
            command.append(word)
    if command:
        yield command


def complaint(
    words: list[str], parsers: Mapping[str, argparse.ArgumentParser], root: Path
) -> str | None:
    """Why this command cannot be what is meant; None where it can, or where another program would have to tell."""
    program, *rest = words
    match program:
        case "make":
            targets = re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.M)
            asked = [one for one in rest if "=" not in one and not one.startswith("-")]
            unknown = [one for one in asked if one not in targets]
            return f"make has no {', '.join(unknown)}" if unknown else None
        case "python" | "pytest":
            paths = [one for one in rest if one.endswith(".py") or one.startswith("tests/")]
            gone = [one for one in paths if "/" in one and not (root / one.split("::")[0]).exists()]
            return f"there is no {', '.join(gone)}" if gone else None
    if program == "archipelag" and rest[:1] == ["cargo"]:
        program, rest = "archipelag cargo", rest[1:]
    parser = parsers.get(program)
    if parser is None:
        return None
    said = StringIO()
    with redirect_stderr(said), redirect_stdout(said):
        try:
            parser.parse_args(rest)
        except SystemExit as ended:
            return said.getvalue().strip().splitlines()[-1] if ended.code else None
    return None
