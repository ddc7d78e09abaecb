"""Encodes request bodies. Values are encoded in the connection's data format, text and bytes are sent unchanged, and
files and iterators are sent in pieces.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from io import SEEK_END, SEEK_SET, TextIOBase
from typing import Any

from twisted.internet.defer import Deferred

from zatotx.plugins.http.client.http_messages import BodySource
from zatotx.rules.routing.url_template import encode_query
from zatotx.wire import json_codec
from zatotx.wire.xml import parser

Offload = Callable[..., Deferred[Any]]

JSON, XML, FORM = 'json', 'xml', 'form'
CONTENT_TYPES: Mapping[str, bytes] = {
    JSON: b'application/json',
    XML: b'application/xml',
    FORM: b'application/x-www-form-urlencoded',
}
_TEXT, _BYTES = b'text/plain; charset=utf-8', b'application/octet-stream'
_VALUES = (dict, list)  # the usual types
_OCTETS = (bytes, bytearray, memoryview)
_PIECE_SIZE = 64 * 1024


def encode_body(data: Any, data_format: str, offload: Offload) -> tuple[bytes | BodySource | None, bytes]:
    """Encode the data of a call, and return the body and its content type; the body is None if there is no data.
    `offload(function, *args)` runs a function in a thread.

    Raises TypeError for data that the data format cannot represent, ValueError as the encoders do.
    """
    if type(data) is bytes:
        return data, CONTENT_TYPES.get(data_format, _BYTES)
    if isinstance(data, _VALUES):
        return _encode_value(data, data_format)
    if data is None or (isinstance(data, str) and not data):  # as in Zato, '' is no data
        return None, b''
    if isinstance(data, str):
        return data.encode('utf-8'), CONTENT_TYPES.get(data_format, _TEXT)
    if isinstance(data, _OCTETS):
        return bytes(data), CONTENT_TYPES.get(data_format, _BYTES)
    source = _source(data, offload)
    if source is not None:
        return source, CONTENT_TYPES.get(data_format, _BYTES)
    return _encode_value(data, data_format)


def _source(data: Any, offload: Offload) -> BodySource | None:
    if isinstance(data, AsyncIterable):
        return OneShotBody(aiter(data))
    if callable(getattr(data, 'read', None)):
        return FileBody(data, offload)
    return OneShotBody(_iterate_in_threads(data, offload)) if isinstance(data, Iterator) else None


def _encode_value(data: Any, data_format: str) -> tuple[bytes, bytes]:
    if parser.is_element(data):
        return parser.serialize_document(data), CONTENT_TYPES[XML]
    if data_format == XML:
        raise TypeError(f'data_format xml sends text, bytes and elements of lxml, not a {type(data).__name__}')
    if data_format == FORM:
        return encode_query(data), CONTENT_TYPES[FORM]
    if getattr(data, 'zato_model', False):  # a Model knows which of its fields are set
        return data.to_json().encode('utf-8'), CONTENT_TYPES[JSON]
    return json_codec.encode(data), CONTENT_TYPES[JSON]


class OneShotBody:
    """A request body that is produced by an iterator. It can be sent again only if sending has not started."""

    length = None

    def __init__(self, pieces: AsyncIterator[Any]) -> None:
        self._pieces = pieces
        self._begun = False

    @property
    def repeatable(self) -> bool:
        return not self._begun

    async def pieces(self) -> AsyncIterator[bytes]:
        self._begun = True
        async for piece in self._pieces:
            if piece:
                yield piece.encode('utf-8') if isinstance(piece, str) else piece


async def _iterate_in_threads(iterator: Iterator[Any], offload: Offload) -> AsyncIterator[Any]:
    """Iterate over a plain iterator, which may block: each step runs in a thread."""
    end = object()
    while (piece := await offload(next, iterator, end)) is not end:
        yield piece


class FileBody:
    """A request body that consists of the rest of a file from its current position. The file is read in threads, and is
    closed by the service that opened it."""

    def __init__(self, file: Any, offload: Offload) -> None:
        self._file = file
        self._offload = offload
        self._start, self.length = _extent(file)
        self._begun = False

    @property
    def repeatable(self) -> bool:
        return self._start is not None or not self._begun

    async def pieces(self) -> AsyncIterator[bytes]:
        if self._begun:
            await self._offload(self._file.seek, self._start, SEEK_SET)
        self._begun = True
        while piece := await self._offload(self._file.read, _PIECE_SIZE):
            yield piece.encode('utf-8') if isinstance(piece, str) else piece


def _extent(file: Any) -> tuple[int | None, int | None]:
    """Return the current position of a file, and the number of bytes that follow; None for what is not known."""
    try:
        if not file.seekable():
            return None, None
        start = file.tell()
        if isinstance(file, TextIOBase):
            return start, None  # text files count characters, not bytes
        end = file.seek(0, SEEK_END)
        file.seek(start, SEEK_SET)
    except (AttributeError, OSError, ValueError):
        return None, None
    return start, end - start
