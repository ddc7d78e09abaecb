"""What a call gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from zatotx.model.errors import BadGateway
from zatotx.model.response import Headers, PeerResponse, to_model
from zatotx.plugins.http.client.call import HttpResponse
from zatotx.plugins.http.rest.request_body import XML
from zatotx.plugins.http.rest.response_parsing import format_of, text_of, value_of

_UNREAD: Any = object()


class Response(PeerResponse):
    """The answer of a peer. Its body is looked at when it is asked for, in the thread that asks."""

    __slots__ = ('_answer', '_data', '_format', '_headers', '_model', '_value', 'cid', 'status_code', 'title')

    def __init__(self, answer: HttpResponse, data_format: str, model: Any) -> None:
        self._answer = answer
        self._format = data_format
        self._model = model
        self._headers: Headers | None = None
        self._data: Any = _UNREAD
        self._value: Any = _UNREAD  # before it becomes a model
        self.status_code: int = answer.head.status
        self.title = ''
        self.cid = ''

    @property
    def headers(self) -> Headers:
        """Its fields, by name in whatever case."""
        found = self._headers
        if found is None:
            raw = self._answer.head.raw_headers
            found = self._headers = Headers((name.decode('latin-1'), value.decode('latin-1')) for name, value in raw)
        return found

    @property
    def content_type(self) -> str:
        """The field of that name, '' where there is none."""
        return self._kind.decode('latin-1')

    @property
    def _kind(self) -> bytes:
        return self._answer.head.headers.get(b'content-type', b'')

    @property
    def reason(self) -> str:
        """The status in words: the peer's."""
        return self._answer.head.reason.decode('latin-1') or super().reason

    @property
    def content(self) -> bytes:
        """The body. Raises TypeError where it is streamed."""
        body = self._answer.body
        if isinstance(body, bytes):
            return body
        raise TypeError('The answer is streamed: its body is read by `async for`, in a def service by `for`')

    @property
    def text(self) -> str:
        """The body as text, in the charset that its Content-Type names, or else UTF-8."""
        answer = self._answer
        body = answer.body if isinstance(answer.body, bytes) else self.content
        return text_of(body, answer.head.headers.get(b'content-type', b''))

    @property
    def data(self) -> Any:
        """The body as the value that it stands for: of JSON, XML (an lxml.objectify element) or a form, else text or
        bytes; as the call's model, where it has one. None where there is no body.

        Raises BadGateway, naming the connection, where it cannot be read so.
        """
        if self._data is _UNREAD:
            self._data = self._read()
        return self._data

    @property
    def format(self) -> str:
        """How `data` reads the body."""
        return format_of(self._kind, self._format)

    async def read_in_thread(self, offload: Callable[..., Any]) -> None:
        """Read a long body before it is asked for, where that need not hold up the reactor."""
        if self.format == XML:
            try:
                self._value = await offload(value_of, self.content, XML, self._kind)
            except ValueError as wrong:
                self._value = wrong  # told to who asks for it

    def _read(self) -> Any:
        try:
            value = self._value
            if value is _UNREAD:
                kind = self._kind
                value = value_of(self.content, format_of(kind, self._format), kind)
            elif isinstance(value, ValueError):
                raise value
            return value if self._model is None else to_model(value, self._model)
        except ValueError as wrong:
            raise BadGateway(self.cid, f'{self.title} gave no usable answer: {wrong}') from None

    def __repr__(self) -> str:
        return f'<Response {self.status_code} of {self.title}>'


class StreamedResponse(Response):
    """An answer whose body comes piece by piece: `async for piece in response`; in a def service `for piece in …`.

    It may be handed to self.response.stream. Whoever does not read it to its end closes it; one that is forgotten is
    closed when nobody can reach it any more.
    """

    __slots__ = ('_next', '_shut')

    def __init__(self, answer: HttpResponse, data_format: str, model: Any) -> None:
        super().__init__(answer, data_format, model)
        self._next: Callable[[], Any] = _nothing
        self._shut: Callable[[], None] | None = None

    def bind(self, following: Callable[[], Any], shut: Callable[[], None]) -> None:
        """`following()`: the next piece as the service gets it, an awaitable or itself, b'' at the end; `shut` ends
        it, from any thread."""
        self._next, self._shut = following, shut

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece: bytes = await self._next()
        if not piece:
            self._shut = None
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            piece = self._next()
            if isinstance(piece, Awaitable):
                if hasattr(piece, 'close'):
                    piece.close()
                raise TypeError('A service with async def reads the body by `async for`')
            if not piece:
                self._shut = None
                return
            yield piece

    def close(self) -> None:
        """Read no more."""
        shut, self._shut = self._shut, None
        if shut is not None:
            shut()

    def __del__(self) -> None:
        self.close()


def _nothing() -> bytes:
    return b''
