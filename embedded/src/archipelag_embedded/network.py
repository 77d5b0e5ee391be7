"""The table of what an embedded network is made of, in the order it starts; adapt it here."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from archipelag_island.adapters import engines

from archipelag_embedded.api import Api
from archipelag_embedded.errors import CannotStart, StepFailed
from archipelag_embedded.files import write_private
from archipelag_embedded.nats import Nats
from archipelag_embedded.postgres import Postgres
from archipelag_embedded.process import STATE_MARK, Process, free_port, kept_port
from archipelag_embedded.registry import Registry
from archipelag_embedded.settings import GRPC_PORT, HTTP_PORT, Settings
from archipelag_embedded.state import Facts, State
from archipelag_embedded.supervisor import Service, Step

ISLAND_NAME = "this-machine"
CHAT = "archipelag_llm_chat"
CARGO_PACKAGES = (
    CHAT,
    "archipelag_embeddings",
    "archipelag_image_gen",
    "archipelag_ocr",
    "archipelag_speech_to_text",
    "archipelag_text_to_speech",
    "archipelag_transcode",
)
"""Cargos that a network lists where what they need is installed; each package lies in a folder with its manifest."""
FETCH_S = 900.0
WARM_S = 180.0

YES = ("1", "true", "yes")
SIGN_UP_UCREDITS = 100_000_000
"""A hundred credits for whoever signs in for the first time: on one's own machine nobody pays."""


class Network:
    """One network's parts and what they tell each other: addresses, keys, the pairing code."""

    def __init__(self, settings: Settings, state: State) -> None:
        self._state = state
        self._settings = settings
        self._postgres = Postgres(state.postgres, log=state.log("postgres"))
        self._nats = Nats(state.nats, log=state.log("nats"), monitor=True)
        self._http_port = choose_port(
            "ARCHIPELAG_HTTP_PORT", settings.http_port, HTTP_PORT, state.directory / "http-port"
        )
        self._grpc_port = choose_port(
            "ARCHIPELAG_GRPC_PORT", settings.grpc_port, GRPC_PORT, state.directory / "grpc-port"
        )
        self._registry = Registry(
            state.directory / "registry", log=state.log("registry"), env=self._env()
        )
        self._shelved: list[str] = []
        self._pairing_code: str | None = None
        self._island_started = datetime.now(UTC)
        self._first_user = ""

    def parts(self) -> list[Step | Service]:
        folder = str(self._state.coordinator)
        return [
            Service("PostgreSQL", self._start_postgres, self._postgres_ready),
            self._command("Keys", lambda: ["keys", "init", "--state-dir", folder]),
            self._command(
                "Broker configuration",
                lambda: ["broker-config", "--state-dir", folder],
                take=self._nats.configure,
            ),
            Service("NATS", self._start_nats, self._nats.answers),
            Service("Registry", self._registry.spawn, self._registry.answers),
            self._shelving_modules(),
            self._command("Database schema", lambda: ["migrate", "--post"]),
            self._command("Account, key and Cargos", self._bootstrap, take=self._take_bootstrap),
            self._fetching_models(),
            Service("Coordinator", self._start_coordinator, self._coordinator_ready),
            Service(
                "Island with a warm model",
                self._start_island,
                self._warm,
                ready_s=WARM_S,
                poll_s=0.2,
            ),
        ]

    @property
    def api_url(self) -> str:
        everywhere = self._settings.http_host in {"0.0.0.0", "::"}  # noqa: S104
        host = "127.0.0.1" if everywhere else self._settings.http_host
        return f"http://{host}:{self._http_port}"

    @property
    def notes(self) -> list[str]:
        """What a person may not expect."""
        if self._settings.http_port is None and self._http_port != HTTP_PORT:
            return [f"Port {HTTP_PORT} is taken by another program, so this uses {self._http_port}"]
        return []

    def facts(self, processes: dict[str, int]) -> Facts:
        return Facts(
            api_url=self.api_url,
            database_url=self._postgres.dsn(),
            nats_url=self._nats.url,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            sign_in_as=self._first_user if self._keeps_mail() else "",
            processes=processes,
        )

    # The servers from wheels

    def _start_postgres(self) -> Process:
        self._postgres.prepare()
        if self._postgres.made_anew:
            self._state.api_key.unlink(missing_ok=True)  # It belonged to a database that is gone.
        return self._postgres.spawn()

    def _postgres_ready(self) -> bool:
        if not self._postgres.answers():
            return False
        self._postgres.ensure_database()
        return True

    def _start_nats(self) -> Process:
        return self._nats.spawn()

    # The registry of Cargos that are pulled

    def _shelving_modules(self) -> Step:
        return Step(
            "WASM Cargos",
            program=lambda: [
                *(sys.executable, "-m", "archipelag_embedded.shelve"),
                *("--registry", self._registry.address),
                *("--key", str(self._state.coordinator / "cosign.pem")),
                *("--out", str(self._state.directory / "cargos")),
                *(str(manifest) for manifest in modules()),
            ],
            env=self._env,
            log=self._state.log("setup"),
            output=self._state.coordinator / "printed",
            take=lambda printed: setattr(self, "_shelved", printed.split()),
        )

    # The Coordinator and its commands

    def _command(
        self,
        name: str,
        arguments: Callable[[], list[str]],
        *,
        take: Callable[[str], None] = lambda _: None,
    ) -> Step:
        return Step(
            name,
            program=lambda: [sys.executable, "-m", "archipelag_coordinator", *arguments()],
            env=self._coordinator_env,
            log=self._state.log("setup"),
            output=self._state.coordinator / "printed",
            take=take,
        )

    def _coordinator_env(self) -> dict[str, str]:
        given = self._env()
        # Whoever names a mail server has mail sent; otherwise it stays on this machine, for its owner to read. Where
        # others come in by an address of its own, it must not.
        if not given.get("ARCHIPELAG_SMTP_URL") and not given.get("ARCHIPELAG_PUBLIC_URL"):
            given.setdefault("ARCHIPELAG_LOCAL_MAILBOX", "true")
        given.setdefault("ARCHIPELAG_NATS_MONITOR_URLS", self._nats.monitor_url)
        given.setdefault("ARCHIPELAG_POLICY_SIGN_UP_UCREDITS", str(SIGN_UP_UCREDITS))
        return given | {
            "ARCHIPELAG_DATABASE_URL": self._postgres.dsn(),
            "ARCHIPELAG_NATS_URL": self._nats.url,
            "ARCHIPELAG_BROKER_PUBLIC_URLS": self._nats.url,
            "ARCHIPELAG_STATE_DIR": str(self._state.coordinator),
            "ARCHIPELAG_WORKERS": "1",
            "ARCHIPELAG_HTTP_HOST": self._settings.http_host,
            "ARCHIPELAG_HTTP_PORT": str(self._http_port),
            "ARCHIPELAG_REGISTRY": self._registry.address,
            "ARCHIPELAG_GRPC_HOST": "127.0.0.1",
            "ARCHIPELAG_GRPC_PORT": str(self._grpc_port),
        }

    def _keeps_mail(self) -> bool:
        """As the Coordinator reads it: whoever gave the setting themselves has the last word."""
        return self._coordinator_env().get("ARCHIPELAG_LOCAL_MAILBOX", "").lower() in YES

    def _bootstrap(self) -> list[str]:
        asked = ["bootstrap", "--json"]
        if self._state.read_api_key() is None:
            asked.append("--new-key")
        if not self._island_enrolled():
            asked.append("--pairing-code")
        for manifest in [*map(str, manifests()), *self._shelved]:
            asked += ["--cargo", manifest]
        return asked

    def _take_bootstrap(self, printed: str) -> None:
        try:
            made = json.loads(printed)
            key, self._pairing_code = made.get("api_key"), made.get("pairing_code")
            self._first_user = made.get("email", "")
        except (ValueError, AttributeError) as error:
            log = self._state.log("setup")
            raise StepFailed(f"bootstrap printed no JSON object ({error}); see {log}") from None
        if key:
            write_private(self._state.api_key, key)

    def _start_coordinator(self) -> Process:
        return Process(
            "Coordinator",
            [sys.executable, "-m", "archipelag_coordinator", "serve"],
            log=self._state.log("coordinator"),
            env=self._coordinator_env(),
        )

    def _coordinator_ready(self) -> bool:
        """By our own key: at this port another network's may answer, until ours finds that it is taken."""
        return (
            Api(self.api_url).ready() and Api(self.api_url, self._state.read_api_key()).knows_us()
        )

    # The Island and its model

    def _fetching_models(self) -> Step:
        models = str(self._state.models)
        return Step(
            "Language model",
            program=lambda: [
                *(sys.executable, "-m", "archipelag_llm_chat.fetch_model"),
                *("--manifest", str(manifests()[0]), "--model-dir", models),
            ],
            env=self._env,
            log=self._state.log("setup"),
            output=self._state.island / "printed",
            step_s=FETCH_S,
        )

    def _start_island(self) -> Process:
        env = self._env() | {
            "ARCHIPELAG_ISLAND_HOME": str(self._state.island),
            "ARCHIPELAG_COORDINATOR": f"127.0.0.1:{self._grpc_port}",
            "ARCHIPELAG_MODEL_DIR": str(self._state.models),
        }
        env.setdefault("ARCHIPELAG_ISLAND_NAME", ISLAND_NAME)
        if self._pairing_code and not self._island_enrolled():
            env["ARCHIPELAG_PAIRING_CODE"] = self._pairing_code
        self._island_started = datetime.now(UTC)
        return Process(
            "Island",
            [sys.executable, "-m", "archipelag_island", "run"],
            log=self._state.log("island"),
            env=env,
        )

    def _island_enrolled(self) -> bool:
        return (self._state.island / "identity.json").exists()

    def _warm(self) -> bool:
        api = Api(self.api_url, self._state.read_api_key())
        return api.cargo_warm("llm-chat", since=self._island_started)

    def _env(self) -> dict[str, str]:
        """The person's own settings pass through; the mark lets a later start find orphans."""
        inherited = dict(self._settings.inherited)
        return inherited | {STATE_MARK: str(self._state.directory), "PYTHONUNBUFFERED": "1"}


def choose_port(setting: str, ordered: int | None, usual: int, kept: Path) -> int:
    """The port a person ordered, or it is an error; else the usual one, or another when that is taken.

    The other one is written into `kept`, so that it is the same at the next start.
    """
    wanted = ordered or usual
    if free_port(wanted) == wanted:
        return wanted
    if ordered:
        raise CannotStart(
            f"port {ordered} is taken: end the program that listens there, or set {setting} "
            "to another"
        )
    return kept_port(kept)


def manifests() -> list[Path]:
    """The manifests of the Cargos that come with us and can run here, found beside their packages; chat first."""
    whole = set(engines.installed({}).values())
    return [_manifest(package) for package in CARGO_PACKAGES if package == CHAT or package in whole]


def modules() -> list[Path]:
    """The manifests of the WASM Cargos that come with us; none where only packages were installed."""
    folder = _manifest(CHAT).parents[1] / "wasm"
    return sorted(path for path in folder.glob("*/manifest.toml"))


def _manifest(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise CannotStart(f"{package} is not installed here: run `make install`")
    for folder in Path(spec.origin).resolve().parents:
        if (folder / "manifest.toml").exists():
            return folder / "manifest.toml"
    raise CannotStart(f"{package} has no manifest.toml beside it: run `make install`")
