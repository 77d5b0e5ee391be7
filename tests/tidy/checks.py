"""Checks of the source itself: each takes text and gives the complaints, so that a bad sample can try it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Final

LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 70

# Path → why it may be longer.
LONG_FILES: Final[Mapping[str, str]] = {}
LONG_FUNCTIONS: Final[Mapping[str, str]] = {}


def sizes(path: str, text: str) -> list[str]:
    found = []
    lines = text.count("\n")
    if lines > LINES_MAX and path not in LONG_FILES:
        found.append(f"{path} has {lines} lines; {LINES_MAX} at most: split it")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            where = f"{path}::{node.name}"
            if length > FUNCTION_LINES_MAX and where not in LONG_FUNCTIONS:
                found.append(f"{where} has {length} lines; {FUNCTION_LINES_MAX} at most: split it")
    return found


CLOCK: Final = ("time.time", "time.time_ns", "datetime.datetime.now", "datetime.date.today")
BANNED: Final[Mapping[str, str]] = {
    **dict.fromkeys((*CLOCK, "datetime.datetime.utcnow"), "time is passed in: use the Clock"),
    "time.sleep": "wait for an event, or by the Clock",
    **{
        f"random.{name}": "chance is passed in"
        for name in ("random", "randint", "choice", "choices", "shuffle", "uniform", "sample")
    },
    "uuid.uuid1": "ids are passed in: use Ids",
    "uuid.uuid4": "ids are passed in: use Ids",
    "os.environ": "only config.py and __main__.py read the environment",
    "os.getenv": "only config.py and __main__.py read the environment",
    "print": "write an event to the log",
}

# Where a banned name is the very job of the file.
ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "*/clock.py": CLOCK,
    "*/config.py": ("os.environ", "os.getenv"),
    "*/__main__.py": ("os.environ", "os.getenv", "print"),
    # A program that starts others passes its own environment on to them, and talks to a person.
    "embedded/src/*": ("os.environ", "os.getenv", "print", *CLOCK, "time.sleep"),
    # Jitter, and the order in which servers and ports are tried: chance that decides nothing.
    "*/adapters/nats/*": ("random.uniform", "random.choice", "random.sample"),
    "*/adapters/postgres/*": ("random.uniform",),
    "coordinator/src/archipelag_coordinator/apps/background/chores.py": ("random.uniform",),
    "embedded/src/archipelag_embedded/process.py": ("random.sample",),
    "coordinator/src/archipelag_coordinator/ids.py": ("random.random",),
    # Defaults at the door, which a test replaces.
    "coordinator/src/archipelag_coordinator/apps/api/app.py": ("uuid.uuid4",),
    # Commands that a person runs once, by the clock on their wall.
    "island/src/archipelag_island/adapters/doctor.py": ("datetime.datetime.now",),
    "cargos/*/fetch_model.py": ("os.environ",),
    "sdk/python/src/archipelag/transport.py": ("os.environ",),
    # The waiting client really waits; tests pass in another sleep and another chance.
    "sdk/python/src/archipelag/client.py": ("time.sleep", "random.random"),
    "sdk/python/src/archipelag/async_client.py": ("random.random",),
    "sdk/python/src/archipelag/cli/*": ("print", "os.environ"),
    "kit/src/archipelag_kit/commands/*": ("print", "os.environ", "time.sleep"),
}


def banned_names(path: str, text: str) -> list[str]:
    """Names that ask for time, chance or the environment, however they were imported; tasks nobody owns."""
    tree = ast.parse(text)
    imported = _imported(tree)
    allowed = {n for pattern, names in ALLOWED.items() if fnmatch(path, pattern) for n in names}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = _dotted(node, imported)
            if name in BANNED and name not in allowed:
                found.append(f"{path}:{node.lineno} uses {name}: {BANNED[name]}")
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = _dotted(node.value.func, imported)
            if name in ("asyncio.create_task", "asyncio.ensure_future"):
                found.append(f"{path}:{node.lineno} starts a task that nobody owns")
    return found


# Where the parts are wired, and where drivers' errors become sentences for an operator.
COMPOSITION: Final = ("*/__main__.py", "*/compose.py", "*/commands.py", "*/agent.py", "*/doctor/*")

# Technology → the places that may say its name.
PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "fastapi": ("*/apps/*", *COMPOSITION),
    "starlette": ("*/apps/*", "*/server/*"),
    "uvicorn": ("*/apps/*", "*/server/*", *COMPOSITION, "embedded/*"),
    "psycopg": ("*/adapters/postgres/*", *COMPOSITION, "embedded/*"),
    "psycopg_pool": ("*/adapters/postgres/*", *COMPOSITION),
    "nats": (
        "*/adapters/nats/*",
        "island/src/archipelag_island/adapters/link*",
        "coordinator/src/archipelag_coordinator/__main__.py",
        "coordinator/src/archipelag_coordinator/compose.py",
        "coordinator/src/archipelag_coordinator/doctor/*",
        "embedded/*",
    ),
    # The doctors look at the very settings, to say what is wrong with them.
    "archipelag_coordinator.config": (*COMPOSITION, "*/admin.py", "embedded/*"),
    "archipelag_island.config": (*COMPOSITION, "embedded/*"),
    "archipelag_contracts.pb": (
        "contracts/*",
        "*/adapters/*",
        "*/apps/islands/*",
        "*/doctor/*",
        "*/testing/*",
        "kit/src/archipelag_kit/serving/*",
        "kit/src/archipelag_kit/templates/*",
        "cargos/*",
    ),
}


def misplaced_imports(path: str, text: str) -> list[str]:
    """Technologies named outside their place, and shipped code that knows of `testing`."""
    found = []
    for name, line in _modules(ast.parse(text)):
        for technology, places in PLACES.items():
            within = name == technology or name.startswith(technology + ".")
            if within and not any(fnmatch(path, place) for place in places):
                found.append(f"{path}:{line} imports {name}, which belongs to {', '.join(places)}")
        if re.match(r"archipelag\w*\.testing(\.|$)", name) and not re.search("/test(s|ing)/", path):
            found.append(f"{path}:{line} imports {name}: nothing shipped knows the fakes")
    return found


# Put together here, so that this file does not hold what it looks for.
HOSTS: Final = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("proxy", "golang", "org"),
    )
)
MACHINE_PATHS: Final = tuple(
    "/".join(("", *parts)) for parts in (("work", ""), ("root", ""), ("tmp", "bash"))
)


def machine_names(path: str, text: str) -> list[str]:
    """Names of registry hosts and paths of one machine: they hold for one place and time only."""
    found = [
        f"{path}:{number} names {host}"
        for number, line in enumerate(text.splitlines(), 1)
        for host in HOSTS
        if host in line
    ]
    for number, line in enumerate(text.splitlines(), 1):
        for place in MACHINE_PATHS:
            # Only where a path begins: `docs/work/x` and addresses are no paths of a machine.
            if re.search(rf"(?<![\w./\-}}]){re.escape(place)}", line):
                found.append(f"{path}:{number} names the path {place}")
    return found


LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def links(path: str, text: str) -> Iterator[str]:
    """Each relative link of a page, as a path from the repository's root."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    for target in LINK.findall(prose):
        bare = target.split("#")[0]
        if bare and not re.match(r"[a-z][a-z0-9+.-]*:", bare):
            yield _normal(PurePosixPath(path).parent / bare)


def fragment(path: str, text: str) -> list[str]:
    """A fragment of the changelog is one or two plain sentences for users."""
    found = []
    name = PurePosixPath(path).stem
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        found.append(f"{path}: the name must be lower-case words and dashes")
    body = text.strip()
    if not body:
        return [*found, f"{path} is empty"]
    if body.startswith("#"):
        found.append(f"{path} needs no heading")
    if len(body) > 600:
        found.append(f"{path} is longer than 600 characters: one or two sentences")
    if not body.endswith((".", "!", "?")):
        found.append(f"{path} must end with a sentence")
    return found


def undocumented(codes: list[str], page: str) -> list[str]:
    """Error codes that the reference does not show as `code`."""
    return [
        f"error code {code} is not in the reference" for code in codes if f"`{code}`" not in page
    ]


def _imported(tree: ast.Module) -> dict[str, str]:
    """Local name → full name of what was imported."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def _dotted(node: ast.expr, imported: Mapping[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value, imported)
        return f"{before}.{node.attr}" if before else ""
    if isinstance(node, ast.Name):
        return imported.get(node.id, node.id if node.id == "print" else "")
    return ""


def _modules(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every imported module; `from a import b` counts as both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            wholes = {f"{node.module}.{alias.name}" for alias in node.names}
            top = [
                whole for whole in sorted(wholes) if whole in PLACES or whole.endswith(".testing")
            ]
            yield from ((name, node.lineno) for name in [*top, node.module])


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            if not parts:
                return f"../{path}"
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


_FILE: Final = re.compile(r"`([A-Za-z0-9_./…-]+\.py)`")


def missing_rooms(page: str, text: str, files: Sequence[str]) -> list[str]:
    """Source files that a page names and that do not stand: `services/submit.py` stands for any package's."""
    return [
        f"{page} names {named}, which is nowhere"
        for named in _FILE.findall(text)
        if not any(file.endswith("/" + named.split("…/")[-1]) for file in files)
    ]
