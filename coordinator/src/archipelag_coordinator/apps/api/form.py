"""Reads a multipart form as it arrives: small fields as text, one file as a stream that nobody holds whole.

A library splits the bytes; here stand the limits. What comes out of order, twice or too large ends the request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser
from starlette.requests import Request

from archipelag_coordinator.apps.api.errors import BadRequest
from archipelag_coordinator.apps.bodies import in_pieces
from archipelag_coordinator.errors import InvalidInput

FIELDS_MAX: Final = 32
FIELD_BYTES_MAX: Final = 32 * 1024
HEADER_BYTES_MAX: Final = 4096
HEADERS_MAX: Final = 8
BESIDE_BYTES_MAX: Final = 1 << 20
"""Of all that is not the file: fields, headers, and what comes after the last part."""

_CALLBACKS: Final = (
    "on_part_begin",
    "on_part_data",
    "on_part_end",
    "on_header_field",
    "on_header_value",
    "on_header_end",
    "on_headers_finished",
    "on_end",
)


@dataclass(frozen=True)
class FileHead:
    """What the sender says of the file."""

    name: str
    media_type: str


class Form:
    """Guards one request's form. Iterate `file` to its end, then `fields` are complete."""

    def __init__(self, request: Request, *, file_field: str = "file") -> None:
        self._body = in_pieces(request, request.app.state.settings.bodies)
        self._file_field = file_field
        self.fields: dict[str, str] = {}
        self.head: FileHead | None = None
        self._ready: deque[bytes] = deque()
        self._name = ""
        self._value = bytearray()
        self._headers: dict[str, str] = {}
        self._header = (bytearray(), bytearray())
        self._in_file = False
        self._ended = False
        self._parser = _parser(request, self)

    async def file(self) -> AsyncIterator[bytes]:
        """The file's bytes. Reads the form to its end. Raises BadRequest, InvalidInput, TooSlow."""
        beside = 0
        async for data in self._body:
            self._feed(data)
            beside += len(data)
            while self._ready:
                part = self._ready.popleft()
                beside -= len(part)
                yield part
            if beside > BESIDE_BYTES_MAX:
                raise BadRequest("the form is not one of a file and a few fields")
        if not self._ended:
            raise BadRequest("the form ends in the middle")
        if self.head is None:
            raise InvalidInput({self._file_field: ["is required: a file"]})

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise BadRequest(f"the form cannot be read: {str(error)[:200]}") from None

    # --- Called by the parser ---------------------------------------------------------------------------------------

    def on_part_begin(self) -> None:
        self._headers, self._value, self._name = {}, bytearray(), ""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._add(self._header[0], data[start:end], HEADER_BYTES_MAX)

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._add(self._header[1], data[start:end], HEADER_BYTES_MAX)

    def on_header_end(self) -> None:
        name, value = (bytes(part).decode("utf-8", "replace") for part in self._header)
        self._header = (bytearray(), bytearray())
        self._headers[name.lower()] = value
        if len(self._headers) > HEADERS_MAX:
            raise BadRequest("a part of the form has too many headers")

    def on_headers_finished(self) -> None:
        said = Message()
        given = self._headers.get("content-disposition", "")
        said["content-disposition"] = given.replace("\r", " ").replace("\n", " ")
        name = said.get_param("name", header="content-disposition")
        self._name = name if isinstance(name, str) else ""
        if not self._name or len(self._name) > 100:
            raise BadRequest("a part of the form has no name")
        file_name = said.get_filename()
        self._in_file = self._name == self._file_field and file_name is not None
        if self._in_file:
            if self.head is not None:
                raise InvalidInput({self._file_field: ["one file a request"]})
            media_type = self._headers.get("content-type", "")[:100]
            self.head = FileHead(str(file_name)[:1000], media_type)
        elif self._name.endswith("[]") and self._name in self.fields:
            self._value += self.fields[self._name].encode() + b","
        elif self._name in self.fields or len(self.fields) >= FIELDS_MAX:
            raise InvalidInput(
                {self._name[:64]: [f"once in a form of at most {FIELDS_MAX} fields"]}
            )

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._ready.append(data[start:end])
        else:
            self._add(self._value, data[start:end], FIELD_BYTES_MAX)

    def on_part_end(self) -> None:
        if self._in_file:
            self._in_file = False
            return
        try:
            text = self._value.decode()
        except UnicodeDecodeError:
            raise InvalidInput({self._name: ["must be text in UTF-8"]}) from None
        if "\x00" in text:
            raise InvalidInput({self._name: ["has a NUL character, which is not text"]})
        self.fields[self._name] = text

    def on_end(self) -> None:
        self._ended = True

    @staticmethod
    def _add(to: bytearray, data: bytes, limit: int) -> None:
        to += data
        if len(to) > limit:
            raise BadRequest(f"a field of the form has more than {limit} bytes")


def _parser(request: Request, form: Form) -> MultipartParser:
    told = Message()
    told["content-type"] = request.headers.get("content-type", "")
    boundary = told.get_param("boundary")
    if told.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise BadRequest("send a form: Content-Type multipart/form-data with its boundary")
    if not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise BadRequest("the boundary of the form must have 1 to 70 ASCII characters")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise BadRequest("Content-Encoding: send the body as it is, not compressed")
    callbacks: Any = {name: getattr(form, name) for name in _CALLBACKS}
    return MultipartParser(boundary.encode(), callbacks)
