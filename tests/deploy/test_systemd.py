"""The units as systemd itself reads them, and how much of the machine they may touch."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"
EXPOSED_MAX = {"archipelag-coordinator": 12, "archipelag-backup": 12, "archipelag-island": 36}
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


def test_the_timer_starts_the_backup_daily(tmp_path: Path) -> None:
    for name in ("archipelag-backup.timer", "archipelag-backup.service"):
        text = (SYSTEMD / name).read_text()
        (tmp_path / name).write_text(re.sub(r"^(Exec\w+=-?)\S+", r"\1/bin/true", text, flags=re.M))
    when = re.search(r"^OnCalendar=(.+)$", (SYSTEMD / "archipelag-backup.timer").read_text(), re.M)
    assert when is not None

    done = analyze("verify", str(tmp_path / "archipelag-backup.timer"))
    told = analyze("calendar", "--iterations=2", "--base-time=2026-01-01 00:00:00 UTC", when[1])

    assert (done.returncode, done.stderr.strip()) == (0, "")
    days = re.findall(r"2026-01-0\d 03:20:00", told.stdout)
    assert list(dict.fromkeys(days)) == ["2026-01-01 03:20:00", "2026-01-02 03:20:00"]


def test_each_backup_has_a_name_of_its_own_and_the_operators_options(tmp_path: Path) -> None:
    """What the unit's shell starts, with a program that says what it is asked for."""
    line = unit("archipelag-backup")["Service"]["ExecStart"].replace("%%", "%")
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o700)
    shell = line.replace("/opt/archipelag/bin/archipelag-coordinator", str(program))
    environment = {
        "PATH": "/usr/bin:/bin",
        "STATE_DIRECTORY": "/var/lib/a folder",
        "BACKUP_OPTIONS": "--files /srv/files --passphrase-file /etc/p",
    }

    # As systemd does it: lines are joined, and what stands in quotes is one word.
    words = shlex.split(shell.replace("\\\n", " "))
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)

    command, file, *options = done.stdout.splitlines()
    assert command == "backup"
    assert re.fullmatch(r"/var/lib/a folder/network-\d{4}-\d\d-\d\dT\d{6}Z\.backup", file)
    assert options == ["--files", "/srv/files", "--passphrase-file", "/etc/p"]


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
