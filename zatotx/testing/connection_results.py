"""Test doubles of the values that connections return: HTTP responses and database rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec
from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from zatotx.model.errors import BadGateway
from zatotx.model.response import Headers, PeerResponse, to_model
from zatotx.wire.xml import parser


@frozen(kw_only=True)
class Response(PeerResponse):
    """The result of a call on a scripted HTTP connection. It has the attributes of `requests`, and `data`, which is the
    parsed body."""

    status_code: int = 200
    _data: Any = None
    text: str = ''
    headers: Mapping[str, str] = Headers()
    cid: str = ''
    connection_title: str = 'The scripted connection'
    _model: Any = None  # the type that `data` is converted to

    @property
    def data(self) -> Any:
        """The scripted value, converted to the call's model if it has one. Raises BadGateway if it does not match."""
        if self._model is None or (isinstance(self._model, type) and isinstance(self._data, self._model)):
            return self._data
        try:
            return to_model(self._data, self._model)
        except ValueError as error:
            raise BadGateway(self.cid, f'{self.connection_title} gave no usable answer: {error}') from None

    @property
    def content(self) -> bytes:
        """The body as bytes."""
        return self.text.encode('utf-8')

    @classmethod
    def of(cls, value: Any, *, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Create the response whose body is `value`: text, bytes and XML unchanged, anything else as JSON."""
        body = parser.serialize_document(value) if parser.is_element(value) else value
        if isinstance(body, bytes):
            text = body.decode('utf-8', 'replace')
        else:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode('utf-8')
        return cls(status_code=status_code, data=value, text=text, headers=Headers((headers or {}).items()))


@frozen(kw_only=True)
class StreamedResponse(Response):
    """The result of a scripted call with `stream=True`. The body is returned as a single chunk."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def __iter__(self) -> Iterator[bytes]:
        return iter([self.content] if self.text else [])

    async def aclose(self) -> None:
        """Stop reading."""

    def close(self) -> None:
        """Stop reading."""


def complete_response(value: Any, title: str, cid: str, options: Mapping[str, Any]) -> Any:
    """Convert a scripted value to the response that a call of an HTTP connection returns.

    A Response gets the name of the connection, and the model or stream that the call's options request.
    """
    if not isinstance(value, Response):
        return value
    response_class = StreamedResponse if options.get('stream') else Response
    return response_class(status_code=value.status_code, data=value._data, text=value.text, headers=value.headers,
                          cid=cid, connection_title=title, model=options.get('model'))  # fmt: skip


class Row:
    """A database row. As in SQLAlchemy, columns are accessible as attributes, by position, and in `_mapping`."""

    __slots__ = ('_mapping',)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._mapping = dict(values)

    def __getattr__(self, name: str) -> Any:
        if name == '_mapping':  # not set yet while the row is being copied
            raise AttributeError(name)
        try:
            return self._mapping[name]
        except KeyError:
            raise AttributeError(f'The row has no column {name}: it has {", ".join(self._mapping)}') from None

    def __getitem__(self, position: int) -> Any:
        return tuple(self._mapping.values())[position]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping.values())

    def __len__(self) -> int:
        return len(self._mapping)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == (tuple(other) if isinstance(other, Row) else other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f'Row({self._mapping!r})'


def to_rows(value: Any) -> Any:
    """Convert a list of dicts to rows, and a dict to one row.

    Other values, the results of other statements, are returned unchanged.
    """
    if isinstance(value, Mapping):
        return Row(value)
    if isinstance(value, list):
        return [Row(item) if isinstance(item, Mapping) else item for item in value]
    return value


def copy_containers(value: Any) -> Any:
    """Return a copy of all dicts, lists and tuples in a value, so that later changes of the original do not affect the
    copy."""
    if type(value) is dict:
        return {key: copy_containers(item) for key, item in value.items()}
    if type(value) is list:
        return [copy_containers(item) for item in value]
    if type(value) is tuple:
        return tuple(copy_containers(item) for item in value)
    return value


class ScriptedResult(Protocol):
    """The interface of the result of a scripted call, which is immediate, delayed, or missing."""

    async def run(self, call: Any, cid: str, clock: IReactorTime) -> Any: ...


@define(frozen=True)
class ImmediateResult:
    """A scripted result that is returned immediately. A function may compute the result for the call."""

    make: Callable[[Any], Any]
    make_error: Callable[[str], Exception] | None = None

    @classmethod
    def raising(cls, fault: Callable[[str], Exception]) -> ImmediateResult:
        """Create a result that raises an error naming the request."""
        return cls(lambda call: None, fault)

    async def run(self, call: Any, cid: str, clock: IReactorTime) -> Any:
        if self.make_error is not None:
            raise self.make_error(cid)
        return self.make(call)


@define(frozen=True)
class DelayedResult:
    """A scripted result that is returned after some seconds."""

    seconds: float
    result: ScriptedResult

    async def run(self, call: Any, cid: str, clock: IReactorTime) -> Any:
        if self.seconds > 0:
            await deferLater(clock, self.seconds)
        return await self.result.run(call, cid, clock)


@define(frozen=True)
class NeverCompletingResult:
    """The result of a scripted call that never returns. The call waits until the caller cancels it."""

    async def run(self, call: Any, cid: str, clock: IReactorTime) -> Any:
        return await Deferred()
