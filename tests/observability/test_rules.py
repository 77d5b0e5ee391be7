"""The alert rules without a network: promtool checks them, and each fires when it should and only then."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from .alert_cases import CASES, Case
from .watching import FILES, ROOT, RULES, alerts, program


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("promtool"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def written(cases: dict[str, Case], *, fires: bool) -> str:
    """A file for `promtool test rules`: each alert by itself, on its own series."""
    tests = []
    for alert, case in cases.items():
        series = case.fires if fires else case.quiet
        firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
        expected = [{"labels": "{}", "value": 1}] if fires else []
        tests.append(
            {
                "name": f"{alert} {'fires' if fires else 'is quiet'}",
                "interval": "1m",
                "input_series": [{"series": name, "values": v} for name, v in series.items()],
                "promql_expr_test": [
                    {"expr": firing, "eval_time": f"{case.at_m}m", "exp_samples": expected}
                ],
            }
        )
    whole = {
        "rule_files": [str(path) for path in RULES],
        "evaluation_interval": "1m",
        "tests": tests,
    }
    return yaml.safe_dump(whole)


def test_promtool_accepts_rules_and_settings(tmp_path: Path) -> None:
    (tmp_path / "metrics-token").write_text("of-nobody")
    (tmp_path / "coordinators.yml").write_text("[]")
    settings = (FILES / "prometheus.yml").read_text().replace("rules/*.yml", f"{FILES}/rules/*.yml")
    (tmp_path / "prometheus.yml").write_text(settings)

    checked = promtool("check", "rules", *RULES)
    configured = promtool("check", "config", tmp_path / "prometheus.yml")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert configured.returncode == 0, configured.stdout + configured.stderr


def test_each_alert_has_its_case() -> None:
    assert set(CASES) == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("fires", [True, False], ids=["fires", "is_quiet"])
def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path, *, fires: bool) -> None:
    file = tmp_path / "cases.yml"
    file.write_text(written(CASES, fires=fires))

    done = promtool("test", "rules", file)

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_case_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "cases.yml"
    turned = {name: Case(case.quiet, case.fires, case.at_m) for name, case in CASES.items()}
    file.write_text(written({"NoLeader": turned["NoLeader"]}, fires=True))

    assert promtool("test", "rules", file).returncode != 0


def test_each_alert_has_a_runbook_that_says_what_to_do_and_what_it_costs() -> None:
    for rule in alerts():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        text = (ROOT / page).read_text()
        parts = re.split(r"^## (\w+)$", text, flags=re.M)
        told = dict(zip(parts[1::2], parts[2::2], strict=True))
        assert anchor == rule["alert"].lower()
        assert {"**Means**", "**Look**", "**Do**", "**Costs**"} <= set(
            re.findall(r"\*\*\w+\*\*", told[rule["alert"]])
        ), rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
