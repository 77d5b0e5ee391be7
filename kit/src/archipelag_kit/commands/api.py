"""The Coordinator's HTTP API, as far as publishers and reviewers need it; its refusals become sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

import httpx

from archipelag_kit.commands import environment
from archipelag_kit.commands.errors import CommandError, NotAllowed, NotReachable

TIMEOUT_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 16 << 20


class Api:
    """Use as `with Api(url, key) as api`; without them the environment's are taken."""

    def __init__(
        self, url: str = "", key: str = "", transport: httpx.BaseTransport | None = None
    ) -> None:
        known = environment.read()
        key = key or known.api_key
        if not key:
            raise NotAllowed("no API key: set ARCHIPELAG_API_KEY")
        base = (url or known.api_url).rstrip("/").removesuffix("/api/v1")
        self._client = httpx.Client(
            base_url=base + "/api/v1",
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
            transport=transport,
        )
        self._url = url or known.api_url

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def submit(self, body: Mapping[str, str]) -> dict[str, Any]:
        return self._object("POST", "/cargos", body)

    def mine(self) -> list[dict[str, Any]]:
        return self._list("/cargos?limit=100")

    def one(self, cargo_id: str) -> dict[str, Any]:
        return self._object("GET", f"/cargos/{cargo_id}")

    def waiting(self) -> list[dict[str, Any]]:
        """Submitted, and not checked yet."""
        return self._list("/admin/cargos?status=submitted&limit=100")

    def send_checks(self, cargo_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._object("POST", f"/admin/cargos/{cargo_id}/checks", body)

    def _object(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        answer = self._ask(method, path, body)
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
            raise CommandError(f"{self._url} did not answer as an Archipelag network does")
        found: dict[str, Any] = answer["data"]
        return found

    def _list(self, path: str) -> list[dict[str, Any]]:
        answer = self._ask("GET", path)
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
            raise CommandError(f"{self._url} did not answer as an Archipelag network does")
        return [one for one in answer["data"] if isinstance(one, dict)]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            answer = self._client.request(method, path, json=body)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            hint = "say where a network is: --url or ARCHIPELAG_API_URL"
            raise NotReachable(f"{self._url} does not answer ({error}); {hint}") from None
        if len(answer.content) > ANSWER_BYTES_MAX:
            raise CommandError(f"{self._url} answered with more than {ANSWER_BYTES_MAX} bytes")
        try:
            parsed = answer.json()
        except (ValueError, RecursionError):
            parsed = None
        if answer.is_success:
            return parsed
        said = _refusal(parsed) or f"{self._url} answered {answer.status_code}"
        if answer.status_code in (401, 403):
            raise NotAllowed(f"{said}; give an API key that may do this: ARCHIPELAG_API_KEY")
        raise CommandError(said)


def _refusal(parsed: Any) -> str:
    """The API's own words: its message, and each field with what is wrong about it."""
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if not isinstance(error, dict):
        return ""
    lines = [str(error.get("message", error.get("code", "")))]
    errors = parsed.get("errors")
    if isinstance(errors, dict):
        for name, reasons in errors.items():
            told = reasons if isinstance(reasons, list) else [reasons]
            lines += [f"  - {name}: {_text(reason)}" for reason in told]
    return "\n".join(lines)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
