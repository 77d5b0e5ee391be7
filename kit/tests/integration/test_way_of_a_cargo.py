"""From an empty folder to a registry, for each template: built, tried in its sandbox, signed, pushed, verified."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
from pathlib import Path

import pytest
from archipelag_contracts.cosign import CosignKey, public_from_pem
from archipelag_contracts.manifest import parse_canonical
from archipelag_island.errors import NotUsable
from archipelag_kit.commands import compiling
from archipelag_kit.conformance import rooms
from archipelag_oci import media, signatures
from archipelag_oci.cache import BlobCache
from archipelag_oci.errors import NotSigned
from archipelag_oci.pull import pull_artifact
from archipelag_oci.reference import parse
from archipelag_oci.registry import Registry
from kit_shell import Command

TEMPLATES = ("python", "grpc", "wasm-c", "wasm-rust")


def skip_unless_possible(template: str, tmp_path: Path) -> None:
    if template == "wasm-c" and importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs ziglang")
    if template == "wasm-rust" and not compiling.has_rust():
        pytest.skip("needs rustc with the standard library for WASI")
    name = "wasm" if template.startswith("wasm") else "oci"
    try:
        asyncio.run(rooms.open_room(name, tmp_path))
    except (NotUsable, ImportError) as why:
        pytest.skip(f"needs the {name} runtime: {why}")


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_goes_all_the_way(
    template: str, command: Command, registry: str, tmp_path: Path
) -> None:
    skip_unless_possible(template, tmp_path)

    assert command("init", "shout", "--template", template).status == 0
    os.chdir("shout")
    built = command("build", "--json")
    assert built.status == 0, built.err
    tried = command("test", "--json")
    assert tried.status == 0, tried.err + tried.out
    assert tried.value["passed"] and len(tried.value["checks"]) == 15
    assert command("keygen").status == 0
    signed = command("sign")
    assert signed.status == 0 and "warning" not in signed.err
    pushed = command("push", "--registry", registry, "--json")
    assert pushed.status == 0, pushed.err

    canonical = Path("build/manifest.json").read_bytes()
    manifest = parse_canonical(canonical)
    assert manifest.image is not None and manifest.image.digest == built.value["image"]
    public = public_from_pem((tmp_path / "config/archipelag/cargo.pub").read_bytes())
    asyncio.run(
        is_there(pushed.value["reference"], canonical, public, manifest.image.digest, tmp_path)
    )
    # A push that is repeated adds nothing.
    assert command("push", "--registry", registry, "--json").value == pushed.value


async def is_there(
    reference: str, canonical: bytes, public: bytes, image: str, tmp_path: Path
) -> None:
    """Pulled by digest as an Island would, and verified; another key is none."""
    cache = BlobCache(tmp_path / "pulled", 1 << 30)
    async with Registry() as registry:
        at = parse(reference)
        artifact = await pull_artifact(registry, at, cache, media.CARGO)
        assert artifact.path.read_bytes() == canonical
        for one in (at, at.at(image)):
            assert (await signatures.verify(registry, one, [public])).public == public
            with pytest.raises(NotSigned):
                await signatures.verify(registry, one, [CosignKey.generate().public])


def test_the_same_source_gives_the_same_digest_anywhere(command: Command) -> None:
    digests = set()
    for place in ("here", "there"):
        assert command("init", "shout", "--into", place).status == 0
        built = command("build", f"{place}/shout", "--json")
        assert built.status == 0, built.err
        digests.add(built.value["cargo"])

    assert len(digests) == 1


def test_what_was_changed_after_the_build_is_not_signed(command: Command) -> None:
    command("init", "shout")
    shutil.copytree("shout", "other")
    assert command("sign", "shout").status == 2
    assert command("build", "shout", "--json").status == 0
    manifest = Path("shout/manifest.toml")
    manifest.write_text(manifest.read_text().replace("seconds = 60", "seconds = 50"))

    changed = command("sign", "shout")

    assert changed.status == 2 and "build" in changed.err


def test_the_keys_passphrase_is_asked_for(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPELAG_CARGO_PASSPHRASE", "seven gulls")
    assert command("keygen").status == 0
    command("init", "shout")
    command("build", "shout", "--json")
    signed = command("sign", "shout")
    assert signed.status == 0 and "has not passed" in signed.err

    monkeypatch.setenv("ARCHIPELAG_CARGO_PASSPHRASE", "eight gulls")
    wrong = command("sign", "shout")

    assert wrong.status == 2 and "ARCHIPELAG_CARGO_PASSPHRASE" in wrong.err


def test_a_failing_cargo_has_its_own_exit_status(command: Command, tmp_path: Path) -> None:
    skip_unless_possible("python", tmp_path)
    command("init", "shout")
    source = Path("shout/src/answer.py")
    source.write_text(
        source.read_text().replace("words = run", "raise ValueError('no'); words = run")
    )
    command("build", "shout", "--json")

    tried = command("test", "shout")

    assert tried.status == 5
    assert "✗ it runs its example" in tried.out and "ValueError: no" in tried.out


def test_wrong_usage_says_what_to_do(command: Command) -> None:
    for argv, said in (
        (("init", "No Name"), "lower-case"),
        (("build",), "archipelag cargo init"),
        (("push", "."), "archipelag cargo init"),
    ):
        done = command(*argv)
        assert done.status == 2 and said in done.err, done
    command("init", "shout")
    assert command("init", "shout").status == 2
    Path("shout/build.toml").write_text('kind = "python"\nmodul = "x"\n')
    done = command("build", "shout")
    assert done.status == 2 and "modul is not known" in done.err and "module must" in done.err
