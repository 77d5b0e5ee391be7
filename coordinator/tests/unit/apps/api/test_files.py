"""Files: uploaded as they arrive, read back byte for byte, and nobody else's business."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from archipelag_contracts import ids
from archipelag_coordinator.apps.api.content import Span, disposition, span_of
from archipelag_coordinator.apps.api.errors import RangeUnfit
from archipelag_coordinator.apps.api.links import Links
from archipelag_coordinator.domain.file import PIECE_BYTES, BlobState, clean_name
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.files import sweep_files
from archipelag_coordinator.testing.fakes import START

from .conftest import Api, an_api, served

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


async def uploaded(
    api: Api, data: bytes = b"hello", name: str = "a.txt", secret: str | None = None, **fields: str
) -> httpx.Response:
    async with api.client(secret) as http:
        return await http.post(
            "/files", files={"file": (name, data)}, data={"purpose": "user_data"} | fields
        )


async def test_a_file_is_uploaded_read_listed_and_deleted(api: Api) -> None:
    data = bytes(range(256)) * 6000

    made = (await uploaded(api, data, "data.bin")).json()
    async with api.client() as http:
        found = (await http.get(f"/files/{made['id']}")).json()
        listed = (await http.get("/files")).json()
        content = await http.get(f"/files/{made['id']}/content")
        deleted = await http.delete(f"/files/{made['id']}")
        gone = await http.get(f"/files/{made['id']}/content")
        again = await http.delete(f"/files/{made['id']}")

    assert made == found and listed["data"] == [made] and listed["has_more"] is False
    assert made["bytes"] == len(data) and made["sha256"] == hashlib.sha256(data).hexdigest()
    assert made["expires_at"] - made["created_at"] == 30 * 24 * 3600
    assert content.content == data
    assert deleted.json() == {"id": made["id"], "object": "file", "deleted": True}
    assert (gone.status_code, again.status_code) == (404, 404)


async def test_content_is_never_something_that_a_browser_runs(api: Api) -> None:
    page = b"<!doctype html><script>alert(1)</script>"
    made = (await uploaded(api, page, 'x".html\r\nSet-Cookie: a=b')).json()
    async with api.client() as http:
        answer = await http.get(f"/files/{made['id']}/content")

    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("data", "name", "found"),
    [
        (PNG, "notes.txt", "image/png"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "a", "audio/wav"),
        (b"\x00\x00\x00\x18ftypisom", "a.exe", "video/mp4"),
        (b"\x1aE\xdf\xa3", "a", "video/webm"),
        ("grün".encode(), "a.svg", "text/plain"),
        (b"\x7fELF\x02\x01\x01\x00", "a.png", "application/octet-stream"),
        (b"RIFF\x00\x00\x00\x00????", "a.wav", "application/octet-stream"),
    ],
)
async def test_a_file_is_what_its_bytes_say(api: Api, data: bytes, name: str, found: str) -> None:
    assert (await uploaded(api, data, name)).json()["media_type"] == found


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\song.mp3", "song.mp3"),
        ("..", "file"),
        ("", "file"),
        ("a\x00b\n.txt", "ab.txt"),
        ("evil\u202egpj.exe", "evilgpj.exe"),
        ("x" * 300 + ".mp4", "x" * 196 + ".mp4"),
        ("ü" * 200, "ü" * 100),
    ],
)
def test_a_name_is_a_plain_name(given: str, clean: str) -> None:
    assert clean_name(given) == clean
    assert clean_name(clean) == clean


async def test_a_part_of_a_file_is_read_by_range(api: Api) -> None:
    data = bytes(PIECE_BYTES) + b"middle" + bytes(PIECE_BYTES)
    made = (await uploaded(api, data)).json()
    url = f"/files/{made['id']}/content"
    async with api.client() as http:
        part = await http.get(url, headers={"Range": f"bytes={PIECE_BYTES - 1}-{PIECE_BYTES + 6}"})
        tail = await http.get(url, headers={"Range": "bytes=-1"})
        beyond = await http.get(url, headers={"Range": f"bytes={len(data)}-"})
        same = await http.get(url, headers={"If-None-Match": part.headers["etag"]})
        changed = await http.get(url, headers={"Range": "bytes=0-0", "If-Range": '"other"'})

    assert part.status_code == 206 and part.content == b"\0middle\0"
    assert (
        part.headers["content-range"]
        == f"bytes {PIECE_BYTES - 1}-{PIECE_BYTES + 6}/{2 * PIECE_BYTES + 6}"
    )
    assert (tail.status_code, tail.content) == (206, b"\0")
    assert beyond.status_code == 416 and beyond.json()["error"]["code"] == "range_unfit"
    assert beyond.headers["content-range"] == f"bytes */{len(data)}"
    assert (same.status_code, same.content) == (304, b"")
    assert (changed.status_code, len(changed.content)) == (200, len(data))


@pytest.mark.parametrize(
    ("given", "span"),
    [
        ("", None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=0-", Span(0, 10)),
        ("bytes=9-99", Span(9, 1)),
        ("bytes=-99", Span(0, 10)),
    ],
)
def test_ranges_are_read_as_the_standard_says(given: str, span: Span | None) -> None:
    assert span_of(given, 10) == span


@pytest.mark.parametrize("given", ["bytes=10-", "bytes=-0", "bytes=99-100"])
def test_a_range_outside_is_refused(given: str) -> None:
    with pytest.raises(RangeUnfit):
        span_of(given, 10)


def test_a_name_is_told_in_both_spellings() -> None:
    assert disposition('né"w.txt') == (
        "attachment; filename=\"n__w.txt\"; filename*=UTF-8''n%C3%A9%22w.txt"
    )


async def test_another_customers_file_is_nowhere(api: Api) -> None:
    made = (await uploaded(api)).json()
    _, _, stranger = await api.another()
    async with api.client(stranger) as http:
        answers = [
            await http.get(f"/files/{made['id']}"),
            await http.get(f"/files/{made['id']}/content"),
            await http.delete(f"/files/{made['id']}"),
            await http.get("/files/file_nonsense"),
        ]
        listed = (await http.get("/files", params={"after": made["id"]})).json()

    assert [answer.status_code for answer in answers] == [404] * 4
    assert listed["data"] == []


async def test_equal_files_are_two_and_one_goes_without_the_other(api: Api) -> None:
    _, _, other = await api.another()
    first = (await uploaded(api)).json()
    second = (await uploaded(api, secret=other)).json()
    async with api.client() as http:
        await http.delete(f"/files/{first['id']}")
    await sweep_files(api.scene.world, 100)
    async with api.client(other) as http:
        kept = await http.get(f"/files/{second['id']}/content")

    assert first["id"] != second["id"] and kept.content == b"hello"


@pytest.mark.parametrize("harm", ["gone", "changed", "short"])
async def test_lost_content_is_told_and_no_wrong_byte_is_given(api: Api, harm: str) -> None:
    made = (await uploaded(api)).json()
    pieces = api.scene.world.blobs.pieces  # type: ignore[attr-defined]
    (key,) = pieces
    pieces.pop(key) if harm == "gone" else 0
    pieces.update({key: b"jello"} if harm == "changed" else {})
    pieces.update({key: b"hell"} if harm == "short" else {})
    async with api.client() as http:
        answer = await http.get(f"/files/{made['id']}/content")

    assert answer.status_code == 410 and answer.json()["error"]["code"] == "content_lost"


async def test_what_is_lost_in_the_middle_ends_the_connection_short(api: Api) -> None:
    made = (await uploaded(api, bytes(PIECE_BYTES + 5))).json()
    pieces = api.scene.world.blobs.pieces  # type: ignore[attr-defined]
    pieces[next(key for key in pieces if key[1] == 1)] = b"wrong"
    async with served(api.app) as address, httpx.AsyncClient(base_url=address) as http:
        headers = {"Authorization": f"Bearer {api.secret}"}
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(f"/api/v1/files/{made['id']}/content", headers=headers)


async def test_uploads_are_bounded_and_leave_nothing_behind() -> None:
    api = await an_api(Policy(file_bytes_max=1000, files_bytes_max=1500))

    large = await uploaded(api, bytes(1001))
    first = await uploaded(api, bytes(1000))
    over = await uploaded(api, bytes(501))
    empty = await uploaded(api, b"")
    wrong = await uploaded(api, b"x", purpose="anything")

    assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
    assert (over.status_code, over.json()["error"]["code"]) == (413, "storage_exceeded")
    assert first.status_code == 200
    assert (empty.status_code, wrong.status_code) == (422, 422)
    await sweep_files(api.scene.world, 100)
    assert len(api.scene.world.blobs.pieces) == 1  # type: ignore[attr-defined]


async def test_an_upload_that_breaks_off_is_swept() -> None:
    api = await an_api()

    async def half() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        yield bytes(PIECE_BYTES + 1)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with api.client() as http:
        answer = await http.post("/files", content=half(), headers=headers)
    pieces = api.scene.world.blobs.pieces  # type: ignore[attr-defined]
    left = len(pieces)
    await sweep_files(api.scene.world, 100)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert (left, len(pieces)) == (1, 0)


async def test_a_store_that_is_full_is_a_503_and_the_upload_can_be_sent_again(api: Api) -> None:
    api.scene.world.blobs.full = True  # type: ignore[attr-defined]
    full = await uploaded(api)
    api.scene.world.blobs.full = False  # type: ignore[attr-defined]
    again = await uploaded(api)

    assert (full.status_code, again.status_code) == (503, 200)
    async with api.scene.store.begin() as tx:
        assert len(await tx.files.leaving(10)) == 1


def part(head: str, body: bytes) -> bytes:
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + body + b"\r\n"


FILE = part('Content-Disposition: form-data; name="file"; filename="a"', b"hello")
PURPOSE = part('Content-Disposition: form-data; name="purpose"', b"user_data")
END = b"--b--\r\n"
HOSTILE: list[tuple[str, bytes, int]] = [
    ("nothing", b"", 400),
    ("no form", b"hello", 400),
    ("no file", PURPOSE + END, 422),
    ("no purpose", FILE + END, 422),
    ("two files", FILE + FILE + PURPOSE + END, 422),
    ("a field twice", FILE + PURPOSE + PURPOSE + END, 422),
    ("a part without a name", part("Content-Type: text/plain", b"x") + FILE + END, 400),
    ("a long header", part("X: " + "y" * 5000, b"x") + FILE + END, 400),
    ("many headers", part("\r\n".join(f"X{n}: y" for n in range(20)), b"x") + FILE + END, 400),
    (
        "a long field",
        part('Content-Disposition: form-data; name="purpose"', b"x" * 40_000) + FILE + END,
        400,
    ),
    (
        "many fields",
        b"".join(part(f'Content-Disposition: form-data; name="f{n}"', b"") for n in range(40))
        + FILE
        + END,
        422,
    ),
    ("no text", part('Content-Disposition: form-data; name="purpose"', b"\xff") + FILE + END, 422),
    ("a NUL", part('Content-Disposition: form-data; name="purpose"', b"\0") + FILE + END, 422),
    ("an unknown field", part('Content-Disposition: form-data; name="x"', b"") + FILE + END, 422),
    ("no end", FILE + PURPOSE, 400),
    ("much after the end", FILE + PURPOSE + END + bytes(2 << 20), 400),
]


@pytest.mark.parametrize("size", [1, 7, 1 << 16], ids=lambda size: f"by {size}")
@pytest.mark.parametrize(("name", "body", "status"), HOSTILE, ids=[h[0] for h in HOSTILE])
async def test_a_form_that_is_none_is_refused(
    api: Api, name: str, body: bytes, status: int, size: int
) -> None:
    if size == 1 and len(body) > 10_000:
        size = 1000

    async def sent() -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with api.client() as http:
        answer = await http.post("/files", content=sent(), headers=headers)
        listed = (await http.get("/files")).json()["data"]

    assert answer.status_code == status, f"{name}: {answer.text}"
    assert listed == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "multipart/form-data; boundary=" + "b" * 100},
        {"Content-Type": "multipart/form-data; boundary=b", "Content-Encoding": "gzip"},
    ],
)
async def test_what_calls_itself_no_form_is_refused(api: Api, headers: dict[str, str]) -> None:
    async with api.client() as http:
        answer = await http.post("/files", content=FILE + PURPOSE + END, headers=headers)

    assert answer.status_code == 400


async def test_a_form_without_a_length_and_in_any_order_is_taken(api: Api) -> None:
    async def sent() -> AsyncIterator[bytes]:
        for byte in FILE + PURPOSE + END:
            yield bytes([byte])

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with api.client() as http:
        answer = await http.post("/files", content=sent(), headers=headers)

    assert answer.status_code == 200 and answer.json()["bytes"] == 5


@pytest.mark.parametrize(("seconds", "status"), [("3600", 200), ("10", 422), ("x", 422)])
async def test_a_file_may_be_kept_for_less_long(api: Api, seconds: str, status: int) -> None:
    more = {"expires_after[anchor]": "created_at", "expires_after[seconds]": seconds}
    answer = await uploaded(api, **more)

    assert answer.status_code == status
    if status == 200:
        made = answer.json()
        assert made["expires_at"] - made["created_at"] == 3600
        api.scene.clock.advance(3600)
        async with api.client() as http:
            assert (await http.get(f"/files/{made['id']}")).status_code == 404


async def test_files_are_listed_page_by_page(api: Api) -> None:
    made = []
    for number in range(3):
        made.append((await uploaded(api, str(number).encode())).json()["id"])
        api.scene.clock.advance(1)
    async with api.client() as http:

        async def page(**params: Any) -> Any:
            return (await http.get("/files", params=params)).json()

        first = await page(limit=2)
        rest = await page(limit=2, after=first["last_id"])
        upwards = await page(order="asc")

    assert [one["id"] for one in first["data"]] == [made[2], made[1]] and first["has_more"]
    assert [one["id"] for one in rest["data"]] == [made[0]] and not rest["has_more"]
    assert [one["id"] for one in upwards["data"]] == made


def test_a_link_is_good_for_one_file_and_a_while() -> None:
    links = Links(bytes(32))
    file = ids.file_id("file_" + "a" * 32)
    until, signature = links.path(file, START + timedelta(hours=1)).split("/")[-2:]

    links.check(file, int(until), signature, START)
    for wrong in (
        (ids.file_id("file_" + "b" * 32), int(until), signature, START),
        (file, int(until) + 1, signature, START),
        (file, int(until), signature[:-1] + "é", START),
        (file, int(until), signature, START + timedelta(hours=1)),
    ):
        with pytest.raises(NotFound):
            links.check(*wrong)
    with pytest.raises(NotFound):
        Links(bytes(31) + b"x").check(file, int(until), signature, START)


async def test_nothing_stays_under_way(api: Api) -> None:
    await uploaded(api)
    await uploaded(api, b"")

    state = api.scene.store._state
    assert {blob.state for blob in state.blobs} == {BlobState.STORED, BlobState.LEAVING}


async def sent_under(
    api: Api, key: str, data: bytes, name: str = "a.txt", secret: str | None = None
) -> httpx.Response:
    async with api.client(secret) as http:
        return await http.post(
            "/files",
            files={"file": (name, data)},
            data={"purpose": "user_data"},
            headers={"Idempotency-Key": key},
        )


async def test_an_upload_sent_again_under_its_key_is_one_file(api: Api) -> None:
    first = await sent_under(api, "mine", b"hello")
    again = await sent_under(api, "mine", b"hello")
    other_key = await sent_under(api, "other", b"hello")
    async with api.client() as http:
        listed = (await http.get("/files")).json()["data"]

    assert first.json() == again.json() and first.status_code == again.status_code == 200
    assert other_key.json()["id"] != first.json()["id"]
    assert len(listed) == 2


@pytest.mark.parametrize(("data", "name"), [(b"other", "a.txt"), (b"hello", "b.txt")])
async def test_another_file_under_a_used_key_is_a_409(api: Api, data: bytes, name: str) -> None:
    await sent_under(api, "mine", b"hello")

    refused = await sent_under(api, "mine", data, name)

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_mismatch")
    async with api.client() as http:
        assert len((await http.get("/files")).json()["data"]) == 1


async def test_a_file_that_was_deleted_may_be_sent_again_under_its_key(api: Api) -> None:
    first = (await sent_under(api, "mine", b"hello")).json()
    async with api.client() as http:
        await http.delete(f"/files/{first['id']}")

    again = await sent_under(api, "mine", b"hello")

    assert (again.status_code, again.json()["id"]) == (200, first["id"])


async def test_a_key_of_somebody_else_leads_to_nothing_of_theirs(api: Api) -> None:
    first = (await sent_under(api, "mine", b"hello")).json()
    _, _, stranger = await api.another()

    theirs = await sent_under(api, "mine", b"hello", secret=stranger)

    assert theirs.status_code == 200 and theirs.json()["id"] != first["id"]
