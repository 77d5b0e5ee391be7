"""What a person may choose about an embedded network, read from the environment once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from archipelag_embedded.errors import EmbeddedError

HTTP_PORT = 8420
GRPC_PORT = 8421


@dataclass(frozen=True)
class Settings:
    """Ports are wishes unless the person named them; then they are orders."""

    home: Path
    http_host: str = "127.0.0.1"
    http_port: int | None = None
    grpc_port: int | None = None
    inherited: Mapping[str, str] = field(default_factory=dict)
    """The environment that children get, ours added."""

    def logging_as(self, log_format: str | None) -> Settings:
        """With this shape of log lines for every child that has the choice; None: as the environment says."""
        if log_format is None:
            return self
        return replace(self, inherited={**self.inherited, "ARCHIPELAG_LOG_FORMAT": log_format})


def read_settings(environ: Mapping[str, str], *, home: str | None = None) -> Settings:
    chosen = home or environ.get("ARCHIPELAG_HOME")
    return Settings(
        home=Path(chosen).expanduser().absolute() if chosen else default_home(),
        http_host=environ.get("ARCHIPELAG_HTTP_HOST", "127.0.0.1"),
        http_port=_port(environ, "ARCHIPELAG_HTTP_PORT"),
        grpc_port=_port(environ, "ARCHIPELAG_GRPC_PORT"),
        inherited=dict(environ),
    )


def default_home() -> Path:
    """`var` in the repository this package was installed from, else in the current folder."""
    repository = Path(__file__).resolve().parents[3]
    if (repository / "requirements" / "runtime.txt").exists():
        return repository / "var"
    return Path.cwd() / "var"


def _port(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name)
    if not text:
        return None
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise EmbeddedError(f"{name} is {text!r}: give a port number between 1 and 65535")
    return int(text)
