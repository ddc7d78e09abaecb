"""Values that stand for what connections give: HTTP responses and rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec
from attrs import frozen

from zatotx.model.errors import BadGateway
from zatotx.model.response import Headers, PeerResponse, to_model
from zatotx.wire.xml import parser

HTTP_KINDS = frozenset(('rest', 'soap'))


@frozen(kw_only=True)
class Response(PeerResponse):
    """What a call of an HTTP connection gives: names as in `requests`, and `data`, the parsed body."""

    status_code: int = 200
    _data: Any = None
    text: str = ''
    headers: Mapping[str, str] = Headers()
    cid: str = ''
    title: str = 'The scripted connection'
    _model: Any = None  # what `data` is to be

    @property
    def data(self) -> Any:
        """The value that was scripted, as the call's model where it has one. Raises BadGateway where that does not
        fit."""
        if self._model is None or (isinstance(self._model, type) and isinstance(self._data, self._model)):
            return self._data
        try:
            return to_model(self._data, self._model)
        except ValueError as wrong:
            raise BadGateway(self.cid, f'{self.title} gave no usable answer: {wrong}') from None

    @property
    def content(self) -> bytes:
        """The body."""
        return self.text.encode('utf-8')

    @classmethod
    def of(cls, value: Any, *, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """The response whose body is `value`: text, bytes and XML as they are, anything else as JSON."""
        written = parser.to_bytes(value) if parser.is_element(value) else value
        if isinstance(written, bytes):
            text = written.decode('utf-8', 'replace')
        else:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode('utf-8')
        return cls(status_code=status_code, data=value, text=text, headers=Headers((headers or {}).items()))


@frozen(kw_only=True)
class StreamedResponse(Response):
    """What a call with `stream=True` gives: its body is read piece by piece, here in one."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def __iter__(self) -> Iterator[bytes]:
        return iter([self.content] if self.text else [])

    async def aclose(self) -> None:
        """As `close`."""

    def close(self) -> None:
        """Read no more."""


def answered(value: Any, title: str, cid: str, options: Mapping[str, Any]) -> Any:
    """A value as the call of a connection gives it: a response says whose it is, and what it answers, and is what the
    call's options ask for: a model, a stream."""
    if not isinstance(value, Response):
        return value
    kind = StreamedResponse if options.get('stream') else Response
    return kind(status_code=value.status_code, data=value._data, text=value.text, headers=value.headers, cid=cid,
                title=title, model=options.get('model'))  # fmt: skip


class Row:
    """A row of a database: its columns as attributes, by position and by `_mapping`, as SQLAlchemy's."""

    __slots__ = ('_mapping',)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._mapping = dict(values)

    def __getattr__(self, name: str) -> Any:
        if name == '_mapping':  # while it is being copied
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


def rows(value: Any) -> Any:
    """Rows of a list of dicts, one row of a dict; anything else is what a statement gives by itself."""
    if isinstance(value, Mapping):
        return Row(value)
    if isinstance(value, list):
        return [Row(item) if isinstance(item, Mapping) else item for item in value]
    return value


def snapshot(value: Any) -> Any:
    """The value with its dicts, lists and tuples copied, so that later changes of the original do not show."""
    if type(value) is dict:
        return {key: snapshot(item) for key, item in value.items()}
    if type(value) is list:
        return [snapshot(item) for item in value]
    if type(value) is tuple:
        return tuple(snapshot(item) for item in value)
    return value
