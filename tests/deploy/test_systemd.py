"""The units as systemd itself reads them, and how much of the machine they may touch."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"
EXPOSED_MAX = {"archipelag-coordinator": 12, "archipelag-island": 36}
"""Tenths, of 10. An Island makes sandboxes, which needs namespaces and mounts."""


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze")
    return subprocess.run(
        [program, "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def unit(name: str) -> configparser.RawConfigParser:
    found = configparser.RawConfigParser(strict=False)
    found.optionxform = str  # type: ignore[method-assign,assignment]
    found.read(SYSTEMD / f"{name}.service")
    return found


@pytest.mark.parametrize("name", EXPOSED_MAX)
def test_systemd_understands_every_line(name: str, tmp_path: Path) -> None:
    text = (SYSTEMD / f"{name}.service").read_text()
    # The programs stand where a package or the installer puts them, which is not here.
    path = tmp_path / f"{name}.service"
    path.write_text(re.sub(r"^(Exec\w+=-?)\S+", r"\1/bin/true", text, flags=re.M))

    done = analyze("verify", str(path))

    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_a_line_that_systemd_does_not_know_is_found(tmp_path: Path) -> None:
    path = tmp_path / "wrong.service"
    path.write_text("[Service]\nExecStart=/bin/true\nNoNewPriviliges=yes\n")

    assert "NoNewPriviliges" in analyze("verify", str(path)).stderr


@pytest.mark.parametrize("name", EXPOSED_MAX)
def test_units_touch_no_more_of_the_machine_than_they_must(name: str) -> None:
    path, most = str(SYSTEMD / f"{name}.service"), EXPOSED_MAX[name]

    done = analyze("security", "--offline=true", f"--threshold={most}", path)

    assert done.returncode == 0, done.stdout[-400:]


@pytest.mark.parametrize("name", EXPOSED_MAX)
def test_units_are_of_users_without_rights(name: str) -> None:
    service = unit(name)["Service"]
    users = re.findall(r"^u (\S+)", (SYSTEMD / "sysusers.conf").read_text(), re.M)

    assert service["User"] in users and service["User"] != "root"
    assert service["CapabilityBoundingSet"] == "" and service["NoNewPrivileges"] == "yes"
    assert service["StateDirectoryMode"] == "0700"
    given = service["EnvironmentFile"].lstrip("-")
    # With passwords in it: for root, and for the group of its service.
    assert f"f {given} 0640 root {service['Group']}" in (SYSTEMD / "tmpfiles.conf").read_text()
