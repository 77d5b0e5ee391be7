"""Senses on trees that look like a kernel's: who uses the processors, who is here, what feeds the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from archipelag_island.adapters.probe import disk
from archipelag_island.adapters.senses import HostSenses, Roots, line
from archipelag_island.adapters.senses.power import on_battery
from archipelag_island.adapters.senses.presence import Presence
from archipelag_island.adapters.senses.processors import Others

AGENT = 100


@dataclass
class HandClock:
    seconds: float = 1000.0
    wall_s: float = 1_700_000_000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall_s, UTC)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Kernel:
    """A machine of four processors whose ticks a test hands out."""

    root: Path
    busy: int = 1000
    idle: int = 5000
    tree: dict[int, list[int]] = field(default_factory=lambda: {AGENT: []})
    ticks: dict[int, tuple[int, int]] = field(default_factory=lambda: {AGENT: (10, 0)})
    """Own, and of children that were waited for."""

    def write(self) -> None:
        for pid, children in self.tree.items():
            folder = self.root / str(pid) / "task" / str(pid)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "children").write_text(" ".join(map(str, children)) + " ")
            own, waited = self.ticks[pid]
            fields = f"S 1 1 1 0 -1 4194560 1 0 0 0 {own} 0 {waited} 0 20 0 1 0"
            (self.root / str(pid) / "stat").write_text(f"{pid} (a (strange) name) {fields}\n")
        first = f"cpu  {self.busy} 0 0 {self.idle} 70 0 0 3000 500 0"
        (self.root / "stat").write_text(f"{first}\ncpu0 1 2 3 4\nintr 5\n")

    def pass_time(self, *, others: int = 0, **ours: int) -> None:
        """A quarter of a second: a hundred ticks on four processors. `ours`: by `pid_N`."""
        for name, spent in ours.items():
            pid = int(name.removeprefix("pid_"))
            own, waited = self.ticks[pid]
            self.ticks[pid] = (own + spent, waited)
        used = others + sum(ours.values())
        self.busy += used
        self.idle += 100 - used
        self.write()


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    made = Kernel(tmp_path)
    made.write()
    return made


def looks(sense: Others, kernel: Kernel, steps: list[Callable[[], None]]) -> float | None:
    seen = sense.read()
    for step in steps:
        step()
        seen = sense.read()
    return seen


def test_share_of_others_is_what_our_tree_did_not_use(kernel: Kernel) -> None:
    kernel.tree = {AGENT: [101], 101: [102], 102: []}
    kernel.ticks |= {101: (50, 0), 102: (50, 0)}
    kernel.write()
    sense = Others(kernel.root, AGENT)

    ours_only = looks(
        sense, kernel, [lambda: kernel.pass_time(pid_100=5, pid_101=20, pid_102=70)] * 3
    )
    both = looks(sense, kernel, [lambda: kernel.pass_time(others=30, pid_102=60)] * 3)

    assert ours_only == 0.0
    assert both == pytest.approx(0.3)


def test_share_is_unknown_until_there_are_enough_looks(kernel: Kernel) -> None:
    sense = Others(kernel.root, AGENT)

    seen = [looks(sense, kernel, [lambda: kernel.pass_time(others=80)]) for _ in range(1)]

    assert seen == [None]


def test_one_short_burst_is_evened_out(kernel: Kernel) -> None:
    sense = Others(kernel.root, AGENT)
    steps = [lambda: kernel.pass_time(others=60), kernel.pass_time, kernel.pass_time]

    assert looks(sense, kernel, steps) == pytest.approx(0.2)


def test_cargo_that_ended_was_still_ours(kernel: Kernel) -> None:
    kernel.tree = {AGENT: [101], 101: []}
    kernel.ticks[101] = (400, 0)
    kernel.write()
    sense = Others(kernel.root, AGENT)
    looks(sense, kernel, [lambda: kernel.pass_time(pid_101=90)] * 3)

    def ends_and_is_waited_for() -> None:
        kernel.pass_time(pid_101=90)
        own, waited = kernel.ticks[AGENT]
        kernel.ticks[AGENT] = (own, waited + kernel.ticks[101][0])
        kernel.tree = {AGENT: []}
        kernel.write()

    seen = looks(sense, kernel, [ends_and_is_waited_for, kernel.pass_time, kernel.pass_time])

    assert seen == 0.0


def test_child_that_nobody_waited_for_hides_no_work_of_others(kernel: Kernel) -> None:
    kernel.tree = {AGENT: [101], 101: []}
    kernel.ticks[101] = (400, 0)
    kernel.write()
    sense = Others(kernel.root, AGENT)
    sense.read()
    kernel.tree = {AGENT: []}

    seen = looks(sense, kernel, [lambda: kernel.pass_time(others=60)] * 4)

    assert seen == pytest.approx(0.6)


@pytest.mark.parametrize("missing", ["stat", f"{AGENT}/stat", f"{AGENT}/task/{AGENT}/children"])
def test_kernel_that_does_not_tell_leaves_the_share_unknown(kernel: Kernel, missing: str) -> None:
    (kernel.root / missing).unlink()

    assert looks(Others(kernel.root, AGENT), kernel, [lambda: None] * 4) is None


def test_process_that_ends_while_it_is_read_is_left_out(kernel: Kernel) -> None:
    kernel.tree[AGENT] = [999]
    kernel.write()

    seen = looks(Others(kernel.root, AGENT), kernel, [lambda: kernel.pass_time(others=50)] * 3)

    assert seen == pytest.approx(0.5)


@dataclass
class Desk:
    """Terminals, interrupts and USB devices, on disk."""

    roots: Roots
    clock: HandClock

    def terminal(self, name: str, atime_s: float) -> Path:
        path = self.roots.dev / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (atime_s, atime_s))
        return path

    def interrupts(self, *rows: str) -> None:
        self.roots.proc.mkdir(exist_ok=True)
        (self.roots.proc / "interrupts").write_text("     CPU0  CPU1\n" + "\n".join(rows) + "\n")

    def usb(self, name: str, count: int, kind: str = "03", protocol: str = "01") -> None:
        folder = self.roots.sys / "bus/usb/devices"
        device, interface = folder / name, folder / f"{name}:1.0"
        for made in (device, interface):
            made.mkdir(parents=True, exist_ok=True)
        (device / "urbnum").write_text(f"{count}\n")
        (interface / "bInterfaceClass").write_text(f"{kind}\n")
        (interface / "bInterfaceProtocol").write_text(f"{protocol}\n")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Roots(tmp_path / "proc", tmp_path / "sys", tmp_path / "dev"), HandClock())


def age_after(desk: Desk, presence: Presence, passed_s: float = 10.0) -> float | None:
    desk.clock.seconds += passed_s
    return presence.read()


def test_key_in_a_terminal_is_input(desk: Desk) -> None:
    quiet_since = desk.clock.wall_s - 300
    desk.terminal("pts/0", quiet_since - 50)
    desk.terminal("tty1", quiet_since)
    desk.terminal("pts/ptmx", desk.clock.wall_s)
    desk.terminal("ttyS0", desk.clock.wall_s)
    presence = Presence(desk.roots, desk.clock)
    first, later = presence.read(), age_after(desk, presence)

    desk.terminal("pts/0", quiet_since + 400)
    pressed = age_after(desk, presence)

    assert (first, later, pressed) == (300, 310, 0)
    assert age_after(desk, presence) == 10


def test_new_terminal_is_somebodys_and_one_that_closed_is_not(desk: Desk) -> None:
    old = desk.terminal("pts/0", desk.clock.wall_s - 300)
    presence = Presence(desk.roots, desk.clock)
    presence.read()

    desk.terminal("pts/1", desk.clock.wall_s - 300)
    opened = age_after(desk, presence)
    old.unlink()
    closed = age_after(desk, presence)

    assert (opened, closed) == (0, 10)


@pytest.mark.parametrize("jump_s", [-1e6, 1e6])
def test_clock_that_jumps_is_nobodys_keystroke(desk: Desk, jump_s: float) -> None:
    desk.terminal("pts/0", desk.clock.wall_s - 300)
    presence = Presence(desk.roots, desk.clock)
    presence.read()

    desk.clock.wall_s += jump_s

    assert age_after(desk, presence) == 310


@pytest.mark.parametrize(
    ("row", "counts"),
    [
        ("   1:  {}  9  IR-IO-APIC   1-edge   i8042", True),
        (" 142:  {}  0  IR-IO-APIC  14-fasteoi  ELAN0676:00", True),
        ("  51:  0  {}  INTC1055:00   67  SYNA2393:00", True),
        ("  27:  {}  0  IO-APIC  6-edge  Apple-Keyboard", True),
        ("  16:  {}  0  IO-APIC  16-fasteoi  xhci_hcd", False),
        ("   9:  {}" + "  0" * 500 + "  IO-APIC  1-edge  i8042", True),
        (" LOC:  {}  9  Local timer interrupts", False),
    ],
)
def test_interrupt_of_a_keyboard_or_mouse_is_input(desk: Desk, row: str, counts: bool) -> None:
    other = "   1:  5  5  IO-APIC  1-edge  i8042"
    desk.interrupts(other, row.format(100))
    presence = Presence(desk.roots, desk.clock)
    presence.read()

    desk.interrupts(other, row.format(101))

    assert age_after(desk, presence) == (0 if counts else 10)


def test_key_in_a_real_terminal_is_input(desk: Desk) -> None:
    master, slave = os.openpty()
    try:
        quiet_since = desk.clock.wall_s - 300
        os.utime(os.ttyname(slave), (quiet_since, quiet_since))
        (desk.roots.dev / "pts").mkdir(parents=True)
        (desk.roots.dev / "pts/7").symlink_to(os.ttyname(slave))
        presence = Presence(desk.roots, desk.clock)
        presence.read()
        os.write(slave, b"what a program prints\n")
        printed = age_after(desk, presence)

        os.write(master, b"a key\n")
        os.read(slave, 100)
        pressed = age_after(desk, presence)
    finally:
        os.close(master)
        os.close(slave)

    assert (printed, pressed) == (310, 0)


@pytest.mark.parametrize(
    ("kind", "protocol", "counts"),
    [("03", "01", True), ("03", "02", True), ("03", "00", False), ("08", "50", False)],
)
def test_transfer_of_a_usb_keyboard_or_mouse_is_input(
    desk: Desk, kind: str, protocol: str, counts: bool
) -> None:
    desk.interrupts("   1:  5  5  IO-APIC  1-edge  i8042")
    desk.usb("1-2", 40, kind, protocol)
    presence = Presence(desk.roots, desk.clock)
    presence.read()

    desk.usb("1-2", 41, kind, protocol)

    assert age_after(desk, presence) == (0 if counts else 10)


def test_machine_without_anything_to_watch_leaves_input_unknown(desk: Desk) -> None:
    presence = Presence(desk.roots, desk.clock)

    assert presence.read() is None
    desk.usb("1-2", 40, kind="08")
    assert age_after(desk, presence) is None


def supply(sys: Path, name: str, **words: str) -> None:
    folder = sys / "class/power_supply" / name
    folder.mkdir(parents=True)
    for word, value in words.items():
        (folder / word).write_text(f"{value}\n")


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({"AC": {"type": "Mains", "online": "1"}}, False),
        ({"AC": {"type": "Mains", "online": "0"}, "BAT0": {"type": "Battery", "status": "Discharging"}}, True),
        ({"AC": {"type": "Mains", "online": "1"}, "BAT0": {"type": "Battery", "status": "Discharging"}}, False),
        ({"ucsi": {"type": "USB", "online": "1"}, "BAT0": {"type": "Battery", "status": "Charging"}}, False),
        ({"BAT0": {"type": "Battery", "status": "Full"}}, False),
        ({"hidpp": {"type": "Battery", "status": "Discharging", "scope": "Device"}}, False),
        ({"strange": {}}, False),
    ],
)  # fmt: skip
def test_battery(tmp_path: Path, supplies: dict[str, dict[str, str]], expected: bool) -> None:
    for name, words in supplies.items():
        supply(tmp_path, name, **words)

    assert on_battery(tmp_path) is expected


def test_machine_that_does_not_tell_of_its_supply_leaves_it_unknown(tmp_path: Path) -> None:
    assert on_battery(tmp_path) is None


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "script", "metered"),
    [
        ("busctl", "echo u 1", True),
        ("busctl", "echo u 2", False),
        ("busctl", "echo u 3", True),
        ("busctl", "echo u 4", False),
        ("busctl", "echo u 0", None),
        ("busctl", "echo u 77", None),
        ("busctl", "echo no such service >&2; exit 1", None),
        ("busctl", "echo u 1; exit 1", None),
        ("busctl", "true", None),
        ("dbus-send", 'echo "method return"; echo "   variant       uint32 1"', True),
    ],
)
async def test_metered(tmp_path: Path, name: str, script: str, metered: bool | None) -> None:
    program(tmp_path, name, script)

    assert await line.ask(str(tmp_path)) is metered


async def test_metered_is_unknown_without_a_program_that_knows(tmp_path: Path) -> None:
    assert await line.ask(str(tmp_path)) is None


async def test_program_that_never_answers_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "ASK_S", 0.05)
    program(tmp_path, "busctl", f"echo $$ > {tmp_path}/pid; exec sleep 60")

    answer = await line.ask(str(tmp_path))

    assert answer is None
    if os.access(tmp_path / "pid", os.F_OK):
        pid = (tmp_path / "pid").read_text().strip()
        assert not os.access(f"/proc/{pid}", os.F_OK)


def test_host_senses_put_all_readings_together(kernel: Kernel, tmp_path: Path) -> None:
    roots = Roots(kernel.root, tmp_path / "sys", tmp_path / "dev")
    supply(roots.sys, "BAT0", type="Battery", status="Discharging")
    senses = HostSenses(HandClock(), AGENT, roots=roots)
    for _ in range(3):
        senses.read()
        kernel.pass_time(others=40)

    seen = senses.read()

    assert seen.cpu_others == pytest.approx(0.4)
    assert (seen.input_age_s, seen.on_battery, seen.metered) == (None, True, None)
    assert seen.local is not None and seen.local.timestamp() == 1_700_000_000


def test_kernel_that_tells_in_strange_words_ends_nothing(kernel: Kernel, tmp_path: Path) -> None:
    roots = Roots(kernel.root, tmp_path / "sys", tmp_path / "dev")
    (kernel.root / "interrupts").write_bytes(b" 1: 5 i8042 \xff\xfe\n")
    (kernel.root / "stat").write_bytes(b"\xff\xfe")

    seen = HostSenses(HandClock(), AGENT, roots=roots).read()

    assert (seen.cpu_others, seen.input_age_s, seen.on_battery) == (None, None, None)


def test_disk_counts_each_file_once_and_follows_no_links(tmp_path: Path) -> None:
    home, models, outside = tmp_path / "home", tmp_path / "home/models", tmp_path / "outside"
    models.mkdir(parents=True)
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 4_000_000)
    (models / "weights").write_bytes(b"x" * 1_000_000)
    (home / "same").hardlink_to(models / "weights")
    (home / "link").symlink_to(outside)

    once = disk.taken_bytes((home, models, tmp_path / "missing"))

    assert 1_000_000 <= once < 1_200_000
