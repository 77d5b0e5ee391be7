"""Pages that are drawn from the code, so that they cannot say something else: the HTTP API, the Python client, the
command lines, and the messages between machines."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import archipelag
import archipelag_coordinator.__main__
import archipelag_embedded.__main__
import archipelag_island.__main__
import httpx
from archipelag.cli.parser import parser as customers_parser
from archipelag_coordinator.apps.api.app import create_app
from archipelag_coordinator.services.world import World
from archipelag_kit.commands.parser import parser as cargo_parser

WIDTH: Final = "96"
PROTO: Final = Path("contracts/proto/archipelag/v1")
TOP_LEVEL: Final = re.compile(r"^(message|service|enum) (\w+) \{.*?(?:^\}|\}$)", re.S | re.M)


def pages(root: Path) -> dict[str, str]:
    """Name within `reference/` → Markdown."""
    return {
        "http-api.md": http_api(asyncio.run(description())),
        "python-sdk.md": python_sdk(),
        "commands.md": commands(),
        "messages.md": messages(root),
    }


async def description() -> dict[str, Any]:
    """The OpenAPI document, as the Coordinator hands it out."""
    world = cast(
        World, SimpleNamespace(version=archipelag_coordinator.__version__, tally=None, traces=None)
    )
    transport = httpx.ASGITransport(create_app(world))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        told: dict[str, Any] = (await http.get("/api/v1/openapi.json")).raise_for_status().json()
    return told


def http_api(document: dict[str, Any]) -> str:
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            by_tag.setdefault(tag, []).append(operation_of(method, path, operation))
    parts = [
        "# HTTP API, route by route",
        "Drawn from the OpenAPI document, which every Coordinator hands out at `/api/v1/openapi.json`. "
        "What the routes have in common, in prose: [the HTTP API](api.md).",
        document["info"]["description"],
    ]
    for tag, shown in sorted(by_tag.items()):
        parts += [f"## {tag.capitalize()}", *shown]
    parts.append("## Shapes")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(f"### {name} {{#shape-{name.lower()}}}")
        parts.append("\n".join(fields_of(schema)))
    return "\n\n".join(part for part in parts if part) + "\n"


def operation_of(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"### `{method.upper()} {path}`", operation.get("summary", "")]
    if text := operation.get("description", ""):
        lines.append(text)
    asked = [
        f"| `{one['name']}` | {one['in']} | {kind_of(one.get('schema', {}))} "
        f"| {'yes' if one.get('required') else ''} | {cell(one.get('description', ''))} |"
        for one in operation.get("parameters", [])
    ]
    if asked:
        head = ["| parameter | in | type | required | |", "|---|---|---|---|---|"]
        lines.append("\n".join([*head, *asked]))
    body = operation.get("requestBody", {}).get("content", {})
    for media, content in body.items():
        lines.append(f"Takes {kind_of(content.get('schema', {}))} as `{media}`.")
    answered = []
    for status, answer in operation.get("responses", {}).items():
        kinds = [
            f"{kind_of(content.get('schema', {}))} (`{media}`)"
            for media, content in answer.get("content", {}).items()
        ]
        answered.append(
            f"| {status} | {cell(answer.get('description', ''))} | {', '.join(kinds)} |"
        )
    lines.append("\n".join(["| status | | answer |", "|---|---|---|", *answered]))
    return "\n\n".join(line for line in lines if line)


def fields_of(schema: dict[str, Any]) -> Iterator[str]:
    if text := schema.get("description", ""):
        yield f"{text}\n"
    fields = schema.get("properties", {})
    if not fields:
        yield kind_of(schema)
        return
    yield "| field | type | required | |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        needed = "yes" if name in schema.get("required", []) else ""
        yield f"| `{name}` | {kind_of(field)} | {needed} | {cell(field.get('description', ''))} |"


def kind_of(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#shape-{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(kind_of(one) for one in schema[several]))
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    if isinstance(kind, list):
        return " or ".join(kind)
    form = schema.get("format")
    return f"{kind} ({form})" if form else str(kind)


def cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def python_sdk() -> str:
    parts = [
        "# The Python client, name by name",
        "Drawn from the package `archipelag`. How to use it, with examples: [use it from Python](../how-to/python.md). "
        "`AsyncClient` has the same operations, to be awaited.",
    ]
    parts += ["## Client", class_of(archipelag.Client), "## Errors"]
    names = [name for name in archipelag.__all__ if not name.startswith("_")]
    kinds = [getattr(archipelag, name) for name in names]
    errors = [one for one in kinds if inspect.isclass(one) and issubclass(one, Exception)]
    shown = "\n".join(
        f"| `{one.__name__}` | {bases_of(one)} | {cell(inspect.getdoc(one) or '')} |"
        for one in errors
    )
    parts += ["| error | is a | |\n|---|---|---|\n" + shown, "## Values"]
    clients = (archipelag.Client, archipelag.AsyncClient)
    for one in kinds:
        if inspect.isclass(one) and one not in errors and one not in clients:
            parts += [f"### {one.__name__}", own_doc(one), value_of(one)]
    return "\n\n".join(part for part in parts if part) + "\n"


def bases_of(kind: type) -> str:
    """Some are the builtin ones of the same name, too."""
    alike = {one: "builtins." if one.__module__ == "builtins" else "" for one in kind.__bases__}
    return ", ".join(f"`{where}{one.__name__}`" for one, where in alike.items())


def class_of(kind: type) -> str:
    parts = [f"```python\n{signature(kind.__name__, kind)}\n```", own_doc(kind)]
    for name, member in inspect.getmembers(kind):
        if name.startswith("_") or not callable(member):
            continue
        parts += [f"### {name}", f"```python\n{signature(name, member)}\n```", own_doc(member)]
    return "\n\n".join(part for part in parts if part)


def own_doc(thing: Any) -> str:
    text = getattr(thing, "__doc__", None) or ""
    # What a dataclass writes of itself says nothing that the table does not.
    return (
        ""
        if inspect.isclass(thing) and text.startswith(f"{thing.__name__}(")
        else inspect.cleandoc(text)
    )


def value_of(kind: type) -> str:
    fields = getattr(kind, "__dataclass_fields__", {})
    if not fields:
        return ""
    rows = "\n".join(f"| `{name}` | `{shown(one.type)}` |" for name, one in fields.items())
    return f"| field | type |\n|---|---|\n{rows}"


def signature(name: str, thing: Any) -> str:
    whole = inspect.signature(thing)
    kept = [one for one in whole.parameters.values() if one.name != "self"]
    text = re.sub(r"'([^']*)'", r"\1", str(whole.replace(parameters=kept)))
    # A default that is a function or an object tells nothing but where it lay in memory.
    text = re.sub(r"<[^<>]*(?:<[^<>]*>[^<>]*)*>", "…", text)
    if len(text) > 80:
        inside, _, after = text[1:].rpartition(")")
        text = "(\n    " + ",\n    ".join(split(inside)) + f",\n){after}"
    return name + text


def split(text: str) -> list[str]:
    """At commas that stand in no bracket."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "[({") - (sign in "])}")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def shown(annotation: Any) -> str:
    return str(annotation).replace("|", "\\|")


def parsers() -> dict[str, argparse.ArgumentParser]:
    # argparse wraps at the width of somebody's terminal otherwise.
    os.environ["COLUMNS"] = WIDTH
    return {
        "archipelag": customers_parser(),
        "archipelag cargo": cargo_parser(),
        "archipelag-island": archipelag_island.__main__._parser(),
        "archipelag-coordinator": archipelag_coordinator.__main__._parser(),
        "archipelag-embedded": archipelag_embedded.__main__.parser(),
    }


def commands() -> str:
    parts = [
        "# Command lines",
        "What each program and each of its commands says with `--help`. How to use the first of them: "
        "[the command line](../how-to/command-line.md).",
    ]
    for name, parser in parsers().items():
        parts.append(f"## {name}")
        parts += help_of(parser, name)
    return "\n\n".join(parts) + "\n"


def help_of(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    yield f"```text\n{parser.format_help().strip()}\n```"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in dict(action.choices).items():
                yield f"### {name} {word}"
                yield from help_of(below, f"{name} {word}")


def messages(root: Path) -> str:
    parts = [
        "# Messages between machines",
        "Protobuf, package `archipelag.v1`, as it stands in `contracts/proto`. Between Islands and Coordinators they "
        "travel over NATS and, for enrolment, over gRPC; between an Island and a Cargo over a Unix socket: "
        "[the Cargo protocol](cargo-protocol.md). Numbers and names of fields are never used twice.",
    ]
    for path in sorted((root / PROTO).glob("*.proto")):
        text = path.read_text("utf-8")
        parts.append(f"## {path.stem}.proto")
        for kind, name, source in blocks(text):
            parts.append(f"### {kind} {name}")
            parts.append(f"```protobuf\n{source}\n```")
    return "\n\n".join(parts) + "\n"


def blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Each message, service and enum, with the comment above it."""
    for match in TOP_LEVEL.finditer(text):
        before = text[: match.start()].splitlines()
        comment: list[str] = []
        while before and before[-1].startswith("//"):
            comment.insert(0, before.pop())
        yield match[1], match[2], "\n".join([*comment, match[0]])
