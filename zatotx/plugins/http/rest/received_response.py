"""The response to a REST call. The body is decoded according to its Content-Type, or to the data format of the
connection if there is no Content-Type."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import lru_cache
from typing import Any

from zatotx.model.errors import BadGateway
from zatotx.model.response import Headers, PeerResponse, to_model
from zatotx.plugins.http.client.http_messages import HttpResponse
from zatotx.plugins.http.rest.outgoing_body import FORM, JSON, XML
from zatotx.wire import json_codec
from zatotx.wire.http import urlencoded
from zatotx.wire.malformed import Malformed
from zatotx.wire.xml import parser

TEXT, BYTES = 'text', 'bytes'
_FORMAT_NAMES = {JSON: 'JSON', XML: 'XML', FORM: 'a form'}
# Content types that tell nothing about the body: peers use them for all formats.
_UNSPECIFIC_TYPES = frozenset(('', 'text/plain', 'application/octet-stream', 'binary/octet-stream'))
_MAX_PAIRS = 100_000
THREAD_THRESHOLD = 256 * 1024  # bytes of XML above which it is parsed in a thread: lxml releases the GIL
_UNREAD: Any = object()


@lru_cache(maxsize=256)
def response_format(content_type: bytes, data_format: str) -> str:
    """Return the data format of a response body. `data_format` is the data format of the connection, which applies to
    responses without a Content-Type."""
    media_type = content_type.decode('latin-1').partition(';')[0].strip().lower()
    if media_type in _UNSPECIFIC_TYPES:
        return data_format or (TEXT if media_type == 'text/plain' else BYTES)
    if media_type.endswith(('/json', '+json')):
        return JSON
    if media_type.endswith(('/xml', '+xml')):
        return XML
    if media_type == 'application/x-www-form-urlencoded':
        return FORM
    return TEXT if media_type.startswith('text/') else BYTES


def decode_response_value(body: bytes, data_format: str, content_type: bytes) -> Any:
    """Decode a body and return its value, or None if it is empty. Raises ValueError, whose message completes a sentence
    that begins with the name of the response."""
    if not body:
        return None
    try:
        if data_format == JSON:
            return json_codec.decode(body)
        if data_format == XML:
            return parser.parse_document(body, parser.content_type_charset(content_type))
        if data_format == FORM:
            return urlencoded.decode_form(body, _MAX_PAIRS)
    except Malformed as error:
        raise ValueError(f'it is not {_FORMAT_NAMES[data_format]}: {error}') from None
    return decode_response_text(body, content_type) if data_format == TEXT else body


def decode_response_text(body: bytes, content_type: bytes) -> str:
    """Decode a body to text, with the charset of its Content-Type, or UTF-8 if there is no known charset. Invalid bytes
    become U+FFFD."""
    try:
        return body.decode(_charset(content_type), 'replace')
    except (LookupError, ValueError):
        return body.decode('utf-8', 'replace')


@lru_cache(maxsize=256)
def _charset(content_type: bytes) -> str:
    charset = 'utf-8'
    for parameter in content_type.decode('latin-1').split(';')[1:]:
        name, _, value = parameter.partition('=')
        if name.strip().lower() == 'charset':
            charset = value.strip().strip('"\'')
    return charset


class RestResponse(PeerResponse):
    """The response of a peer to a REST call. The body is decoded when it is first accessed, in the thread that accesses
    it."""

    __slots__ = (
        '_data',
        '_format',
        '_headers',
        '_model',
        '_response',
        '_value',
        'cid',
        'connection_title',
        'status_code',
    )

    def __init__(self, response: HttpResponse, data_format: str, model: Any) -> None:
        self._response = response
        self._format = data_format
        self._model = model
        self._headers: Headers | None = None
        self._data: Any = _UNREAD
        self._value: Any = _UNREAD  # before conversion to the model
        self.status_code: int = response.head.status
        self.connection_title = ''
        self.cid = ''

    @property
    def headers(self) -> Headers:
        """The header fields; names are case-insensitive."""
        headers = self._headers
        if headers is None:
            raw = self._response.head.raw_headers
            headers = self._headers = Headers((name.decode('latin-1'), value.decode('latin-1')) for name, value in raw)
        return headers

    @property
    def content_type(self) -> str:
        """The Content-Type field; '' if there is none."""
        return self._raw_content_type.decode('latin-1')

    @property
    def _raw_content_type(self) -> bytes:
        return self._response.head.headers.get(b'content-type', b'')

    @property
    def reason(self) -> str:
        """The reason phrase of the status line."""
        return self._response.head.reason.decode('latin-1') or super().reason

    @property
    def content(self) -> bytes:
        """The body. Raises TypeError for a streamed response."""
        body = self._response.body
        if isinstance(body, bytes):
            return body
        raise TypeError('The answer is streamed: its body is read by `async for`, in a def service by `for`')

    @property
    def text(self) -> str:
        """The body as text, in the charset of its Content-Type, by default UTF-8."""
        response = self._response
        body = response.body if isinstance(response.body, bytes) else self.content
        return decode_response_text(body, response.head.headers.get(b'content-type', b''))

    @property
    def data(self) -> Any:
        """The decoded body: of JSON, XML (an lxml.objectify element) or a form, else text or bytes; converted to the
        call's model, if it has one. None if the body is empty.

        Raises BadGateway, which names the connection, if it cannot be decoded.
        """
        if self._data is _UNREAD:
            self._data = self._read()
        return self._data

    @property
    def format(self) -> str:
        """The data format in which `data` decodes the body."""
        return response_format(self._raw_content_type, self._format)

    async def read_in_thread(self, offload: Callable[..., Any]) -> None:
        """Decode a long body in a thread before it is accessed, if that keeps the reactor free."""
        if self.format == XML:
            try:
                self._value = await offload(decode_response_value, self.content, XML, self._raw_content_type)
            except ValueError as error:
                self._value = error  # raised when it is accessed

    def _read(self) -> Any:
        try:
            value = self._value
            if value is _UNREAD:
                content_type = self._raw_content_type
                value = decode_response_value(self.content, response_format(content_type, self._format), content_type)
            elif isinstance(value, ValueError):
                raise value
            return value if self._model is None else to_model(value, self._model)
        except ValueError as error:
            raise BadGateway(self.cid, f'{self.connection_title} gave no usable answer: {error}') from None

    def __repr__(self) -> str:
        return f'<Response {self.status_code} of {self.connection_title}>'


class StreamedRestResponse(RestResponse):
    """A REST response whose body is streamed. Use `async for piece in response` in an async service, and `for piece in
    response` in a synchronous service.

    It may be passed to self.response.stream. Close a response that is not read to its end; a forgotten one is closed
    when it is garbage collected.
    """

    __slots__ = ('_close', '_next')

    def __init__(self, response: HttpResponse, data_format: str, model: Any) -> None:
        super().__init__(response, data_format, model)
        self._next: Callable[[], Any] = _empty
        self._close: Callable[[], None] | None = None

    def set_source(self, next_piece: Callable[[], Any], close: Callable[[], None]) -> None:
        """Set the source: `next_piece()` returns the next piece, as an awaitable or directly, b'' at the end; `close`
        closes it, from any thread."""
        self._next, self._close = next_piece, close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece: bytes = await self._next()
        if not piece:
            self._close = None
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """See `close`."""
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            piece = self._next()
            if isinstance(piece, Awaitable):
                if hasattr(piece, 'close'):
                    piece.close()
                raise TypeError('A service with async def reads the body by `async for`')
            if not piece:
                self._close = None
                return
            yield piece

    def close(self) -> None:
        """Stop reading, and close the connection."""
        shut, self._close = self._close, None
        if shut is not None:
            shut()

    def __del__(self) -> None:
        self.close()


def _empty() -> bytes:
    return b''
