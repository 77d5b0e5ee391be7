"""Recordings made to harm: refused with a sentence, nothing else read, no silence without end."""

import os
import wave
from pathlib import Path

import pytest
from archipelag_kit import BadInput
from archipelag_speech_to_text import sound

pytest.importorskip("av", reason="needs the Cargos' engines")


def tone(path: Path, seconds: int, hertz: int = 8_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(hertz)
        file.writeframes(bytes(2 * hertz * seconds))
    return path


def test_a_recording_becomes_one_channel_of_16000(tmp_path: Path) -> None:
    samples = sound.heard(tone(tmp_path / "a.wav", 2))

    assert abs(len(samples) - 32_000) < 400


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 10_000,
        os.urandom(10_000),
        b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    ],
)
@pytest.mark.parametrize("name", ["file_0", "list.m3u8"])
def test_what_is_no_recording_is_refused(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadInput, match=r"^file: "):
        sound.heard(tmp_path / name)


def test_a_playlist_does_not_read_another_file(tmp_path: Path) -> None:
    import av

    secret = tone(tmp_path / "secret.wav", 1)
    listed = tmp_path / "list.m3u8"
    listed.write_text(f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n")

    free = {"extension_picky": "0", "allowed_extensions": "ALL"}
    with av.open(str(listed), format="hls", options=free) as file:
        assert file.streams.audio
    with pytest.raises(BadInput):
        sound.heard(listed)


def test_a_recording_that_is_too_long_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sound, "SECONDS_MAX", 60)

    with pytest.raises(BadInput, match="longer than 1 minutes"):
        sound.heard(tone(tmp_path / "long.wav", 90))
