"""A real Prometheus with our own rules on a network's figures, and what is asked of it."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from archipelag_embedded.process import Process, free_port

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "deploy" / "observability"
DASHBOARDS = sorted((FILES / "dashboards").glob("*.json"))
RULES = sorted((FILES / "rules").glob("*.yml"))
SELECTOR = re.compile(
    r"\b((?:archipelag|gnatsd|jetstream|process|up)(?:_\w+)?)(\{[^}]*\})?(?![\w(:=])"
)
INTERVAL = "30s"
"""Of Grafana's own variable, with a scrape every two seconds."""
AGAIN_S = 25.0
"""A busy machine may miss a scrape or two, after which there is nothing to draw for a moment."""


def program(name: str) -> str:
    """Debian's; without it the test is left out, but never where everything must run."""
    found = shutil.which(name)
    if found is None:
        assert not os.environ.get("CI"), f"no {name} here: `make .venv/sandboxes.stamp` installs it"
        pytest.skip(f"no {name} here: as root on Debian, apt install prometheus")
    return found


class Prometheus:
    """Started with the very files that we ship; only the pace of scrapes is another."""

    def __init__(self, home: Path, target: str, token: str) -> None:
        self.home = home
        shutil.copytree(FILES / "rules", home / "rules")
        settings = yaml.safe_load((FILES / "prometheus.yml").read_text())
        settings["global"] = {"scrape_interval": "2s", "evaluation_interval": "2s"}
        (home / "prometheus.yml").write_text(yaml.safe_dump(settings))
        (home / "coordinators.yml").write_text(yaml.safe_dump([{"targets": [target]}]))
        (home / "metrics-token").write_text(token)
        self.port = free_port()
        self.process = Process(
            "Prometheus",
            [
                program("prometheus"),
                f"--config.file={home / 'prometheus.yml'}",
                f"--storage.tsdb.path={home / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ],
            log=home / "prometheus.log",
            env={"PATH": "/usr/bin:/bin"},
        )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/api/v1", timeout=30)

    def close(self) -> None:
        self.http.close()
        self.process.stop(20)

    def ask(self, path: str, **values: str | float) -> Any:
        answer = self.http.get(path, params=values)
        told = answer.json()
        assert told["status"] == "success", f"{path} {values}: {told.get('error')}"
        return told["data"]

    def scraped(self) -> bool:
        try:
            if self.http.get("/targets").status_code != 200:
                return False
        except httpx.HTTPError:
            return False
        targets = self.ask("/targets")["activeTargets"]
        return bool(targets) and all(one["health"] == "up" for one in targets)

    def lines(self, expr: str) -> list[float]:
        """What a panel would draw now; a line that is no number is none."""
        result = self.ask("/query", query=expr)["result"]
        values = [float(one["value"][1]) for one in result]
        return [value for value in values if not math.isnan(value)]


def queries(path: Path) -> Iterator[tuple[str, str]]:
    """Each query of a dashboard: the panel's title, and PromQL with Grafana's variable filled in."""
    for panel in json.loads(path.read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", INTERVAL)


def alerts() -> list[dict[str, Any]]:
    return [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


def selectors(expr: str) -> set[str]:
    """What an expression reads: each series by its name and labels."""
    return {f"{name}{labels or ''}" for name, labels in SELECTOR.findall(expr)}


async def empty(
    prometheus: Prometheus, asked: Iterable[tuple[str, str]], within_s: float = AGAIN_S
) -> list[str]:
    """Titles whose query gives nothing to draw, however often it is asked."""
    missing = list(asked)
    until = time.monotonic() + within_s
    while missing := [one for one in missing if not prometheus.lines(one[1])]:
        if time.monotonic() > until:
            break
        await asyncio.sleep(1)
    return [f"{title}: {expr}" for title, expr in missing]
