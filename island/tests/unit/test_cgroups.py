"""Control groups in both layouts, on folders that look like them: what is written where, and what is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from archipelag_contracts.tiers import TIERS
from archipelag_island.adapters.runtimes.native.cgroups import (
    SANDBOX_PIDS,
    Cgroup,
    CgroupParent,
)
from archipelag_island.adapters.runtimes.native.group_parent import OWN, find_parent
from archipelag_island.runtime import Consumption

TIER = TIERS["restricted"]


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def with_version_1(host: Path) -> Path:
    groups = host / "sys/fs/cgroup"
    for controller in ("memory/island", "cpu,cpuacct", "pids"):
        (groups / controller).mkdir(parents=True)
    (host / "proc/self/cgroup").write_text("4:memory:/island\n3:cpu,cpuacct:/\n2:pids:/\n0::/\n")
    (host / "proc/self/mountinfo").write_text(
        "30 1 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "31 1 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n"
        "32 1 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
        "33 1 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    return groups


def with_version_2(host: Path, *, on: str) -> Path:
    groups = host / "sys/fs/cgroup/user/island"
    groups.mkdir(parents=True)
    (host / "proc/self/cgroup").write_text("0::/user/island\n")
    (host / "proc/self/mountinfo").write_text(
        "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    )
    (groups / "cgroup.controllers").write_text("cpu io memory pids")
    (groups / "cgroup.subtree_control").write_text(on)
    return groups


def test_version_1_limits_where_each_controller_is(host: Path) -> None:
    groups = with_version_1(host)

    parent = find_parent(host)
    assert parent is not None and parent.controllers == ("memory", "pids", "cpu")
    made = parent.make("archipelag-1-a", TIER)

    assert made is not None
    memory = groups / "memory/island/archipelag-1-a"
    assert (memory / "memory.limit_in_bytes").read_text() == str(TIER.memory_bytes)
    assert (memory / "memory.memsw.limit_in_bytes").read_text() == str(TIER.memory_bytes)
    shared = groups / "cpu,cpuacct/archipelag-1-a"
    assert (shared / "cpu.cfs_quota_us").read_text() == "100000"
    pids = (groups / "pids/archipelag-1-a/pids.max").read_text()
    assert int(pids) == TIER.pids + SANDBOX_PIDS
    assert len(made.doors) == 3


def test_version_2_limits_in_one_folder(host: Path) -> None:
    groups = with_version_2(host, on="cpu memory pids")

    parent = find_parent(host)
    assert parent is not None and parent.unified
    made = parent.make("archipelag-1-a", TIER)

    assert made is not None and len(made.doors) == 1
    folder = groups / "archipelag-1-a"
    written = {f.name: f.read_text() for f in folder.iterdir()}
    assert written == {
        "memory.max": str(TIER.memory_bytes),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "cpu.max": "100000 100000",
        "pids.max": str(TIER.pids + SANDBOX_PIDS),
    }


def test_group_that_is_not_delegated_is_not_used(host: Path) -> None:
    with_version_2(host, on="")
    switch = host / "sys/fs/cgroup/user/island/cgroup.subtree_control"
    switch.unlink()
    switch.mkdir()  # What cannot be written to.

    assert find_parent(host) is None


def with_living(groups: Path, *pids: int) -> None:
    (groups / "cgroup.type").write_text("domain\n")
    (groups / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))


def test_island_that_is_alone_in_its_group_steps_down_before_anything_is_turned_on(
    host: Path,
) -> None:
    groups = with_version_2(host, on="")
    with_living(groups, os.getpid())
    switch = groups / "cgroup.subtree_control"
    switch.unlink()
    switch.symlink_to(
        groups / OWN / "switched"
    )  # Writable only once the group of its own is there.

    parent = find_parent(host)

    assert (groups / OWN / "cgroup.procs").read_text() == str(os.getpid())
    assert parent is not None and set(parent.folders.values()) == {groups}


@pytest.mark.parametrize("above", ["cpu memory pids", "pids"], ids=["limits memory", "does not"])
def test_group_shared_with_others_is_left_as_it_is_for_one_above_that_limits_memory(
    host: Path, above: str
) -> None:
    groups = with_version_2(host, on="")
    with_living(groups, os.getpid(), 1)
    (groups.parent / "cgroup.subtree_control").write_text(above)

    parent = find_parent(host)

    assert not (groups / OWN).exists()
    assert (groups / "cgroup.subtree_control").read_text() == ""
    if above == "pids":
        assert parent is None
    else:
        assert parent is not None and set(parent.folders.values()) == {groups.parent}
        assert parent.controllers == ("memory", "pids", "cpu")


def test_island_that_stepped_down_finds_the_same_place_again(host: Path) -> None:
    groups = with_version_2(host, on="cpu memory pids")
    (host / "proc/self/cgroup").write_text(f"0::/user/island/{OWN}\n")
    (groups / OWN).mkdir()

    parent = find_parent(host)

    assert parent is not None and set(parent.folders.values()) == {groups}


def test_host_without_groups_has_none(tmp_path: Path) -> None:
    assert find_parent(tmp_path) is None


def test_group_that_cannot_be_limited_leaves_nothing(tmp_path: Path) -> None:
    parent = CgroupParent({"memory": tmp_path / "there"}, unified=False)

    assert parent.make("archipelag-1-a", TIER) is None
    assert list(tmp_path.iterdir()) == []


def test_figures_never_fall_but_for_what_is_used_now(tmp_path: Path) -> None:
    figures = {
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "memory.current": "900",
        "memory.peak": "1000",
        "memory.stat": "anon 5\ninactive_file 300\n",
        "memory.events": "oom 1\noom_kill 1\n",
        "io.stat": "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n",
    }
    for name, text in figures.items():
        (tmp_path / name).write_text(text)
    group = Cgroup(dict.fromkeys(("memory", "pids", "cpu"), tmp_path), unified=True)

    first = group.usage(Consumption())
    (tmp_path / "memory.current").write_text("400")
    (tmp_path / "memory.peak").write_text("10")
    (tmp_path / "cpu.stat").write_text("usage_usec 0\n")
    second = group.usage(first)

    assert first == Consumption(2500, 600, 1000, 11, 22, 0, 1)
    assert second == Consumption(2500, 100, 1000, 11, 22, 0, 1)


def test_groups_of_gone_islands_are_removed_and_those_of_living_ones_left(tmp_path: Path) -> None:
    gone, mine, other = (
        tmp_path / f"archipelag-{name}"
        for name in ("999999999-a", f"{os.getpid()}-a", "no-number-a")
    )
    for folder in (gone, mine, other):
        folder.mkdir()

    assert CgroupParent({"memory": tmp_path}, unified=False).remove_leftovers() == 1
    assert not gone.exists() and mine.exists() and other.exists()
