"""The handle to a Cargo's socket."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from archipelag_island.adapters.runtimes.pinned import Pinned
from archipelag_island.errors import StartFailed


def test_what_is_put_in_its_place_is_not_connected_to(tmp_path: Path) -> None:
    place = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.bind(str(place))
        first.listen()
        pinned = Pinned.at(place)
        assert pinned is not None
        place.unlink()
        second.bind(str(place))
        second.listen()

        with socket.socket(socket.AF_UNIX) as client:
            client.connect(pinned.path)
            accepted, _ = first.accept()
            accepted.close()

        pinned.close()


def test_socket_that_nobody_listens_to_yet_is_told_from_one(tmp_path: Path) -> None:
    place = tmp_path / "sock"
    assert Pinned.at(place) is None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        pinned = Pinned.at(place)
        assert pinned is not None and not pinned.listens()

        server.listen(0)

        assert pinned.listens()
        pinned.close()


def test_link_and_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("")
    (tmp_path / "link").symlink_to("/run/docker.sock")
    for name in ("real", "link"):
        with pytest.raises(StartFailed, match="something else"):
            Pinned.at(tmp_path / name)
