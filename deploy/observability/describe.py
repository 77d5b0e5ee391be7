"""Describes dashboards in few words and writes them as Grafana reads them.

python deploy/observability/describe.py            writes dashboards/*.json
python deploy/observability/describe.py --check    fails when they differ
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
SCHEMA_VERSION: Final = 39
"""Of Grafana 11; later ones bring it up to their own."""
WIDTH: Final = 24
HEIGHT: Final = 8
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """PromQL, and how its lines are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """`kind` is Grafana's: timeseries, stat, gauge, table or heatmap."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    text: str = ""
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False
    most: float | None = None
    """Of a gauge: what fills it."""


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    text: str
    panels: tuple[Panel, ...]


def one(title: str, expr: str, *, legend: str = "", **more: Any) -> Panel:
    """A panel with one query."""
    return Panel(title, (Query(expr, legend),), **more)


def quantiles(title: str, metric: str, text: str, *, width: int = 8) -> Panel:
    """The middle, the slowest twentieth and the slowest hundredth; nothing measured in that time counts as 0."""
    queries = tuple(
        Query(
            f"(histogram_quantile({part}, sum by (le) (rate({metric}_bucket[$__rate_interval]))) >= 0)"
            " or vector(0)",
            name,
        )
        for part, name in ((0.5, "median"), (0.95, "p95"), (0.99, "p99"))
    )
    return Panel(title, queries, unit="s", text=text, width=width)


def drawn(dashboard: Dashboard) -> dict[str, Any]:
    """Grafana's own JSON."""
    return {
        "annotations": {"list": []},
        "description": dashboard.text,
        "editable": True,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": None,
        "links": [
            {
                "asDropdown": True,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "tags": ["archipelag"],
                "targetBlank": False,
                "title": "Archipelag",
                "type": "dashboards",
            }
        ],
        "panels": list(_placed(dashboard.panels)),
        "refresh": "15s",
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["archipelag"],
        "templating": {"list": [_datasource()]},
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "title": dashboard.title,
        "uid": dashboard.uid,
        "version": 1,
    }


def text_of(dashboard: Dashboard) -> str:
    return json.dumps(drawn(dashboard), indent=2, sort_keys=True) + "\n"


def _datasource() -> dict[str, Any]:
    return {
        "current": {},
        "hide": 0,
        "includeAll": False,
        "label": "Prometheus",
        "multi": False,
        "name": "datasource",
        "options": [],
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "type": "datasource",
    }


def _placed(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    """From the left, in rows."""
    x = y = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > WIDTH:
            x, y = 0, y + HEIGHT
        yield _panel(number, panel, x, y)
        x += panel.width


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "color": {"mode": "palette-classic"},
        "mappings": [],
        "thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": None}]},
        "unit": panel.unit,
    }
    options: dict[str, Any] = {}
    if panel.kind == "timeseries":
        stacking = {"group": "A", "mode": "normal" if panel.stacked else "none"}
        defaults["custom"] = {
            "drawStyle": "line",
            "fillOpacity": 20 if panel.stacked else 5,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": stacking,
        }
        defaults["min"] = 0
        options = {
            "legend": {
                "calcs": [],
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": True,
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif panel.kind in ("stat", "gauge"):
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        options = {"orientation": "auto", "reduceOptions": reduce}
        if panel.most is not None:
            defaults |= {"min": 0, "max": panel.most}
    return {
        "datasource": DATASOURCE,
        "description": panel.text,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "gridPos": {"h": HEIGHT, "w": panel.width, "x": x, "y": y},
        "id": number,
        "options": options,
        "targets": [
            {
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "range": True,
                "refId": chr(ord("A") + index),
            }
            for index, query in enumerate(panel.queries)
        ],
        "title": panel.title,
        "type": panel.kind,
    }


def main(arguments: Sequence[str]) -> int:
    from dashboards_described import DASHBOARDS

    differing = []
    for dashboard in DASHBOARDS:
        path = HERE / "dashboards" / f"{dashboard.uid}.json"
        if "--check" not in arguments:
            path.write_text(text_of(dashboard))
        elif not path.exists() or path.read_text() != text_of(dashboard):
            differing.append(path.name)
    if differing:
        sys.stderr.write(f"differ from their description: {', '.join(differing)}\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main(sys.argv[1:]))
