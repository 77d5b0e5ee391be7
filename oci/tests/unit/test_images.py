"""What is built is the same every time, reads back as it was written, and tells what it is made of."""

from __future__ import annotations

import gzip
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from archipelag_oci import bytecode, elf, python_image, sbom
from archipelag_oci.build import from_files, tree
from archipelag_oci.bytecode import compiled
from archipelag_oci.errors import BadDocument, BuildFailed
from archipelag_oci.image import File, ImageFile, write_layer
from archipelag_oci.layout import read_layout, write_layout, write_layout_tar
from archipelag_oci.libraries import libraries
from archipelag_oci.manifests import parse_config, parse_image_manifest
from archipelag_oci.pull import Layer
from archipelag_oci.unpack import unpack

LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="needs Linux: its programs are ELF files"
)
FILES = (
    File("bin/tool", b"#!", mode=0o755),
    File("bin/link", link="tool"),
    File("data/" + "x" * 180, b"1"),
)


def layers_of(image: ImageFile) -> list[Layer]:
    return [Layer(layer.path, "gzip", layer.diff_id) for layer in image.layers]


def small(folder: Path, files: Sequence[File] = FILES) -> ImageFile:
    return from_files(files, folder, entrypoint=["/bin/tool"], environment={"B": "2", "A": "1"})


def test_same_files_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    one, other = small(tmp_path / "a"), small(tmp_path / "b", FILES[::-1])

    assert (one.manifest, one.config) == (other.manifest, other.config)
    assert one.layers[0].path.read_bytes() == other.layers[0].path.read_bytes()
    assert one.digest != small(tmp_path / "c", FILES[:1]).digest


def test_built_image_unpacks_to_its_files(tmp_path: Path) -> None:
    image = small(tmp_path)

    root = unpack(layers_of(image), tmp_path / "root").folder

    assert (root / "bin/link").read_bytes() == b"#!"
    assert (root / ("data/" + "x" * 180)).read_bytes() == b"1"
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE((root / "bin/tool").stat().st_mode) == 0o755
    assert "nobody" in (root / "etc/passwd").read_text()
    config = parse_config(image.config)
    assert config.environment == (("A", "1"), ("B", "2")) and config.user == "65534:65534"
    assert image.size_bytes == len(image.manifest) + parse_image_manifest(image.manifest).size_bytes


@pytest.mark.parametrize(
    "files",
    [
        [File("a", b"1"), File("a", b"2")],
        [File("a", b"1"), File("a/b", b"2")],
        [File("/a", b"1")],
        [File("../a", b"1")],
        [File("", b"1")],
    ],
)
def test_files_that_make_no_layer_are_refused(files: list[File], tmp_path: Path) -> None:
    with pytest.raises(BuildFailed):
        write_layer(files, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_image_without_an_entrypoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="entrypoint"):
        from_files(FILES, tmp_path, entrypoint=[])


def test_folder_is_taken_without_what_no_image_needs(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    for name in ("a.py", "__pycache__/a.pyc", ".git/config", "sub/b.sh", "sub/b.pyc", "test/x.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "sub/b.sh").chmod(0o700)
    (folder / "same.py").symlink_to("a.py")

    found = {file.path: file for file in tree(folder, "app", ["test/*"])}

    assert sorted(found) == ["app/a.py", "app/same.py", "app/sub", "app/sub/b.sh"]
    assert found["app/sub/b.sh"].mode == 0o755 and found["app/a.py"].mode == 0o644


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub"])
def test_link_out_of_the_folder_is_not_followed_into_an_image(target: str, tmp_path: Path) -> None:
    (tmp_path / "code" / "sub").mkdir(parents=True)
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "code" / "link").symlink_to(target)

    with pytest.raises(BuildFailed, match="links"):
        list(tree(tmp_path / "code", "app"))


def test_layout_reads_back_and_is_checked(tmp_path: Path) -> None:
    image = small(tmp_path / "build")
    write_layout(image, tmp_path / "layout", "name:tag")

    again = read_layout(tmp_path / "layout")

    assert (again.manifest, again.config) == (image.manifest, image.config)
    for layer in again.layers:
        layer.path.chmod(0o644)
        layer.path.write_bytes(layer.path.read_bytes()[:-1] + b"x")
    with pytest.raises(BadDocument, match="not what its name says"):
        read_layout(tmp_path / "layout")
    with pytest.raises(BadDocument, match="no layout"):
        read_layout(tmp_path)


def test_layout_as_one_file_is_the_same_every_time(tmp_path: Path) -> None:
    image = small(tmp_path / "build")

    for name in ("a.tar", "b.tar"):
        write_layout_tar(image, tmp_path / name, "x")

    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_bytecode_is_the_same_every_time_and_names_no_path_of_this_machine(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "NAMES = frozenset({'a', 'b', 'c', 'd'})\n\n\ndef f():\n    return {'x', 'y'}\n"
    )
    (tmp_path / "broken.py").write_text("def f(:")
    files = [File("app/module.py", source), File("app/broken.py", tmp_path / "broken.py")]

    made = [compiled(files, tmp_path / "a")]
    os.utime(source, (1, 1))
    made.append(compiled(files, tmp_path / "b"))

    assert [[file.path for file in each] for each in made] == [
        [f"app/__pycache__/module.{sys.implementation.cache_tag}.pyc"]
    ] * 2
    first, second = (each[0].content for each in made)
    assert isinstance(first, Path) and isinstance(second, Path)
    assert first.read_bytes() == second.read_bytes()
    assert (
        b"/app/module.py" in first.read_bytes() and str(tmp_path).encode() not in first.read_bytes()
    )


def test_layer_is_made_once_while_its_files_stay_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "module.py"
    source.write_text("x = 1")
    runs: list[int] = []
    compile_really = bytecode._run
    monkeypatch.setattr(
        bytecode, "_run", lambda jobs: (runs.append(len(jobs)), compile_really(jobs))[1]
    )
    files = [File("app/module.py", source)]

    first, again = (python_image._layer(files, tmp_path / "layers") for _ in range(2))
    assert first == again and runs == [1]
    source.write_text("x = 22")
    changed = python_image._layer(files, tmp_path / "layers")
    changed.path.unlink()
    python_image._layer(files, tmp_path / "layers")

    assert changed.diff_id != first.diff_id and runs == [1, 1, 1]
    assert b"22" in gzip.decompress(
        python_image._layer(files, tmp_path / "layers").path.read_bytes()
    )


@LINUX
def test_libraries_of_this_python_are_found_with_their_loader() -> None:
    program = Path(sys.executable).resolve()
    found = elf.needs(program)
    assert found is not None

    needed = {
        file.path.rpartition("/")[2]: file
        for file in libraries({"bin/python": program}, found.machine)
    }

    assert "libc.so.6" in needed and Path(found.loader).name in needed
    assert all(
        isinstance(file.content, Path) and file.content.is_file() for file in needed.values()
    )
    assert not libraries({"bin/python": program}, found.machine, known=needed)


def test_what_is_no_elf_file_needs_nothing(tmp_path: Path) -> None:
    for data in (b"", b"#!/bin/sh\n", elf.MAGIC + b"\x02\x01" + os.urandom(3000), elf.MAGIC):
        (tmp_path / "file").write_bytes(data)

        assert elf.needs(tmp_path / "file") is None


METADATA = """Metadata-Version: 2.4
Name: {name}
Version: 1.0
{license}

Name: not-this
License: GPL-3.0
"""
LICENSES = {
    "License-Expression: MIT OR Apache-2.0": "MIT OR Apache-2.0",
    "Classifier: License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License: Apache License 2.0": "Apache-2.0",
    "License: MIT": "MIT",
    "License: as we please, ask us": "NOASSERTION",
    "License-Expression: MIT\x1b[2J": "NOASSERTION",
    "": "NOASSERTION",
}


def test_contents_tell_packages_and_licenses(tmp_path: Path) -> None:
    for number, line in enumerate(LICENSES):
        folder = tmp_path / f"lib/p{number}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(METADATA.format(name=f"P_{number}", license=line))
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: libc6\nStatus: install ok installed\nVersion: 2.36\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    )

    found = sbom.look_into(tmp_path)
    document = sbom.spdx(found, "a/b", "sha256:" + "a" * 64, "2026-01-31T12:00:00Z")

    python = [package.license for package in found.packages if package.kind == "pypi"]
    assert python == list(LICENSES.values())
    assert [p.name for p in found.packages if p.kind == "deb"] == ["libc6"]
    assert found.licenses[:2] == ("Apache-2.0", "BSD-3-Clause") and found.files == 8
    assert document["spdxVersion"] == "SPDX-2.3" and len(document["packages"]) == 9
    assert len({each["SPDXID"] for each in document["packages"]}) == 9
    locators = [each["externalRefs"][0]["referenceLocator"] for each in document["packages"][1:]]
    assert locators[0] == "pkg:deb/debian/libc6@2.36" and "pkg:pypi/p-0@1.0" in locators
    assert len(document["relationships"]) == 9


@pytest.mark.parametrize("link", ["var", "var/lib/dpkg", "var/lib/dpkg/status"])
def test_contents_follow_no_link_out_of_the_root(link: str, tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "lib/dpkg").mkdir(parents=True)
    for name in ("lib/dpkg/status", "status"):
        (outside / name).write_text("Package: secret\nVersion: 1\n")
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside / "status" if link.endswith("status") else outside)
    (root / "x.dist-info").mkdir()
    (root / "x.dist-info/METADATA").symlink_to(outside / "status")

    assert sbom.look_into(root).packages == ()
