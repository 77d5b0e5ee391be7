"""A checkpoint of the manifest's: what it may be, and, where torch is present, one that is trained here for seconds."""

import io
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from archipelag_image_gen import checkpoint
from archipelag_image_gen.asked import read
from archipelag_image_gen.checkpoint import NoCheckpoint
from PIL import Image

TRAINING = Path(__file__).parents[2] / "training"


def test_without_diffusers_it_says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)

    with pytest.raises(NoCheckpoint, match=r"model\.tar needs diffusers and torch"):
        checkpoint.load(tmp_path / "model.tar", threads=1)


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_tar_that_leads_out_of_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    packed = tar(tmp_path / "model.tar", name, b"x")

    with pytest.raises((tarfile.TarError, NoCheckpoint)):
        checkpoint._unpack(packed, tmp_path / "in" / "here")
    assert not (tmp_path / "outside").exists()


def test_a_tar_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    packed = tar(tmp_path / "model.tar", "readme.txt", b"x")

    with pytest.raises(NoCheckpoint, match=r"model_index\.json is missing"):
        checkpoint._unpack(packed, tmp_path / "here")


def test_a_tar_of_endless_files_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoint, "_TAR_FILES_MAX", 3)
    with tarfile.open(tmp_path / "model.tar", "w") as archive:
        for i in range(9):
            archive.addfile(tarfile.TarInfo(f"{i}"))

    with pytest.raises(NoCheckpoint, match="more than 3 files"):
        checkpoint._unpack(tmp_path / "model.tar", tmp_path / "here")


def tar(path: Path, name: str, content: bytes) -> Path:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy of the real architecture by the real script: seconds of training, so it paints mud."""
    for needed in ("torch", "diffusers", "transformers"):
        pytest.importorskip(needed, reason="needs torch, diffusers and transformers")
    # Scripts beside each other, as a person runs them; they are no package.
    monkeypatch.syspath_prepend(TRAINING)
    import train

    out = tmp_path / "training"
    short = train.Budget(cpu_s=3, wall_s=20)
    train.train(out, side=32, count=200, vae=short, whole=short)
    return out / "pipeline"


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_is_trained_loaded_and_paints(trained: Path, tmp_path: Path) -> None:
    """And becomes the files that the Cargo runs without torch; the export compares them itself."""
    import export
    from diffusers import StableDiffusionPipeline

    with tarfile.open(tmp_path / "model.tar", "w") as archive:
        archive.add(trained, "model")
    told: list[Any] = []

    painter = checkpoint.load(tmp_path / "model.tar", threads=1)
    asked = read({"prompt": "a big red circle", "steps": 4, "seed": 5})
    first = painter.paint(asked, lambda step, preview: told.append((step, preview())) or True)
    again = painter.paint(asked, lambda _step, _preview: True)

    assert first.picture.size == (32, 32)
    assert first.picture.tobytes() == again.picture.tobytes()
    assert [step for step, _ in told] == [1, 2, 3, 4]
    assert isinstance(told[0][1], Image.Image)

    export.export(StableDiffusionPipeline.from_pretrained(trained), tmp_path / "out", "toy")
    parts = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert parts == ["decoder.onnx", "settings.json", "text.onnx", "unet.onnx"]
