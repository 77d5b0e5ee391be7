"""The owner comes first: rules that say when the machine is needed, and a pause that ends only after a quiet time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from archipelag_island.domain.schedule import Schedule

QUIET_DEFAULT_S: Final = 60.0
# Input so recent is somebody's who is here now; the quiet time does the rest.
INPUT_RECENT_S: Final = 2.0


@dataclass(frozen=True)
class Rules:
    """What the owner decided. Everything is off by default.

    A server has other work all day and a network that is tried out on a laptop has a person at its keyboard: neither
    shall refuse work because of a rule that nobody asked for.
    """

    cpu_percent: int = 0
    """Others may use so much of all processors; 0: as much as they like."""
    on_input: bool = False
    on_battery: bool = False
    on_metered: bool = False
    schedule: Schedule = field(default_factory=Schedule)
    quiet_s: float = QUIET_DEFAULT_S
    wished: Schedule = field(default_factory=Schedule)
    """The one set on the network's pages; it only ever pauses."""

    @property
    def any(self) -> bool:
        return bool(
            self.cpu_percent
            or self.on_input
            or self.on_battery
            or self.on_metered
            or self.schedule.windows
            or self.wished.windows
        )


@dataclass(frozen=True)
class Readings:
    """What the senses say; None: this machine does not tell."""

    cpu_others: float | None = None
    """Share of all processors that processes other than ours use, 0 to 1."""
    input_age_s: float | None = None
    """Since the last keystroke, movement of the mouse, or new terminal."""
    on_battery: bool | None = None
    metered: bool | None = None
    local: datetime | None = None
    """What the clock on the wall shows."""


Rule = Callable[[Rules, Readings], str | None]


def others_use_the_processors(rules: Rules, seen: Readings) -> str | None:
    if not rules.cpu_percent or seen.cpu_others is None:
        return None
    if 100 * seen.cpu_others <= rules.cpu_percent:
        return None
    return "other programs use the processors"


def somebody_is_here(rules: Rules, seen: Readings) -> str | None:
    if not rules.on_input or seen.input_age_s is None or seen.input_age_s > INPUT_RECENT_S:
        return None
    return "somebody uses a keyboard, a mouse or a terminal"


def runs_on_battery(rules: Rules, seen: Readings) -> str | None:
    return "it runs on battery" if rules.on_battery and seen.on_battery else None


def line_is_metered(rules: Rules, seen: Readings) -> str | None:
    return "its line is metered" if rules.on_metered and seen.metered else None


def is_outside_the_schedule(rules: Rules, seen: Readings) -> str | None:
    return _closed("the schedule", rules.schedule, seen)


def is_outside_the_wished_schedule(rules: Rules, seen: Readings) -> str | None:
    return _closed("the schedule of its page", rules.wished, seen)


def _closed(name: str, schedule: Schedule, seen: Readings) -> str | None:
    if seen.local is None or schedule.is_open(seen.local):
        return None
    return f"it is outside {name} until {schedule.opens(seen.local)}"


RULES: Final[tuple[Rule, ...]] = (
    others_use_the_processors,
    somebody_is_here,
    runs_on_battery,
    line_is_metered,
    is_outside_the_schedule,
    is_outside_the_wished_schedule,
)


def needs_the_machine(rules: Rules, seen: Readings) -> str | None:
    """Why, by the first rule that says so; None: nobody needs it. What is unknown never pauses."""
    return next((why for rule in RULES if (why := rule(rules, seen)) is not None), None)


class Mode(StrEnum):
    WORKING = "working"
    PAUSED = "paused"  # takes nothing, has handed over what ran


class Sight(StrEnum):
    """What one look at the rules gave."""

    BUSY = "busy"
    QUIET = "quiet"  # not yet for long enough
    QUIET_LONG = "quiet_long"


NEXT: Final = {
    (Mode.WORKING, Sight.BUSY): Mode.PAUSED,
    (Mode.WORKING, Sight.QUIET): Mode.WORKING,
    (Mode.WORKING, Sight.QUIET_LONG): Mode.WORKING,
    (Mode.PAUSED, Sight.BUSY): Mode.PAUSED,
    (Mode.PAUSED, Sight.QUIET): Mode.PAUSED,
    (Mode.PAUSED, Sight.QUIET_LONG): Mode.WORKING,
}


@dataclass(frozen=True)
class Owner:
    """Whether the owner needs the machine. Times are monotonic seconds."""

    mode: Mode = Mode.WORKING
    reason: str = ""
    """Why it is paused."""
    busy_at: float = 0.0
    """When a rule last said so."""

    @property
    def paused(self) -> bool:
        return self.mode is Mode.PAUSED

    def look(self, rules: Rules, seen: Readings, now: float) -> Owner:
        why = needs_the_machine(rules, seen)
        if why is not None:
            sight = Sight.BUSY
        else:
            sight = Sight.QUIET if now - self.busy_at < rules.quiet_s else Sight.QUIET_LONG
        mode = NEXT[self.mode, sight]
        if why is not None:
            return Owner(mode, why, now)
        return replace(self, mode=mode, reason=self.reason if mode is Mode.PAUSED else "")

    def quiet_left_s(self, rules: Rules, now: float) -> float:
        """Until the pause ends if nothing more happens; 0 while it works."""
        return max(0.0, self.busy_at + rules.quiet_s - now) if self.paused else 0.0
