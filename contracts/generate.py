"""Generates `archipelag_contracts/pb` from `contracts/proto`; `--check` fails when what is committed differs."""

from __future__ import annotations

import argparse
import filecmp
import re
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROTO = HERE / "proto"
HOME = "archipelag_contracts.pb.archipelag.v1"
PB = HERE / "src" / "archipelag_contracts" / "pb"


def generate(into: Path) -> None:
    """Writes modules, stubs and gRPC services for every .proto file under `into`."""
    import grpc_tools
    from grpc_tools import protoc

    sources = sorted(str(p.relative_to(PROTO)) for p in PROTO.rglob("*.proto"))
    include = Path(grpc_tools.__file__).parent / "_proto"
    args = ["protoc", f"-I{PROTO}", f"-I{include}", f"--python_out={into}", f"--mypy_out={into}"]
    args += [f"--grpc_python_out={into}", f"--mypy_grpc_out={into}"]
    # They stand beside this Python, whether or not its environment is the active one.
    beside = Path(sys.executable).parent
    args += [
        f"--plugin={name}={beside / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    if protoc.main([*args, *sources]) != 0:
        raise SystemExit("protoc failed")
    for folder in [into, *(p for p in into.rglob("*") if p.is_dir())]:
        (folder / "__init__.py").write_text('"""Generated from contracts/proto; do not edit."""\n')
    # protoc writes absolute imports for the proto package; ours live inside archipelag_contracts.pb.
    for path in [*into.rglob("*.py"), *into.rglob("*.pyi")]:
        text = path.read_text()
        text = re.sub(
            r"^from archipelag\.v1 import",
            "from archipelag_contracts.pb.archipelag.v1 import",
            text,
            flags=re.M,
        )
        text = re.sub(
            r"\bimport archipelag\.v1\.", "import archipelag_contracts.pb.archipelag.v1.", text
        )
        path.write_text(text)


def differences(left: Path, right: Path) -> list[str]:
    """Names of generated files that differ or stand on one side only."""

    def names(root: Path) -> set[str]:
        return {
            str(p.relative_to(root)) for p in root.rglob("*.py*") if "__pycache__" not in p.parts
        }

    both = names(left) & names(right)
    _, changed, errors = filecmp.cmpfiles(left, right, sorted(both), shallow=False)
    return sorted(names(left) ^ names(right)) + changed + errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 on a difference")
    if parser.parse_args().check:
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder))
            wrong = differences(Path(folder), PB)
        if wrong:
            sys.exit("generated code is out of date, run `make proto`: " + ", ".join(wrong))
        return
    PB.mkdir(parents=True, exist_ok=True)
    generate(PB)


if __name__ == "__main__":
    main()
