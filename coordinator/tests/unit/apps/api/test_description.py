"""The API's description: OpenAPI 3.1, every route in it, and real answers of the described shapes."""

from __future__ import annotations

import asyncio
import json
from html.parser import HTMLParser
from typing import Any

import pytest

from .conftest import Api, chat
from .test_access import DOORS, JOB, KEY, RULES, path_of, secret_of


async def description(api: Api) -> dict[str, Any]:
    async with api.client("") as http:
        told: dict[str, Any] = (await http.get("/openapi.json")).json()
    return told


def problems(document: dict[str, Any], schema: dict[str, Any], value: Any, at: str) -> list[str]:
    """A small JSON Schema checker: what we use of it. Fields that are not described are problems too."""
    if not schema:
        return []  # Anything at all.
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return problems(document, document["components"]["schemas"][name], value, at)
    if "anyOf" in schema:
        tried = [problems(document, one, value, at) for one in schema["anyOf"]]
        return [] if [] in tried else min(tried, key=len)
    kinds: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
    }
    kind = schema["type"]
    if not isinstance(value, kinds[kind]) or (kind != "boolean" and isinstance(value, bool)):
        return [f"{at} is no {kind}: {value!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at} is not one of {schema['enum']}: {value!r}"]
    if kind == "array":
        return [
            problem
            for index, one in enumerate(value)
            for problem in problems(document, schema["items"], one, f"{at}.{index}")
        ]
    if kind == "object":
        return _object_problems(document, schema, value, at)
    return []


def _object_problems(
    document: dict[str, Any], schema: dict[str, Any], value: dict[str, Any], at: str
) -> list[str]:
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    found = [f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value]
    for name, one in value.items():
        if name in known:
            found += problems(document, known[name], one, f"{at}.{name}")
        elif isinstance(rest, dict):
            found += problems(document, rest, one, f"{at}.{name}")
        elif rest is not True:
            found.append(f"{at}.{name} is not described")
    return found


async def test_it_is_openapi_3_1_with_unique_operations_and_no_loose_ends(api: Api) -> None:
    document = await description(api)

    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"] == "1.2.3"
    operations = [one for path in document["paths"].values() for one in path.values()]
    names = [one["operationId"] for one in operations]
    assert len(names) == len(set(names))
    text = json.dumps(document)
    shapes = document["components"]["schemas"]
    assert all(f'"#/components/schemas/{name}"' in text for name in shapes if name != "Usage")
    for one in operations:
        assert one["summary"] and one["tags"]
        assert {"500"} < set(one["responses"])


@pytest.mark.parametrize("door", DOORS, ids=str)
async def test_every_answer_has_its_described_shape(api: Api, door: Any) -> None:
    document = await description(api)
    if door.path not in document["paths"]:
        return  # The description and its page.
    async with api.client() as http:
        job = (await http.post("/jobs", json=JOB)).json()["data"]["id"]
        await api.answer("x")
        key = (await http.post("/api-keys", json=KEY)).json()["data"]["id"]
    path = await path_of(api, door, job_id=job, key_id=key)
    operation = document["paths"][door.path][door.method.lower()]
    secret = await secret_of(api, "admin" if door.needs == RULES else "full")
    body = door.body | {"user_id": api.scene.user.id} if "grants" in path else door.body

    async with api.client(secret) as http:
        answer = await http.request(
            door.method, f"http://archipelag.test{path}", json=body, **door.form or {}
        )
        refused = await http.request(door.method, f"http://archipelag.test{path}?limit=x")

    described = operation["responses"][str(answer.status_code)]["content"]
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert "text/event-stream" in described
    elif "content-disposition" in answer.headers:
        assert "application/octet-stream" in described
    else:
        schema = described["application/json"]["schema"]
        assert problems(document, schema, answer.json(), "answer") == []
    if refused.status_code >= 400:
        told = operation["responses"][str(refused.status_code)]
        schema = told["content"]["application/json"]["schema"]
        assert problems(document, schema, refused.json(), "error") == []


async def test_a_whole_chat_answer_has_its_described_shape(api: Api) -> None:
    document = await description(api)
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat()))
        await api.answer("Hello")
        answer = await asking

    schema = document["components"]["schemas"]["ChatCompletion"]
    assert problems(document, schema, answer.json(), "answer") == []


class Page(HTMLParser):
    """Collects what a page would fetch, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.targets: list[str] = []
        self.ids: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("script", "link", "img", "iframe") or "src" in found:
            self.fetched.append(tag)
        if tag == "a":
            self.targets.append(found["href"] or "")
        if found.get("id"):
            self.ids.add(found["id"] or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


async def test_the_page_names_every_route_and_fetches_nothing(api: Api) -> None:
    document = await description(api)
    async with api.client("") as http:
        answer = await http.get("/docs")
    page = Page()
    page.feed(answer.text)

    assert answer.headers["content-type"].startswith("text/html")
    assert page.fetched == []
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    text = "".join(page.words)
    assert [path for path in document["paths"] if path not in text] == []
    inner = {target[1:] for target in page.targets if target.startswith("#")}
    assert inner <= page.ids
