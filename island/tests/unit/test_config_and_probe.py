"""Settings, probes, and the echo Cargo's script: tables of what goes in and what comes out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

import pytest
from archipelag_contracts.ending import end_tasks
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island import agent, config
from archipelag_island.adapters import status
from archipelag_island.adapters.probe import cpu, gpu, memory
from archipelag_island.domain.backoff import Backoff
from archipelag_island.domain.caps import Caps
from archipelag_island.domain.owner import Rules
from archipelag_island.domain.schedule import parse
from archipelag_island.errors import BadSettings
from archipelag_island.testing.echo_engine.words import NotAcceptable, script


def test_settings_have_defaults() -> None:
    settings = config.read({})

    assert settings.home == Path("~/.archipelag/island").expanduser()
    assert settings.model_dir == settings.home / "models"
    assert settings.slots == 4
    assert settings.cargos is None
    assert settings.name


def test_settings_are_read_from_the_environment() -> None:
    settings = config.read(
        {
            "ARCHIPELAG_ISLAND_HOME": "/x",
            "ARCHIPELAG_ISLAND_SLOTS": "2",
            "ARCHIPELAG_ISLAND_CARGOS": "echo, llm-chat",
            "ARCHIPELAG_ISLAND_EXTRA_ENGINES": "echo=a.b, other=c",
            "ARCHIPELAG_PAIRING_CODE": "abc234",
        }
    )

    assert (settings.home, settings.slots) == (Path("/x"), 2)
    assert settings.cargos == {"echo", "llm-chat"}
    assert settings.extra_engines == {"echo": "a.b", "other": "c"}
    assert settings.pairing_code == "ABC234"
    assert "ABC234" not in repr(settings)


def test_a_registrys_password_is_for_that_registry_alone() -> None:
    wanted = {
        "ARCHIPELAG_REGISTRY": "mirror.example:5000/cargos",
        "ARCHIPELAG_REGISTRY_USER": "me",
        "ARCHIPELAG_REGISTRY_PASSWORD": "secret",
        "ARCHIPELAG_REGISTRY_PLAIN_HTTP": "mirror.example:5000, 10.0.0.7",
    }
    settings = config.read(wanted)
    spoken = agent._registries(settings)

    assert "secret" not in repr(settings) + repr(spoken)
    assert list(spoken.credentials) == ["mirror.example:5000"]
    assert [spoken.scheme(host) for host in ("mirror.example:5000", "10.0.0.7:80")] == ["http"] * 2
    assert spoken.scheme("registry.example") == "https"
    assert not agent._registries(config.read({})).credentials


def test_a_password_needs_the_registry_that_it_is_for() -> None:
    """A catalogue that names another must not get it."""
    with pytest.raises(BadSettings, match="needs ARCHIPELAG_REGISTRY"):
        config.read({"ARCHIPELAG_REGISTRY_USER": "me", "ARCHIPELAG_REGISTRY_PASSWORD": "secret"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ISLAND_SLOTS", "0"),
        ("ISLAND_SLOTS", "many"),
        ("ISLAND_SLOTS", "100000"),
        ("ISLAND_CARGOS", "No Slug"),
        ("ISLAND_EXTRA_ENGINES", "echo"),
        ("ISLAND_EXTRA_ENGINES", "echo=a;rm -rf"),
        ("ISLAND_METRICS_PORT", "70000"),
        ("LOG_FORMAT", "xml"),
        ("TRACES_URL", "collector:4318"),
    ],
)
def test_bad_settings_are_named(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"ARCHIPELAG_{name}"):
        config.read({f"ARCHIPELAG_{name}": value})


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_cores_by_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(cpu, "cgroup_folders", lambda root, controller: [root])

    unlimited = cpu.cores(tmp_path / "none")

    assert cpu.cores(tmp_path) == (cores or unlimited)


@pytest.mark.parametrize("name", ["memory.max", "memory.limit_in_bytes"])
def test_memory_by_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(memory, "cgroup_folders", lambda root, controller: [root])
    unlimited = memory.usable_bytes(tmp_path)

    (tmp_path / name).write_text("1048576\n")
    limited = memory.usable_bytes(tmp_path)
    (tmp_path / name).write_text("9223372036854771712\n")

    assert limited == 1048576
    assert memory.usable_bytes(tmp_path) == unlimited > 1048576


def test_cpu_features_are_those_we_tell(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("model name : x\nflags\t\t: fpu avx2 fma strange\n")

    assert cpu.features(tmp_path / "cpuinfo") == ("avx2", "fma")
    assert cpu.features(tmp_path / "missing") == ()


def test_host_without_graphics_processors_has_none_or_names_them() -> None:
    assert all(device.memory_bytes > 0 and device.name for device in gpu.gpus())


def test_backoff_grows_stays_bounded_and_differs() -> None:
    one, two = Backoff(1.0, 8.0, Random(1)), Backoff(1.0, 8.0, Random(2))

    waits = [one.next_s() for _ in range(50)]

    assert 0.5 <= waits[0] <= 1.0
    assert 4.0 <= waits[-1] <= 8.0
    assert waits != [two.next_s() for _ in range(50)]
    one.reset()
    assert one.next_s() <= 1.0


def test_status_of_an_agent_that_died_is_not_shown(tmp_path: Path) -> None:
    assert status.read(tmp_path) is None
    status.write(tmp_path, {"pid": 2**22 + 1})
    assert status.read(tmp_path) is None


@pytest.mark.parametrize(
    ("given", "most", "words", "reason"),
    [
        ({"text": "a b"}, 10, ["a ", "b "], "stop"),
        ({"text": "a b", "items": 3}, 10, ["a ", "b ", "a "], "stop"),
        ({"text": "a b c"}, 2, ["a ", "b "], "length"),
        ({"text": "a b c", "max_tokens": 1}, 10, ["a "], "length"),
        ({"messages": [{"role": "user", "content": "old"}, {"role": "user", "content": "hi"}]}, 9,
         ["hi "], "stop"),
    ],
)  # fmt: skip
def test_echo_says(given: object, most: int, words: list[str], reason: str) -> None:
    plan = script(json.dumps(given).encode(), most)

    assert [plan.item(i)[0] for i in range(plan.items)] == words
    assert plan.finish_reason == reason


def test_echo_takes_its_knobs_from_the_system_message_of_a_chat() -> None:
    knobs = {"items": 3, "delay_ms": 20, "seeded": True}
    messages = [
        {"role": "system", "content": json.dumps(knobs)},
        {"role": "user", "content": "hi"},
    ]

    one, same, other = (
        script(json.dumps({"messages": messages, "seed": seed}).encode(), 10) for seed in (1, 1, 2)
    )

    said = [one.item(position) for position in range(one.items)]
    assert len(said) == len(set(said)) == 3 and one.delay_s == 0.02
    assert said == [same.item(position) for position in range(3)]
    assert not {text for text, _ in said} & {other.item(position)[0] for position in range(3)}


def test_echo_knows_whether_it_is_told_the_beginning_of_its_own_answer() -> None:
    knobs = json.dumps({"items": 4, "seeded": True})
    messages = [{"role": "system", "content": knobs}, {"role": "user", "content": "hi"}]
    plan = script(json.dumps({"messages": messages, "seed": 7}).encode(), 10)
    texts, tokens = zip(*(plan.item(position) for position in range(3)), strict=True)

    assert plan.continues(texts, tokens)
    assert plan.continues(texts, ())
    assert not plan.continues((*texts[:2], "other"), tokens)
    assert not plan.continues(texts, (*tokens[:2], 0))


@pytest.mark.parametrize(
    "given", [b"", b"[]", b"{}", b'{"text": " "}', b'{"text": "a", "items": -1}', b'{"text": 3}']
)
def test_echo_refuses(given: bytes) -> None:
    with pytest.raises(NotAcceptable):
        script(given, 10)


async def test_task_that_swallows_its_cancellation_is_ended_all_the_same() -> None:
    swallowed: list[int] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(1)
                if len(swallowed) == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_S):
        await end_tasks([task], again_s=0.001)

    assert task.cancelled()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ISLAND_DRAIN_S", "-1"),
        ("ISLAND_CORES_MAX", "half"),
        ("ISLAND_MEMORY_MB_MAX", "0"),
        ("ISLAND_SEND_KB_S_MAX", "1.5"),
        ("ISLAND_DISK_MB_MAX", "lots"),
        ("ISLAND_PAUSE_CPU_PERCENT", "101"),
        ("ISLAND_PAUSE_ON_INPUT", "maybe"),
        ("ISLAND_PAUSE_ON_BATTERY", "2"),
        ("ISLAND_PAUSE_ON_METERED", "y e s"),
        ("ISLAND_SCHEDULE", "monday"),
        ("ISLAND_QUIET_S", "0"),
    ],
)
def test_bad_rule_or_cap_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"ARCHIPELAG_{name}"):
        config.read({f"ARCHIPELAG_{name}": value})


def test_rules_and_caps_are_read_from_the_environment() -> None:
    settings = config.read(
        {
            "ARCHIPELAG_ISLAND_PAUSE_CPU_PERCENT": "25",
            "ARCHIPELAG_ISLAND_PAUSE_ON_INPUT": "Yes",
            "ARCHIPELAG_ISLAND_PAUSE_ON_BATTERY": "off",
            "ARCHIPELAG_ISLAND_SCHEDULE": "sat, sun",
            "ARCHIPELAG_ISLAND_QUIET_S": "300",
            "ARCHIPELAG_ISLAND_CORES_MAX": "2",
            "ARCHIPELAG_ISLAND_MEMORY_MB_MAX": "1024",
            "ARCHIPELAG_ISLAND_SEND_KB_S_MAX": "500",
            "ARCHIPELAG_ISLAND_DISK_MB_MAX": "2048",
            "ARCHIPELAG_ISLAND_DRAIN_S": "5",
        }
    )

    assert settings.rules == Rules(25, True, False, False, parse("sat, sun"), 300)
    assert settings.caps == Caps(2, 1024 << 20, 500_000, 2048 << 20)
    assert settings.drain_s == 5
    assert not config.read({}).rules.any
    assert config.read({}).caps == Caps()


def test_container_engine_is_a_socket_of_this_machine() -> None:
    name = "ARCHIPELAG_ISLAND_CONTAINER_ENGINE"

    assert config.read({name: "unix:///run/e.sock"}).container_engine == Path("/run/e.sock")
    assert config.read({}).container_engine is None
    with pytest.raises(BadSettings, match="is not unix:// and the path of a socket"):
        config.read({name: "tcp://1.2.3.4:2375"})


def test_every_setting_that_is_read_is_told_of() -> None:
    class Asked(dict[str, str]):
        def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
            asked.add(name.removeprefix("ARCHIPELAG_"))
            return default

    asked: set[str] = set()
    config.read(Asked())

    # The fetcher of models reads the address of the hub.
    assert asked == {name for name, _, _ in config.SETTINGS} - {"HUB_URL"}
