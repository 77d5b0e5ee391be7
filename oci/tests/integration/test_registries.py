"""The same promises against Debian's registry and against our own, and with skopeo and cosign as strangers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from archipelag_contracts import cosign
from archipelag_contracts.cosign import CosignKey
from archipelag_oci import descriptor, media, signatures
from archipelag_oci.build import from_files
from archipelag_oci.cache import BlobCache
from archipelag_oci.descriptor import this_machine
from archipelag_oci.errors import (
    AccessDenied,
    BadReference,
    NotInRegistry,
    NotSigned,
    RegistryRefused,
    TooLarge,
    WrongDigest,
)
from archipelag_oci.image import File, ImageFile
from archipelag_oci.layout import read_layout, write_layout
from archipelag_oci.manifests import parse_image_manifest
from archipelag_oci.pull import Limits, pull_artifact, pull_image
from archipelag_oci.push import push_artifact, push_cargo, push_image
from archipelag_oci.reference import Reference, parse
from archipelag_oci.registry import Registry
from archipelag_oci.settings import Credentials, Settings
from archipelag_oci.unpack import unpack
from archipelag_oci.upload import Source

sys.path.insert(0, str(Path(__file__).parent))
from registry_process import Server, server


def named(host: str, name: str, version: str = "latest") -> Reference:
    return parse(f"{host}/{name}:{version}")


def small_image(folder: Path, text: bytes = b"hello") -> ImageFile:
    files = [File("bin/tool", text, mode=0o755), File("etc/empty", b"")]
    return from_files(files, folder, entrypoint=["/bin/tool"])


def cosign_program() -> str:
    program = os.environ.get("COSIGN") or shutil.which("cosign")
    if program is None:
        pytest.skip("needs cosign: install it, or name it with COSIGN=…")
    return program


async def test_image_goes_there_and_comes_back(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    image = small_image(tmp_path / "build")
    cache = BlobCache(tmp_path / "cache", 1 << 30)

    digest = await push_image(registry, named(registry_server.host, "a/image"), image)
    reference = named(registry_server.host, "a/image").at(digest)
    pulled = await pull_image(registry, reference, cache, this_machine())
    root = unpack(pulled.layers, tmp_path / "root").folder

    assert (root / "bin/tool").read_bytes() == b"hello"
    assert pulled.config.arguments == ("/bin/tool",)
    assert await registry.tags(reference) == ("latest",)
    assert await registry.has_manifest(reference)
    assert not await registry.has_manifest(reference.at("sha256:" + "0" * 64))


async def test_what_lies_in_the_cache_needs_no_registry(registry: Registry, tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "cache", 1 << 30)
    with server("ours", tmp_path) as started:
        target = named(started.host, "image")
        target = target.at(await push_image(registry, target, small_image(tmp_path / "build")))
        first = await pull_image(registry, target, cache, this_machine())

    again = await pull_image(registry, target, cache, this_machine())

    assert again == first


async def test_tag_is_not_pulled(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(BadReference, match="by digest"):
        await pull_image(
            registry,
            named(registry_server.host, "image"),
            BlobCache(tmp_path, 1 << 20),
            this_machine(),
        )


async def test_image_larger_than_its_manifest_says_is_not_pulled(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    target = named(registry_server.host, "large")
    digest = await push_image(registry, target, small_image(tmp_path / "build"))

    with pytest.raises(TooLarge):
        await pull_image(
            registry,
            target.at(digest),
            BlobCache(tmp_path / "cache", 1 << 30),
            this_machine(),
            Limits(bytes_max=10),
        )


async def test_large_blob_goes_in_pieces_and_is_gone_on_with(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    data = os.urandom(3_500_000)
    blob = descriptor.of("application/octet-stream", data)
    target = named(registry_server.host, "pieces")
    await registry.push_blob(target, Source(blob, data))
    part = tmp_path / "part"
    part.write_bytes(data[:1_234_567])
    seen: list[int] = []

    await registry.blob_to_file(target, blob, part, lambda _d, here, _all: seen.append(here))

    assert part.read_bytes() == data
    assert seen[0] > 1_234_567 and seen[-1] == len(data)


async def test_spoilt_part_is_fetched_again_from_the_start(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    data = os.urandom(200_000)
    blob = descriptor.of("application/octet-stream", data)
    target = named(registry_server.host, "spoilt")
    await registry.push_blob(target, Source(blob, data))
    for left in (b"x" * 5000, b"x" * 300_000, b"x" * 200_000):
        (tmp_path / "part").write_bytes(left)

        await registry.blob_to_file(target, blob, tmp_path / "part")

        assert (tmp_path / "part").read_bytes() == data


async def test_blob_of_another_digest_is_refused_on_arrival(
    registry_server: Server, registry: Registry
) -> None:
    wrong = replace(descriptor.of("application/octet-stream", b"one"), digest="sha256:" + "1" * 64)

    with pytest.raises(RegistryRefused):
        await registry.push_blob(named(registry_server.host, "wrong"), Source(wrong, b"one"))


async def test_blob_is_mounted_from_beside(registry_server: Server, registry: Registry) -> None:
    data = os.urandom(1000)
    blob = descriptor.of("application/octet-stream", data)
    one, other = (named(registry_server.host, name) for name in ("beside/one", "beside/other"))
    await registry.push_blob(one, Source(blob, data))

    assert not await registry.has_blob(other, blob.digest)
    # The bytes would not do: it must be mounted, not sent.
    await registry.push_blob(other, Source(blob, b""), mount_from="beside/one")

    assert await registry.blob(other, blob, 1000) == data


async def test_manifest_without_its_blobs_is_refused(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    image = small_image(tmp_path, b"never pushed")

    with pytest.raises((RegistryRefused, NotInRegistry)):
        await registry.push_manifest(
            named(registry_server.host, "dangling"), image.manifest, media.MANIFEST
        )


async def test_what_is_not_there_is_told(registry_server: Server, registry: Registry) -> None:
    target = named(registry_server.host, "nowhere")

    with pytest.raises(NotInRegistry):
        await registry.manifest(target)
    with pytest.raises(NotInRegistry):
        await registry.blob(target, descriptor.of("a/b", b"x"), 100)
    assert await registry.tags(target) == ()


async def test_artifacts_of_all_kinds_come_back(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    cache = BlobCache(tmp_path / "cache", 1 << 30)
    (tmp_path / "m.gguf").write_bytes(b"weights" * 100)
    target = named(registry_server.host, "artifacts")

    module = await push_artifact(registry, target, b"\0asm", media.WASM, media.WASM_CONFIG)
    model = await push_artifact(registry, target, tmp_path / "m.gguf", media.MODEL, title="m.gguf")
    cargo = await push_cargo(registry, target, b'{"slug":"x"}')

    pulled = await pull_artifact(registry, target.at(module), cache, media.WASM)
    weights = await pull_artifact(registry, target.at(model), cache, media.MODEL)
    manifest = await pull_artifact(registry, target.at(cargo), cache, media.CARGO)
    assert pulled.path.read_bytes() == b"\0asm"
    assert weights.title == "m.gguf" and weights.path.stat().st_size == 700
    assert manifest.path.read_bytes() == b'{"slug":"x"}'
    assert cargo == cosign.artifact_digest(b'{"slug":"x"}')


async def test_signature_holds_for_its_key_and_digest_only(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    first, second, stranger = (CosignKey.generate() for _ in range(3))
    target = named(registry_server.host, "signed")
    reference = target.at(await push_image(registry, target, small_image(tmp_path / "a")))
    other = target.at(await push_image(registry, target, small_image(tmp_path / "b", b"other")))

    with pytest.raises(NotSigned, match="has no signature"):
        await signatures.verify(registry, reference, [first.public])
    await signatures.sign(registry, reference, first)
    await signatures.sign(registry, reference, second)
    await signatures.sign(registry, reference, first)

    for key in (first, second):
        found = await signatures.verify(registry, reference, [stranger.public, key.public])
        assert found.public == key.public
    with pytest.raises(NotSigned, match="none of its"):
        await signatures.verify(registry, reference, [stranger.public])
    with pytest.raises(NotSigned, match="no key is trusted"):
        await signatures.verify(registry, reference, [])
    # The right signature on another digest.
    held = await signatures.verify(registry, reference, [first.public])
    await signatures.attach(registry, other, held.payload, held.signature)
    with pytest.raises(NotSigned):
        await signatures.verify(registry, other, [first.public])


async def test_signing_again_adds_nothing(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    key = CosignKey.generate()
    target = named(registry_server.host, "twice")
    reference = target.at(await push_image(registry, target, small_image(tmp_path)))

    for _ in range(2):
        await signatures.sign(registry, reference, key)

    fetched = await registry.manifest(signatures.place(reference))
    assert len(parse_image_manifest(fetched.data).layers) == 1


async def test_cosign_verifies_ours_and_we_verify_cosigns(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    program = cosign_program()
    key = CosignKey.generate()
    target = named(registry_server.host, "cosign")
    reference = target.at(await push_image(registry, target, small_image(tmp_path / "image")))
    (tmp_path / "ours.pub").write_bytes(key.public_pem)
    environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(tmp_path)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    await signatures.sign(registry, reference, key)
    verified = run(
        "verify",
        "--key",
        "ours.pub",
        "--insecure-ignore-tlog",
        "--allow-http-registry",
        str(reference),
    )
    assert verified.returncode == 0, verified.stderr
    assert (
        json.loads(verified.stdout)[0]["critical"]["image"]["docker-manifest-digest"]
        == reference.digest
    )

    made = run("generate-key-pair", "--output-key-prefix", "theirs")
    assert made.returncode == 0, made.stderr
    theirs = cosign.public_from_pem((tmp_path / "theirs.pub").read_bytes())
    signed = run(
        "sign",
        "--key",
        "theirs.key",
        "--tlog-upload=false",
        "--allow-http-registry",
        "--yes",
        str(reference),
    )
    assert signed.returncode == 0, signed.stderr
    found = await signatures.verify(registry, reference, [theirs])
    assert found.public == theirs
    assert await signatures.verify(registry, reference, [key.public])


def skopeo(*arguments: str) -> str:
    program = shutil.which("skopeo")
    if program is None:
        pytest.skip("needs skopeo: apt install skopeo")
    done = subprocess.run(
        [program, "--insecure-policy", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_skopeo_reads_what_we_pushed_and_we_read_what_it_pushed(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    image = small_image(tmp_path / "build")
    target = named(registry_server.host, "skopeo/ours")
    digest = await push_image(registry, target, image)

    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{target}")
    assert "sha256:" + hashlib.sha256(raw.encode()).hexdigest() == digest
    skopeo("copy", "--src-tls-verify=false", f"docker://{target}", f"oci:{tmp_path}/out:x")
    assert read_layout(tmp_path / "out").manifest == image.manifest

    write_layout(image, tmp_path / "in", "x")
    theirs = named(registry_server.host, "skopeo/theirs")
    skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path}/in:x", f"docker://{theirs}")
    assert (await registry.manifest(theirs)).digest == digest
    skopeo(
        "copy",
        "--dest-tls-verify=false",
        "--format=v2s2",
        f"oci:{tmp_path}/in:x",
        f"docker://{theirs}",
    )
    docker = await registry.manifest(theirs)
    assert docker.media_type == media.DOCKER_MANIFEST
    cache = BlobCache(tmp_path / "cache", 1 << 30)
    pulled = await pull_image(registry, theirs.at(docker.digest), cache, this_machine())
    root = unpack(pulled.layers, tmp_path / "root").folder
    assert (root / "bin/tool").read_bytes() == b"hello"


async def test_tags_come_in_pages(
    registry_server: Server, registry: Registry, tmp_path: Path
) -> None:
    image = small_image(tmp_path)
    target = named(registry_server.host, "tags")
    for number in range(3):
        await push_image(registry, target.at(f"v{number}"), image)

    assert await registry.tags(target, page=2) == ("v0", "v1", "v2")


async def test_only_who_may_push_pushes(tmp_path: Path) -> None:
    environment = {"ARCHIPELAG_REGISTRY_PUSHER": "author:secret"}
    image = small_image(tmp_path / "image")
    with server("ours", tmp_path, environment) as started:
        target = named(started.host, "mine")
        async with Registry() as anybody:
            with pytest.raises(AccessDenied, match="credentials"):
                await push_image(anybody, target, image)
        wrong = Settings(credentials={started.host: Credentials("author", "wrong")})
        async with Registry(wrong) as stranger:
            with pytest.raises(AccessDenied):
                await push_image(stranger, target, image)
        right = Settings(credentials={started.host: Credentials("author", "secret")})
        async with Registry(right) as author, Registry() as anybody:
            digest = await push_image(author, target, image)
            assert (await anybody.manifest(target)).digest == digest


async def test_our_server_takes_no_name_that_is_none(tmp_path: Path) -> None:
    image = small_image(tmp_path / "image")
    headers = {"Content-Type": media.MANIFEST}
    with server("ours", tmp_path) as started:
        async with Registry() as client, httpx.AsyncClient() as raw:
            await push_image(client, named(started.host, "a"), image)
            answers = [
                await raw.request(
                    method,
                    f"http://{started.host}/v2/{path}",
                    content=image.manifest,
                    headers=headers,
                )
                for method, path in (
                    ("PUT", "a/manifests/.hidden"),
                    ("PUT", "a/manifests/%2e%2e"),
                    ("PUT", "a/manifests/sha256:" + "A" * 64),
                    ("PUT", "a/%2e%2e/b/manifests/x"),
                    ("PUT", "_blobs/manifests/x"),
                    ("POST", "A/blobs/uploads/"),
                    ("GET", "a/_tags/tags/list"),
                    ("GET", "a/blobs/..%2f..%2fetc"),
                    ("PATCH", "a/blobs/uploads/..%2fx"),
                    ("DELETE", "a/manifests/latest"),
                )
            ]

        assert {answer.status_code for answer in answers} <= {400, 404}
        names = {p.name for p in started.folder.rglob("*") if p.is_file()}
        assert names <= {"latest"} | {n for n in names if len(n) == 64}


async def test_blob_beyond_the_bound_is_refused_by_our_server(
    registry: Registry, tmp_path: Path
) -> None:
    data = bytes(65 << 20)
    with server("ours", tmp_path) as started:
        with pytest.raises(RegistryRefused, match="413"):
            await registry.push_blob(
                named(started.host, "huge"), Source(descriptor.of("a/b", data), data)
            )

        assert list((started.folder / "uploads").iterdir()) == []


async def test_tampered_layer_in_the_registry_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    cache = BlobCache(tmp_path / "cache", 1 << 30)
    with server("ours", tmp_path) as started:
        target = named(started.host, "tampered")
        image = small_image(tmp_path / "build")
        reference = target.at(await push_image(registry, target, image))
        layer = image.layers[0]
        stored = started.folder / "blobs" / layer.descriptor.digest.removeprefix("sha256:")
        data = bytearray(stored.read_bytes())
        data[-1] ^= 1
        stored.write_bytes(data)

        with pytest.raises(WrongDigest):
            await pull_image(registry, reference, cache, this_machine())

    assert cache.get(layer.descriptor.digest) is None
    assert [p.name for p in (tmp_path / "cache/parts").iterdir() if p.suffix != ".lock"] == []
