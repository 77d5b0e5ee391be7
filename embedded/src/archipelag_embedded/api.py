"""The few questions the supervisor asks the Coordinator over its public HTTP API."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

TIMEOUT_S = 3.0
ANSWER_BYTES_MAX = 1 << 20

# Never through a proxy of the environment: the address is on this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Api:
    """One Coordinator's address and a key."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self._url = url
        self._key = key

    def ready(self) -> bool:
        return self._ask("/api/v1/ready") is not None

    def knows_us(self) -> bool:
        """Whether the key is one of this network's."""
        return self._ask("/api/v1/account") is not None

    def stands(self, path: str) -> bool:
        """Whether this address answers with a success."""
        return self._ask(path) is not None

    def cargo_warm(self, slug: str, *, since: datetime) -> bool:
        """True once an Island said after this time that it has this Cargo loaded.

        The Coordinator remembers what an Island said before it was stopped; that counts for nothing.
        """
        return any(
            cargo["state"] == "warm" and cargo["slug"] == slug
            for host in self._listed("/api/v1/hosts")
            if host["seen_at"] and datetime.fromisoformat(host["seen_at"]) > since
            for cargo in host["cargos"]
        )

    def chat_models(self) -> list[str]:
        """The names of the models that chat."""
        return [
            str(one["model"]) for one in self._listed("/api/v1/workloads") if one["kind"] == "chat"
        ]

    def _listed(self, path: str) -> list[dict[str, Any]]:
        answer = self._ask(path)
        return list(answer.get("data", [])) if isinstance(answer, dict) else []

    def _ask(self, path: str) -> Any:
        """The decoded answer; nothing when there is none or it is not a success."""
        request = urllib.request.Request(self._url + path)  # noqa: S310 - http to this machine
        if self._key:
            request.add_header("Authorization", f"Bearer {self._key}")
        try:
            with _opener.open(request, timeout=TIMEOUT_S) as answer:
                return json.loads(answer.read(ANSWER_BYTES_MAX))
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
            return None
