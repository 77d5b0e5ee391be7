"""Every request of the API as a value: what to send, and how to read the answer. No network here."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, BinaryIO, Generic, TypeVar
from urllib.parse import quote

from archipelag import values
from archipelag.errors import BadAnswer

T = TypeVar("T")
Headers = Mapping[str, str]
Messages = str | Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Upload:
    """A file as it is sent. `content` is read from its beginning at every try."""

    name: str
    content: bytes | BinaryIO


@dataclass(frozen=True)
class Operation(Generic[T]):
    """One request. `read` turns the decoded body and the headers into a value."""

    method: str
    path: str
    read: Callable[[Any, Headers], T]
    body: Mapping[str, Any] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Headers = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    """Fields of a form, instead of a body in JSON."""
    file: Upload | None = None


def data(read: Callable[[Any], T]) -> Callable[[Any, Headers], T]:
    """What stands under "data"."""
    return lambda body, _: read(values.table(body, "an object").get("data"))


def listed(read: Callable[[Any], T]) -> Callable[[Any, Headers], tuple[T, ...]]:
    """A list under "data"."""

    def rows(body: Any, _: Headers) -> tuple[T, ...]:
        found = values.table(body, "an object").get("data")
        if not isinstance(found, list):
            raise BadAnswer("the answer is not a list")
        return tuple(read(one) for one in found)

    return rows


def chat(
    messages: Messages, model: str, *, system: str | None, stream: bool, options: Mapping[str, Any]
) -> Operation[values.ChatAnswer]:
    said = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    if system is not None:
        said = [{"role": "system", "content": system}, *said]
    body: dict[str, Any] = {"model": model, "messages": said}
    body |= {name: value for name, value in options.items() if value is not None}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}

    def read(answer: Any, headers: Headers) -> values.ChatAnswer:
        return values.chat_answer(answer, *origin(headers))

    return Operation("POST", "/chat/completions", read, body)


def origin(headers: Headers) -> tuple[str, str]:
    """Job and Island of a chat answer."""
    return headers.get("x-archipelag-job", ""), headers.get("x-archipelag-island", "")


def create_job(
    workload: str, given: Mapping[str, Any], priority: int | None, key: str | None
) -> Operation[values.Job]:
    body: dict[str, Any] = {"workload": workload, "input": given}
    if priority is not None:
        body["priority"] = priority
    headers = {"Idempotency-Key": key} if key else {}
    return Operation("POST", "/jobs", data(values.job), body, headers=headers)


def list_jobs(limit: int, offset: int, status: str | None) -> Operation[values.JobPage]:
    params: dict[str, Any] = {"limit": limit, "offset": offset}
    if status is not None:
        params["status"] = status

    def read(body: Any, headers: Headers) -> values.JobPage:
        meta = values.table(values.table(body, "an object").get("meta") or {}, "an object")
        jobs = listed(values.job)(body, headers)
        return values.JobPage(
            jobs, meta.get("total", len(jobs)), meta.get("limit", limit), meta.get("offset", offset)
        )

    return Operation("GET", "/jobs", read, params=params)


def get_job(job_id: str) -> Operation[values.Job]:
    return Operation("GET", f"/jobs/{quote(job_id, safe='')}", data(values.job))


def job_output(job_id: str) -> Operation[str | None]:
    def read(body: Any) -> str | None:
        found = body.get("output") if isinstance(body, Mapping) else body
        return None if found is None else str(found)

    return Operation("GET", f"/jobs/{quote(job_id, safe='')}/output", data(read))


def job_stream(job_id: str, last_id: str) -> Operation[None]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    return Operation(
        "GET", f"/jobs/{quote(job_id, safe='')}/stream", lambda _, __: None, headers=headers
    )


def cancel_job(job_id: str) -> Operation[values.Job]:
    return Operation("DELETE", f"/jobs/{quote(job_id, safe='')}", data(values.job))


def job_files(job_id: str) -> Operation[tuple[values.File, ...]]:
    return Operation("GET", f"/jobs/{quote(job_id, safe='')}/files", listed(values.file))


def upload_file(upload: Upload, purpose: str) -> Operation[values.File]:
    def read(body: Any, _: Headers) -> values.File:
        return values.file(body)

    return Operation("POST", "/files", read, form={"purpose": purpose}, file=upload)


def list_files(limit: int, after: str | None, purpose: str | None) -> Operation[values.FilePage]:
    params: dict[str, Any] = {"limit": limit}
    params |= {name: value for name, value in (("after", after), ("purpose", purpose)) if value}

    def read(body: Any, headers: Headers) -> values.FilePage:
        more = values.table(body, "an object").get("has_more")
        return values.FilePage(listed(values.file)(body, headers), more is True)

    return Operation("GET", "/files", read, params=params)


def get_file(file_id: str) -> Operation[values.File]:
    path = f"/files/{quote(file_id, safe='')}"
    return Operation("GET", path, lambda body, _: values.file(body))


def file_content(file_id: str, offset: int = 0, tag: str = "") -> Operation[None]:
    """From this byte on; from the beginning where the file is not the one that this tag names."""
    headers = {"Range": f"bytes={offset}-", "If-Range": tag} if offset and tag else {}
    path = f"/files/{quote(file_id, safe='')}/content"
    return Operation("GET", path, lambda _, __: None, headers=headers)


def delete_file(file_id: str) -> Operation[None]:
    return Operation("DELETE", f"/files/{quote(file_id, safe='')}", lambda _, __: None)


def account() -> Operation[values.Account]:
    return Operation("GET", "/account", data(values.account))


def models() -> Operation[tuple[values.Model, ...]]:
    return Operation("GET", "/models", listed(values.model))


def workloads() -> Operation[tuple[values.Workload, ...]]:
    return Operation("GET", "/workloads", listed(values.workload))


def workload(slug: str) -> Operation[values.Workload]:
    return Operation("GET", f"/workloads/{quote(slug, safe='')}", data(values.workload))


def submit_cargo(
    reference: str, manifest: bytes, payload: bytes, signature: bytes, public_key: str
) -> Operation[values.Cargo]:
    body = {
        "reference": reference,
        "manifest": base64.b64encode(manifest).decode(),
        "payload": base64.b64encode(payload).decode(),
        "signature": base64.b64encode(signature).decode(),
        "public_key": public_key,
    }
    return Operation("POST", "/cargos", data(values.cargo), body)


def list_cargos(limit: int, offset: int) -> Operation[tuple[values.Cargo, ...]]:
    params = {"limit": limit, "offset": offset}
    return Operation("GET", "/cargos", listed(values.cargo), params=params)


def get_cargo(cargo_id: int) -> Operation[values.Cargo]:
    return Operation("GET", f"/cargos/{cargo_id:d}", data(values.cargo))


def withdraw_cargo(cargo_id: int) -> Operation[values.Cargo]:
    return Operation("DELETE", f"/cargos/{cargo_id:d}", data(values.cargo))


def all_cargos(limit: int, offset: int, status: str | None) -> Operation[tuple[values.Cargo, ...]]:
    params: dict[str, Any] = {"limit": limit, "offset": offset}
    if status is not None:
        params["status"] = status
    return Operation("GET", "/admin/cargos", listed(values.cargo), params=params)


def check_cargo(
    cargo_id: int, checks: Iterable[Mapping[str, Any]], sbom: Mapping[str, Any] | None
) -> Operation[values.Cargo]:
    body: dict[str, Any] = {"checks": [dict(one) for one in checks]}
    if sbom is not None:
        body["sbom"] = sbom
    return Operation("POST", f"/admin/cargos/{cargo_id:d}/checks", data(values.cargo), body)


def approve_cargo(cargo_id: int, trust: int) -> Operation[values.Cargo]:
    path = f"/admin/cargos/{cargo_id:d}/approve"
    return Operation("POST", path, data(values.cargo), {"trust": trust})


def reject_cargo(cargo_id: int, reason: str) -> Operation[values.Cargo]:
    path = f"/admin/cargos/{cargo_id:d}/reject"
    return Operation("POST", path, data(values.cargo), {"reason": reason})


def revoke_cargo(cargo_id: int, reason: str) -> Operation[values.Cargo]:
    path = f"/admin/cargos/{cargo_id:d}/revoke"
    return Operation("POST", path, data(values.cargo), {"reason": reason})


def hosts() -> Operation[tuple[values.Host, ...]]:
    return Operation("GET", "/hosts", listed(values.host))


def host(host_id: str) -> Operation[values.Host]:
    return Operation("GET", f"/hosts/{quote(host_id, safe='')}", data(values.host))


def host_karma(host_id: str) -> Operation[values.Karma]:
    return Operation("GET", f"/hosts/{quote(host_id, safe='')}/karma", data(values.karma))


def host_usage(host_id: str, limit: int, offset: int) -> Operation[tuple[values.UsageRow, ...]]:
    params: dict[str, Any] = {"limit": limit, "offset": offset}
    path = f"/hosts/{quote(host_id, safe='')}/usage"
    return Operation("GET", path, listed(values.usage_row), params=params)


def list_keys() -> Operation[tuple[values.ApiKey, ...]]:
    return Operation("GET", "/api-keys", listed(values.api_key))


def create_key(
    name: str, scopes: Iterable[str], expires_at: datetime | None, budget: Decimal | str | None
) -> Operation[values.ApiKey]:
    body: dict[str, Any] = {"name": name, "scopes": list(scopes)}
    if expires_at is not None:
        body["expires_at"] = expires_at.isoformat()
    if budget is not None:
        body["budget"] = str(budget)

    def read(answer: Any, _: Headers) -> values.ApiKey:
        answer = values.table(answer, "an object")
        secret = answer.get("key")
        return values.api_key(answer.get("data"), None if secret is None else str(secret))

    return Operation("POST", "/api-keys", read, body)


def revoke_key(key_id: str) -> Operation[None]:
    return Operation("DELETE", f"/api-keys/{quote(key_id, safe='')}", lambda _, __: None)


def stats() -> Operation[values.Stats]:
    # Some answers stand under "data", this one may stand plain: it is open to anyone.
    def read(body: Any, _: Headers) -> values.Stats:
        plain = values.table(body, "an object")
        return values.stats(plain.get("data", plain))

    return Operation("GET", "/network/stats", read)


def health() -> Operation[str]:
    """The version of the Coordinator that answers."""
    return Operation(
        "GET", "/health", lambda body, _: str(values.table(body, "an object").get("version", ""))
    )
