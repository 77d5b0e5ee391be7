"""The API's description, for programs as OpenAPI and for people as one page without a foreign script."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

router = APIRouter()

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_STYLE: Final = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:14px/1.4 ui-monospace,monospace}
pre{overflow:auto;padding:.75rem;border:1px solid #8884;border-radius:.5rem}
details{border:1px solid #8884;border-radius:.5rem;margin:.5rem 0;padding:.5rem .75rem}
summary{cursor:pointer}
.method{display:inline-block;min-width:4.5rem;font-weight:700}
table{border-collapse:collapse}td,th{padding:.2rem .75rem .2rem 0;text-align:left;vertical-align:top}
"""
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
)


@router.get("/openapi.json")
async def get_openapi(request: Request) -> Response:
    return JSONResponse(request.app.openapi_schema)


@router.get("/docs")
async def get_docs(request: Request) -> Response:
    page = "".join(_page(request.app.openapi_schema))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def _page(document: dict[str, Any]) -> Iterator[str]:
    title = html.escape(f"{document['info']['title']} API {document['info']['version']}")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">'
    yield f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
    for paragraph in document["info"]["description"].strip().split("\n\n"):
        yield f"<p>{html.escape(paragraph)}</p>"
    yield '<p>As <a href="openapi.json">OpenAPI 3.1</a>.</p>'
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                tag = operations[method].get("tags", ["other"])[0]
                shown = "".join(_operation(method, path, operations[method]))
                by_tag.setdefault(tag, []).append(shown)
    for tag, shown_all in by_tag.items():
        yield f"<h2>{html.escape(tag)}</h2>{''.join(shown_all)}"
    yield "<h2>Shapes</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<details id="{html.escape(name)}"><summary><code>{html.escape(name)}</code></summary>'
        yield "".join(_properties(schema)) + "</details>"
    yield "</body></html>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f'<details><summary><code><span class="method">{method.upper()}</span>'
    yield f"{html.escape(path)}</code> {html.escape(operation.get('summary', ''))}</summary>"
    if operation.get("description"):
        yield f"<p>{html.escape(operation['description'])}</p>"
    if operation.get("security") == []:
        yield "<p>Open: needs no key.</p>"
    body = operation.get("requestBody")
    if body:
        bodies = [_type(content["schema"]) for content in body["content"].values()]
        yield f"<p>Body: {' | '.join(bodies)}</p>"
    if operation.get("parameters"):
        yield "<table><tr><th>Parameter</th><th>In</th><th>Type</th></tr>"
        for one in operation["parameters"]:
            name, where = html.escape(one["name"]), html.escape(one["in"])
            yield f"<tr><td><code>{name}</code></td><td>{where}</td>"
            yield f"<td>{_type(one.get('schema', {}))}</td></tr>"
        yield "</table>"
    yield "<table><tr><th>Status</th><th>Meaning</th><th>Answer</th></tr>"
    for status, told in operation["responses"].items():
        kinds = ", ".join(
            "server-sent events" if kind == "text/event-stream" else _type(content["schema"])
            for kind, content in told.get("content", {}).items()
        )
        yield f"<tr><td>{status}</td><td>{html.escape(told['description'])}</td><td>{kinds}</td></tr>"
    yield "</table></details>"


def _properties(schema: dict[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    yield "<table><tr><th>Field</th><th>Type</th><th></th></tr>"
    for name, inner in schema.get("properties", {}).items():
        optional = "" if name in required else "optional"
        yield f"<tr><td><code>{html.escape(name)}</code></td><td>{_type(inner)}</td>"
        yield f"<td>{optional}</td></tr>"
    yield "</table>"


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = html.escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "enum" in schema:
        return " | ".join(f"<code>{html.escape(str(word))}</code>" for word in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(_type(inner) for inner in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and schema.get("properties"):
        inner = ", ".join(
            f"<code>{html.escape(name)}</code>: {_type(one)}"
            for name, one in schema["properties"].items()
        )
        return "{" + inner + "}"
    return html.escape(str(schema.get("format") or schema.get("type", "anything")))
