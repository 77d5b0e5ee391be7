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
:root{color-scheme:light dark;--ground:light-dark(#f3f6f5,#09141a);--surface:light-dark(#fff,#0f1e26);
--sunken:light-dark(#e9efee,#0b181f);--line:light-dark(#d7e0df,#1e323c);--ink:light-dark(#0f2329,#e4eff0);
--soft:light-dark(#48606a,#9cb4bc);--accent:light-dark(#0a6a69,#5ad3c6)}
*{box-sizing:border-box}
body{font:16px/1.55 ui-sans-serif,system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1.5rem 1rem 4rem;
background:var(--ground);color:var(--ink);overflow-wrap:anywhere}
h1,h2{font-family:ui-serif,Georgia,serif;line-height:1.2;margin:2.2rem 0 .6rem}
h1{font-size:2.2rem;margin-top:1rem}
a{color:var(--accent);text-underline-offset:.2em}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:4px}
code,pre{font:14px/1.5 ui-monospace,monospace}
pre{white-space:pre-wrap;padding:1rem;background:var(--sunken);border:1px solid var(--line);border-radius:9px}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1rem;margin:0;padding:0}
details{background:var(--surface);border:1px solid var(--line);border-radius:9px;margin:.4rem 0;padding:.55rem .8rem}
summary{cursor:pointer}
summary .what{color:var(--soft);display:inline-block;margin-left:.4rem}
.method{display:inline-block;min-width:4.2rem;font-weight:700;color:var(--accent)}
table{border-collapse:collapse;width:100%;font-size:.92rem}
td,th{padding:.35rem .75rem .35rem 0;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
th{color:var(--soft);font-weight:600;border:0}
"""
_FIRST: Final = """\
curl {base}/v1/chat/completions \\
  -H "Authorization: Bearer $ARCHIPELAG_API_KEY" -H 'Content-Type: application/json' \\
  -d '{{"model": "MODEL", "messages": [{{"role": "user", "content": "Why is the sky blue?"}}]}}'"""
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
)


@router.get("/openapi.json")
async def get_openapi(request: Request) -> Response:
    return JSONResponse(request.app.openapi_schema)


@router.get("/docs")
async def get_docs(request: Request) -> Response:
    base = request.app.state.world.public_url
    page = "".join(_page(request.app.openapi_schema, base))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def _page(document: dict[str, Any], base: str) -> Iterator[str]:
    title = html.escape(f"{document['info']['title']} API {document['info']['version']}")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">'
    yield f"<style>{_STYLE}</style></head><body>"
    yield f'<header><a href="/">Archipelag</a></header><main><h1>{title}</h1>'
    for paragraph in document["info"]["description"].strip().split("\n\n"):
        yield f"<p>{_with_code(paragraph)}</p>"
    yield f'<pre tabindex="0" role="region" aria-label="A first request">{html.escape(_FIRST.format(base=base))}</pre>'
    yield '<p>Keys are made on the page <a href="/settings/keys">Keys</a>; the names of models stand in '
    yield '<code>/v1/models</code>. The same for programs: <a href="openapi.json">OpenAPI 3.1</a>.</p>'
    by_tag = _by_tag(document["paths"])
    yield '<nav aria-label="Parts of the API"><ul>'
    for tag in (*by_tag, "shapes"):
        yield f'<li><a href="#part-{html.escape(tag)}">{html.escape(tag)}</a></li>'
    yield "</ul></nav>"
    for tag, shown in by_tag.items():
        yield f'<h2 id="part-{html.escape(tag)}">{html.escape(tag)}</h2>{"".join(shown)}'
    yield '<h2 id="part-shapes">shapes</h2>'
    for name, schema in document["components"]["schemas"].items():
        yield f"<details><summary><code>{html.escape(name)}</code></summary>"
        yield "".join(_properties(name, schema)) + "</details>"
    yield "</main></body></html>"


def _by_tag(paths: dict[str, Any]) -> dict[str, list[str]]:
    """Operations as they are shown. One that also answers under another path is shown once, with both."""
    found: dict[str, list[str]] = {}
    for path, operations in paths.items():
        for method in (one for one in _METHODS if one in operations):
            if method in paths.get(f"/api{path}", {}):
                continue
            other = path.removeprefix("/api")
            also = other if other != path and method in paths.get(other, {}) else ""
            tag = operations[method].get("tags", ["other"])[0]
            shown = "".join(_operation(method, path, also, operations[method]))
            found.setdefault(tag, []).append(shown)
    return found


def _with_code(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{one}</code>" if at % 2 else one for at, one in enumerate(parts))


def _operation(method: str, path: str, also: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f'<details><summary><code><span class="method">{method.upper()}</span>{html.escape(path)}</code>'
    yield f'<span class="what">{html.escape(operation.get("summary", ""))}</span></summary>'
    if also:
        yield f"<p>Also at <code>{html.escape(also)}</code>, for OpenAI's clients.</p>"
    if operation.get("description"):
        yield f"<p>{_with_code(operation['description'])}</p>"
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


def _properties(name: str, schema: dict[str, Any]) -> Iterator[str]:
    """With the address inside, so that a browser that is sent there opens it."""
    required = set(schema.get("required", ()))
    yield f'<table id="{html.escape(name)}"><tr><th>Field</th><th>Type</th><th>Needed</th></tr>'
    for field, inner in schema.get("properties", {}).items():
        optional = "yes" if field in required else "no"
        yield f"<tr><td><code>{html.escape(field)}</code></td><td>{_type(inner)}</td>"
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
