"""Implements `self.response`: the response of a service."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from typing import Any

from zatotx.service.io.elements import to_mapping
from zatotx.service.lazy_attribute import lazy_attribute
from zatotx.service.server_sent_events import HEARTBEAT_INTERVAL
from zatotx.service.soap import SoapResponse
from zatotx.wire.http.sse import CONTENT_TYPE

_set = object.__setattr__


class Payload:
    """The object `response.payload` of a service that declares its output by names.

    It supports attributes, keys, `[:] =` and `append`. Names that are not declared are ignored when the response is
    serialized.
    """

    __slots__ = ('_items', '_values')
    _values: dict[str, Any]
    _items: list[Any] | None

    def __init__(self) -> None:
        _set(self, '_values', {})
        _set(self, '_items', None)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f'{name} was not set on the response yet') from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __getitem__(self, key: Any) -> Any:
        return self._values[key] if isinstance(key, str) else self.all()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, str):
            self._values[key] = value
        else:
            self.all()[key] = value

    def __len__(self) -> int:
        return len(self._values if self._items is None else self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values if self._items is None else self._items)

    def __contains__(self, name: object) -> bool:
        return name in (self._values if self._items is None else self._items)

    def all(self) -> list[Any]:
        """Return the list of items of a repeated output."""
        items = self._items
        if items is None:
            items = []
            _set(self, '_items', items)
        return items

    def append(self, item: Any) -> None:
        """Add one item to a repeated output."""
        self.all().append(item)

    def extend(self, items: Iterable[Any]) -> None:
        """Add several items to a repeated output."""
        self.all().extend(items)

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several names at once."""
        self._values.update(values)


def payload_content(payload: Payload) -> Any:
    """Return the content of a Payload, which is its list of items if it has one, and otherwise its values by name."""
    return payload._values if payload._items is None else payload._items


def make_payload(value: Any, names: Iterable[str], repeated: bool) -> Payload:
    """Create a Payload from a complete value. The value is a dict, Struct, dataclass or row, or a list of these."""
    payload = Payload()
    if isinstance(value, Payload):
        return value
    if repeated and not isinstance(value, Mapping) and isinstance(value, Iterable):
        payload.extend(value)
        return payload
    mapping = to_mapping(value)
    if mapping is None:
        mapping = {name: getattr(value, name) for name in names if hasattr(value, name)}
    payload.update(mapping)
    return payload


class Response:
    """The response of a service. Values that are not set get the defaults of the serializer and of HTTP."""

    # Defaults are class attributes, which keeps instances cheap to create.
    status_code: int = 200
    content_type: str = ''  # overrides the serializer's
    content_encoding: str = ''
    data_format: str = ''
    result: str = 'ZATO_OK'
    result_details: str = ''
    chunks: AsyncIterable[Any] | Iterable[Any] | None = None
    heartbeat: float = 0.0  # seconds; above 0 the chunks are server-sent events
    _payload: Any = ''
    _headers: dict[str, str] | None = None
    _output: Any = None  # the declaration of the output, set by `make_response`

    soap: lazy_attribute[SoapResponse] = lazy_attribute(
        lambda self: SoapResponse(), 'The SOAP envelope of the response: headers.'
    )

    @property
    def payload(self) -> Any:
        """The body: any value; if output is declared by names, an object whose attributes are those names."""
        if self._output is not None and type(self._payload) is str and not self._payload:
            self._payload = Payload()
        return self._payload

    @payload.setter
    def payload(self, value: Any) -> None:
        output = self._output
        if output is None or isinstance(value, (str, bytes)):
            self._payload = value
        elif output.fields and not hasattr(output, 'model'):
            names = [field.name for field in output.fields]
            self._payload = make_payload(value, names, output.repeated)
        else:
            self._payload = value

    @payload.deleter
    def payload(self) -> None:
        self._payload = ''

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP header fields of the response."""
        if self._headers is None:
            self._headers = {}
        return self._headers

    @headers.setter
    def headers(self, value: Mapping[str, str]) -> None:
        self._headers = dict(value)

    def stream(self, chunks: AsyncIterable[Any] | Iterable[Any], content_type: str = '') -> None:
        """Respond with chunks (bytes, or text encoded as UTF-8) as they become available, instead of a payload.

        A plain iterator is read in the service threads, so it may block.
        """
        self.chunks = chunks
        if content_type:
            self.content_type = content_type

    def events(self, events: AsyncIterable[Any] | Iterable[Any], heartbeat: float = HEARTBEAT_INTERVAL) -> None:
        """Respond with server-sent events as they become available: each an Event, or its data (text, otherwise JSON).

        A comment is sent whenever there was no event for `heartbeat` seconds.
        """
        if heartbeat <= 0:
            raise ValueError(f'heartbeat={heartbeat}: it must be above 0 seconds')
        self.stream(events, CONTENT_TYPE)
        self.heartbeat = heartbeat
        for name, value in (('Cache-Control', 'no-cache'), ('X-Accel-Buffering', 'no')):  # the latter is read by nginx
            self.headers.setdefault(name, value)


def make_response(output: Any) -> Response:
    """Create the response of a service that declares the given output. `output` is None if no output is declared."""
    response = Response()
    if output is not None:
        response._output = output
    return response
