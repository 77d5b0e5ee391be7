"""What a container's configuration grants, and what of an image is refused before anything starts."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archipelag_island.adapters.runtimes.oci import cdi, cgroups, owner, smallest
from archipelag_island.adapters.runtimes.oci.bundle import (
    Box,
    Mount,
    configuration,
    environment,
    working_dir,
)
from archipelag_island.adapters.runtimes.words import LastWords
from archipelag_island.errors import StartFailed

BOX = Box(
    id="one",
    command=("/true",),
    environment={"A": "b"},
    working_dir="/",
    seccomp={"defaultAction": "SCMP_ACT_ERRNO"},
    memory_bytes=1 << 28,
    cpus=1.5,
    pids=64,
    tmp_bytes=1 << 20,
    tmp_files=100,
    first_id=0x7000_0000,
)


def made(box: Box = BOX) -> dict[str, Any]:
    return configuration(box, root="/mnt/root")


def test_nothing_is_granted_that_is_not_asked_for() -> None:
    config = made()

    process, linux = config["process"], config["linux"]
    assert config["root"] == {"path": "/mnt/root", "readonly": True}
    assert process["noNewPrivileges"] and process["user"]["uid"] != 0
    assert all(process["capabilities"][kind] == [] for kind in process["capabilities"])
    assert len(process["capabilities"]) == 5
    assert {one["type"] for one in linux["namespaces"]} == {
        *("pid", "ipc", "uts", "mount", "cgroup", "user")
    }
    assert all(one["hostID"] >= 0x7000_0000 for one in linux["uidMappings"] + linux["gidMappings"])
    assert linux["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    assert linux["devices"] == []
    assert not [m for m in config["mounts"] if m["type"] == "bind" and "ro" not in m["options"]]


def test_memory_is_limited_without_swap_where_swap_is_counted() -> None:
    assert made()["linux"]["resources"]["memory"] == {"limit": 1 << 28, "swap": 1 << 28}
    assert made(replace(BOX, swap_limited=False))["linux"]["resources"]["memory"] == {
        "limit": 1 << 28
    }


def test_only_what_is_said_to_be_is_writable() -> None:
    box = replace(BOX, mounts=(Mount("/mnt/a", "/a", writable=True), Mount("/mnt/b", "/b")))

    options = {m["destination"]: m["options"] for m in made(box)["mounts"]}

    assert "rw" in options["/a"] and "ro" in options["/b"]
    assert all("nosuid" in given for given in options.values())


def test_image_cannot_choose_home_or_break_the_environment() -> None:
    said = environment({"HOME": "/root", "A=B": "x", "": "y", "N": "a\0b", "PATH": "/bin"})

    assert said == {"PATH": "/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "TMPDIR": "/tmp"}


def test_working_directory_is_a_plain_folder_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "app/inner").mkdir(parents=True)
    (tmp_path / "fd").symlink_to("/proc/self/fd")
    (tmp_path / "app/up").symlink_to("../..")
    (tmp_path / "proc").mkdir()

    assert working_dir(tmp_path, "app/inner/") == "/app/inner"
    assert working_dir(tmp_path, "../../app") == "/app"
    assert working_dir(tmp_path, "") == "/"
    for wish in ("/fd/7", "/fd", "/app/up", "/proc", "/proc/self/fd/7", "/none", "//fd/7"):
        with pytest.raises(StartFailed, match="working directory"):
            working_dir(tmp_path, wish)


def test_last_words_are_the_last_and_bounded() -> None:
    words = LastWords()

    for number in range(1000):
        words.add(f"{number}\n".encode() + b"\x1b[31m\xff" * 1000)
    words.add(b"the end\n")

    assert str(words).endswith("the end")
    assert len(str(words)) <= 1000 and "\x1b" not in str(words)


def test_names_tell_a_dead_owner_from_a_living() -> None:
    mine = owner.prefix() + "echo-1"

    assert not owner.orphaned(mine)
    assert owner.orphaned(f"{os.getpid()}.1-echo-1"), "the number came again, with another start"
    assert owner.orphaned("99999999.5-echo-1")
    assert not owner.orphaned("somebody-elses")


def test_smallest_program_is_one(tmp_path: Path) -> None:
    for machine, number in (("x86_64", 62), ("aarch64", 183)):
        made = smallest.program(machine)
        assert made[:4] == b"\x7fELF" and struct.unpack_from("<H", made, 18) == (number,)
    with pytest.raises(OSError, match="no program"):
        smallest.program("pdp11")


def test_figures_of_the_second_version_are_read(tmp_path: Path) -> None:
    at = tmp_path / "archipelag/one"
    at.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (at / "cpu.stat").write_text("usage_usec 2500\nuser_usec 2000\n")
    (at / "memory.current").write_text("100\n")
    (at / "memory.peak").write_text("300\n")
    (at / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    (at / "io.stat").write_text("8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n")
    (at / "cgroup.procs").write_text("")

    assert cgroups.version(tmp_path) == 2 and cgroups.missing(tmp_path) == []
    assert cgroups.names(tmp_path) == ["one"]
    assert cgroups.of("one", tmp_path).figures() == cgroups.Figures(2_500_000, 100, 300, 11, 22, 1)
    assert cgroups.of("gone", tmp_path).figures() is None


def test_host_without_groups_says_what_is_missing(tmp_path: Path) -> None:
    assert cgroups.version(tmp_path) == 0
    assert cgroups.missing(tmp_path) == ["memory", "pids", "cpu"]


def cdi_file(folder: Path, **changes: Any) -> None:
    spec = {
        "cdiVersion": "0.6.0",
        "kind": "nvidia.com/gpu",
        "devices": [
            {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/zero"}]}},
            {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/null"}]}},
        ],
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void"],
            "hooks": [{"hookName": "createContainer", "path": "/bin/evil"}],
            "mounts": [
                {"hostPath": "/h/libcuda.so.550.54", "containerPath": "/lib/libcuda.so.550.54"}
            ],
        },
    } | changes
    (folder / "gpu.json").write_text(json.dumps(spec))


def test_gpu_is_what_the_vendors_file_says(tmp_path: Path) -> None:
    cdi_file(tmp_path)

    edits = cdi.gpu([tmp_path])

    (device,) = edits.devices
    assert (device.path, device.major, device.minor, device.kind) == ("/dev/null", 1, 3, "c")
    assert edits.shown == (cdi.Shown("/h/libcuda.so.550.54", "/lib/libcuda.so.550.54"),)
    assert dict(edits.environment) == {
        "NVIDIA_VISIBLE_DEVICES": "void",
        "LD_LIBRARY_PATH": "/lib",
    }
    assert dict(edits.links) == {
        "/lib/libcuda.so.1": "libcuda.so.550.54",
        "/lib/libcuda.so": "libcuda.so.550.54",
    }


def test_gpu_that_is_not_described_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="no GPU is described"):
        cdi.gpu([tmp_path])
    cdi_file(tmp_path, kind="acme.com/toaster")
    with pytest.raises(StartFailed, match="no GPU is described"):
        cdi.gpu([tmp_path])
    gone = {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia-gone"}]}}
    cdi_file(tmp_path, devices=[gone])
    with pytest.raises(StartFailed, match="/dev/nvidia-gone is not there"):
        cdi.gpu([tmp_path])
