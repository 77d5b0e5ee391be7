"""The status as people read it: one line a fact, what the owner set beside what is measured now."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

Told = dict[str, Any]

SETTING_CHARS: Final = 20
# Written once a second.
OLD_S: Final = 10.0


def page(told: Told, now: datetime) -> list[str]:
    lines = [f"Island {told['island_id']} ({told['name']}), process {told['pid']}"]
    age_s = (now - datetime.fromisoformat(told["at"])).total_seconds()
    if age_s > OLD_S:
        lines.append(
            _line("as it was", f"{_ago(age_s)}: the agent does nothing, or the disk is full")
        )
    lines += [
        _line("broker", _broker(told)),
        _line("takes work", _work(told)),
        _line("slots", f"{told['slots_free']} of {told['slots']} free"),
        _line("so far", f"{told['completed']} completed, {told['refused']} refused"),
    ]
    if told["unsettled"] > len(told["runs"]):
        lines.append(
            _line(
                "unsettled", f"{told['unsettled'] - len(told['runs'])} reports wait to be settled"
            )
        )
    for cargo in told["cargos"]:
        reason = f" ({cargo['reason']})" if cargo["reason"] else ""
        lines.append(_line("Cargo", f"{cargo['slug']}: {cargo['state']}{reason}"))
    if not told["cargos"]:
        lines.append(_line("Cargo", "none: no Cargo of the catalogue has an engine here"))
    for run in told["runs"]:
        lines.append(_line("runs", f"{run['job']} ({run['cargo']}), {_speed(run)}"))
    asked = _wishes(told["wishes"]) if "wishes" in told else []
    return [*lines, "", *_rules(told["rules"]), *asked, "", *_caps(told["caps"])]


def of_account(karma: Told, why: list[str]) -> list[str]:
    """What only the Coordinator knows."""
    good = f"{karma['good_hours']:.1f} hours of good work"
    lines = [_line("karma", f"{karma['points']:.2f} points ({karma['tier']}), {good}")]
    return lines + [_line("no work", reason) for reason in why]


def _speed(run: Told) -> str:
    """Items since it began here; an answer that another Island began is not all ours."""
    age_s = run.get("age_s") or 0.0
    return f"{run['items']} items" + (f", {run['items'] / age_s:.1f}/s" if age_s > 1 else "")


def _broker(told: Told) -> str:
    if not told["broker_connected"]:
        return "not connected; trying again"
    return f"connected, round trip {told['broker_rtt_us'] / 1000:.1f} ms"


def _work(told: Told) -> str:
    """The nearest reason first: what the owner ordered, what the rules say, what is wrong, what others say."""
    drain, pause = told["drain"], told["pause"]
    if drain["draining"]:
        if not drain["runs"] and drain.get("afar"):
            return "no, drained on its page in the network; it takes work again when resumed there"
        if not drain["runs"]:
            return "no, drained; `archipelag-island resume` takes work again"
        left = f", the rest is handed over in {drain['left_s']:.0f} s" if drain["left_s"] else ""
        return f"no, draining: {drain['runs']} still run{left}"
    if pause["paused"]:
        return f"no, paused: {pause['reason']}; again after {pause['quiet_left_s']:.0f} s of quiet"
    if told["trouble"]:
        return f"no: {told['trouble']}"
    if not told["coordinator_answers"]:
        return "no, no Coordinator answers"
    notice = f": {told['notice']}" if told["notice"] else ""
    return f"yes{notice}" if told["accepts_work"] else f"no{notice}"


def _rules(rules: Told) -> list[str]:
    cpu, age, times = rules["cpu"], rules["input"]["age_s"], rules["schedule"]["times"]
    share = cpu["others_percent"]
    limit = cpu["others_percent_max"]
    is_open = rules["schedule"]["open"]
    after = f"work is taken again after {rules['quiet_s']['after']:.0f} s of quiet"
    return [
        f"Rules: when the machine is its owner's alone; {after}",
        _row("cpu", f"over {limit} %" if limit else "off", _told(share, f"others use {share or 0:.0f} %")),
        _row("input", _on(rules["input"]), _told(age, f"last input {_ago(age or 0)}")),
        _row("battery", _on(rules["battery"]), _either(rules["battery"]["on_battery"], "on battery", "not on battery")),
        _row("metered", _on(rules["metered"]), _either(rules["metered"]["metered"], "metered", "not metered")),
        _row("schedule", "on" if times else "off", f"{_either(is_open, 'open now', 'closed now')}{_in_words(times)}"),
    ]  # fmt: skip


def _wishes(wishes: Told) -> list[str]:
    """What else the owner asked for, and where: one of the network's pages, not this machine."""
    if not wishes["taken"]:
        return [
            "",
            "Asked on its page in the network: nothing counts, ARCHIPELAG_ISLAND_REMOTE_ORDERS is no",
        ]
    if not wishes["version"]:
        return []
    times, drained = wishes["times"], wishes["draining"]
    open_now = _either(wishes["open"], "open now", "closed now")
    lines = [
        "",
        "Asked on its page in the network, beside the rules of this machine: the stricter wins",
        _row("drain", "on" if drained else "off", "takes no work" if drained else "-"),
        _row("schedule", "on" if times else "off", f"{open_now}{_in_words(times)}"),
    ]
    for slug, least in wishes["least_prices"].items():
        parts = ", ".join(f"{least[part]} {part.replace('_', ' ')}" for part in least)
        lines.append(_row("least price", slug, f"credits: {parts}"))
    return lines


def _caps(caps: Told) -> list[str]:
    cores, memory, send, disk = (
        caps[name] for name in ("cores", "memory_bytes", "send_bytes_per_s", "disk_bytes")
    )
    on = f", on {_listed(cores['cpus'])}" if cores["cpus"] else ""
    claimed = f", {_mb(memory['claimed'])} claimed" if memory["cap"] else ""
    taken = disk["taken"]
    return [
        "Caps: how much of the machine is lent at most",
        _row("cores", str(cores["cap"] or "off"), f"Cargos use {cores['taken']:.1f}{on}"),
        _row("memory", _mb(memory["cap"]), f"Cargos take {_mb(memory['taken'])}{claimed}"),
        _row(
            "send",
            f"{send['cap'] / 1000:.0f} kB/s" if send["cap"] else "off",
            f"{send['taken'] / 1000:.1f} kB/s, {send['sent_bytes'] / 1e6:.1f} MB since the start",
        ),
        _row("disk", _mb(disk["cap"]), _told(taken, f"{_mb(taken or 0)} taken")),
    ]


def _line(name: str, text: str) -> str:
    return f"  {name:<12}  {text}"


def _row(name: str, setting: str, reading: str) -> str:
    return f"  {name:<12}  {setting:<{SETTING_CHARS}}  {reading}"


def _in_words(times: str | None) -> str:
    return f": {times}" if times else ""


def _on(rule: Told) -> str:
    return "on" if rule["on"] else "off"


def _told(value: Any, text: str) -> str:
    return "unknown" if value is None else text


def _either(value: bool | None, yes: str, no: str) -> str:
    return _told(value, yes if value else no)


def _mb(size_bytes: int | None) -> str:
    return "off" if size_bytes is None else f"{size_bytes >> 20} MB"


def _ago(age_s: float) -> str:
    for unit, length_s in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if age_s >= 2 * length_s:
            return f"{age_s / length_s:.0f} {unit} ago"
    return f"{age_s:.0f} s ago"


def _listed(cpus: list[int]) -> str:
    return "processor " + ", ".join(map(str, cpus)) if cpus else ""
