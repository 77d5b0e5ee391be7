"""References and documents are read strictly: what could be read in two ways is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from archipelag_oci import media, strict
from archipelag_oci.descriptor import Platform
from archipelag_oci.errors import BadDocument, BadReference, NoPlatform, OciError, TooLarge
from archipelag_oci.manifests import (
    ImageManifest,
    Index,
    parse_config,
    parse_image_manifest,
    parse_manifest,
)
from archipelag_oci.reference import Reference, parse

DIGEST = "sha256:" + "a" * 64
ENTRY = {"mediaType": media.LAYER_GZIP, "digest": DIGEST, "size": 5}
CONFIG = {"mediaType": media.CONFIG, "digest": DIGEST, "size": 2}
IMAGE: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": media.MANIFEST,
    "config": CONFIG,
    "layers": [ENTRY],
}
RUN: dict[str, Any] = {
    "os": "linux",
    "architecture": "amd64",
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    "config": {"Entrypoint": ["/a"], "Cmd": ["b"], "Env": ["A=b=c"], "WorkingDir": "/w"},
}


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("text", "registry", "repository", "version"),
    [
        (f"ghcr.io/a/b@{DIGEST}", "ghcr.io", "a/b", DIGEST),
        ("localhost/a:1", "localhost", "a", "1"),
        ("127.0.0.1:5000/a/b/c:v1.2-x_y", "127.0.0.1:5000", "a/b/c", "v1.2-x_y"),
        ("[::1]:5000/a:x", "[::1]:5000", "a", "x"),
        ("host:443/a__b.c-d--e/f:latest", "host:443", "a__b.c-d--e/f", "latest"),
    ],
)
def test_reference_is_read_and_written_the_same(
    text: str, registry: str, repository: str, version: str
) -> None:
    found = parse(text)

    assert (found.registry, found.repository, found.version) == (registry, repository, version)
    assert str(found) == text and parse(str(found)) == found


def test_path_without_a_host_lies_in_the_registry_that_is_given() -> None:
    assert str(parse(f"cargos/x@{DIGEST}", "r.example:5000")) == f"r.example:5000/cargos/x@{DIGEST}"
    with pytest.raises(BadReference, match="names no registry"):
        parse(f"cargos/x@{DIGEST}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ghcr.io/a",
        "ghcr.io/a:",
        "ghcr.io/A:x",
        "ghcr.io/a/:x",
        "ghcr.io//a:x",
        "ghcr.io/../a:x",
        "ghcr.io/a/..:x",
        "ghcr.io/a%2e:x",
        "ghcr.io/a b:x",
        "ghcr.io/a:x y",
        "ghcr.io/a:" + "x" * 129,
        "ghcr.io/" + "a" * 256 + ":x",
        "ghcr.io/a@sha256:" + "a" * 63,
        "ghcr.io/a@sha256:" + "A" * 64,
        "ghcr.io/a@sha512:" + "a" * 128,
        f"ghcr.io/a:x@{DIGEST}",
        f"ghcr.io/a@{DIGEST}\n",
        "ghcr.io/a:x\n",
        "user@ghcr.io/a:x",
        "https://ghcr.io/a:x",
        "ghcr.io:0/a:x",
        "ghcr.io:65536/a:x",
        "-x.io/a:x",
        "ghcr..io/a:x",
        "ghcr.io?/a:x",
        "ghcr.io/a?b:x",
        "ghcr.io/a#b:x",
        "x" * 600,
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(BadReference):
        parse(text)


def test_reference_has_one_version() -> None:
    with pytest.raises(BadReference):
        Reference("ghcr.io", "a")
    with pytest.raises(BadReference):
        Reference("ghcr.io", "a", "tag", DIGEST)


def test_manifest_is_read_and_written_the_same() -> None:
    found = parse_image_manifest(encoded(IMAGE))

    assert isinstance(found, ImageManifest) and found.size_bytes == 7
    assert parse_image_manifest(found.encode()) == found


@pytest.mark.parametrize(
    "change",
    [
        {"schemaVersion": 1},
        {"mediaType": "application/vnd.docker.distribution.manifest.v1+json"},
        {"mediaType": 5},
        {"manifests": []},
        {"config": None},
        {"config": [CONFIG]},
        {"layers": None},
        {"layers": {"0": ENTRY}},
        {"layers": [ENTRY["digest"]]},
        {"layers": [ENTRY | {"size": -1}]},
        {"layers": [ENTRY | {"size": True}]},
        {"layers": [ENTRY | {"size": 1.5}]},
        {"layers": [ENTRY | {"size": 1 << 63}]},
        {"layers": [ENTRY | {"digest": "sha256:../../etc/passwd"}]},
        {"layers": [ENTRY | {"digest": DIGEST + "\n"}]},
        {"layers": [ENTRY | {"digest": "md5:" + "a" * 32}]},
        {"layers": [ENTRY | {"mediaType": "no type"}]},
        {"layers": [ENTRY | {"annotations": {"a": 1}}]},
        {"layers": [ENTRY] * 128},
        {"annotations": {str(i): "" for i in range(100)}},
    ],
)
def test_what_is_no_manifest_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((BadDocument, TooLarge)):
        parse_manifest(encoded(IMAGE | change))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"schemaVersion":2,"schemaVersion":2}',
        b'{"schemaVersion":NaN}',
        b" " * (5 << 20),
    ],
    ids=["empty", "list", "null", "bytes", "deep", "twice", "NaN", "large"],
)
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises((BadDocument, TooLarge)):
        parse_manifest(data, media.MANIFEST)


def test_key_that_is_said_twice_is_refused() -> None:
    whole = encoded(IMAGE)

    with pytest.raises(BadDocument, match="twice"):
        parse_manifest(whole[:-1] + b',"layers":[]}')
    with pytest.raises(BadDocument, match="twice"):
        parse_manifest(whole.replace(b'"size": 2', b'"size": 2, "size": 3'))


def test_registry_cannot_say_that_a_manifest_is_something_else() -> None:
    with pytest.raises(BadDocument, match="calls itself"):
        parse_manifest(encoded(IMAGE), media.INDEX)


def test_index_gives_the_image_for_a_platform() -> None:
    def entry(size: int, architecture: str, variant: str = "") -> dict[str, Any]:
        platform = {"os": "linux", "architecture": architecture, "variant": variant}
        return {"mediaType": media.MANIFEST, "digest": DIGEST, "size": size, "platform": platform}

    entries = [entry(1, "arm", "v7"), entry(2, "amd64"), entry(3, "arm64", "v8")]
    index = parse_manifest(
        encoded({"schemaVersion": 2, "mediaType": media.INDEX, "manifests": entries})
    )

    assert isinstance(index, Index)
    assert index.pick(Platform("linux", "amd64")).size == 2
    assert index.pick(Platform("linux", "arm64")).size == 3
    with pytest.raises(NoPlatform, match="only for linux/amd64"):
        index.pick(Platform("linux", "riscv64"))


def test_config_tells_what_to_run() -> None:
    found = parse_config(encoded(RUN))

    assert found.arguments == ("/a", "b") and found.environment == (("A", "b=c"),)
    assert found.working_dir == "/w" and found.diff_ids == (DIGEST,)


@pytest.mark.parametrize(
    "change",
    [
        {"rootfs": None},
        {"rootfs": {"type": "other", "diff_ids": []}},
        {"rootfs": {"type": "layers", "diff_ids": ["x"]}},
        {"os": None},
        {"config": {"Entrypoint": "/a"}},
        {"config": {"Env": ["A"]}},
        {"config": {"Env": ["=a"]}},
        {"config": {"Env": ["A=\0"]}},
        {"config": {"WorkingDir": "../x"}},
        {"config": {"WorkingDir": "/a/../../x"}},
        {"config": {"Cmd": ["x"] * 2000}},
    ],
)
def test_what_is_no_config_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((BadDocument, TooLarge)):
        parse_config(encoded(RUN | change))


def test_every_error_of_the_tree_has_its_own_code() -> None:
    def below(kind: type[OciError]) -> list[type[OciError]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in below(sub))]

    public = [kind for kind in below(OciError) if kind.__module__ == "archipelag_oci.errors"]
    assert len({kind.code for kind in public}) == len(public) == 18


def test_numbers_and_texts_are_bounded() -> None:
    with pytest.raises(BadDocument):
        strict.text({"a": "x" * 70_000}, "a", "it")
    with pytest.raises(BadDocument):
        strict.text({"a": "x\0"}, "a", "it")
