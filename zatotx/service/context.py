"""Small values that services see on `self`: the channel, the deadline, the WSGI environ of a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zatotx.model.message import ChannelSpec, Message


class Channel(str):
    """The channel of a request; a string equal to Zato's constant for its kind ('http-soap', 'invoke' …)."""

    type: str
    name: str
    data_format: str

    @classmethod
    def from_spec(cls, spec: ChannelSpec) -> Channel:
        """Create the channel described by a ChannelSpec."""
        channel = cls(spec.kind)
        channel.type = spec.kind
        channel.name = spec.name
        channel.data_format = spec.data_format
        return channel


class Deadline:
    """The time by which the response of a request must be ready."""

    __slots__ = ('_seconds', 'at')

    def __init__(self, at: float, seconds: Callable[[], float]) -> None:
        self.at = at  # seconds on the reactor's clock
        self._seconds = seconds

    @property
    def remaining(self) -> float:
        """Seconds left until the deadline, never less than 0."""
        return max(0.0, self.at - self._seconds())

    @property
    def passed(self) -> bool:
        """Whether the deadline has passed."""
        return self._seconds() >= self.at

    def __float__(self) -> float:
        return self.at

    def __repr__(self) -> str:
        return f'<Deadline in {self.remaining:.3f} s>'


def wsgi_environ(message: Message) -> dict[str, Any]:
    """Return the HTTP part of a message as a WSGI environ, as in Zato; {} for messages from other channels."""
    http = message.http
    if http is None:
        return {}
    environ: dict[str, Any] = {
        'REQUEST_METHOD': http.method,
        'PATH_INFO': http.path,
        'QUERY_STRING': http.query.decode('latin-1'),
        'RAW_URI': http.target.decode('latin-1'),
        'REMOTE_ADDR': http.peer,
        'SERVER_PROTOCOL': f'HTTP/{http.version[0]}.{http.version[1]}',
        'zato.http.remote_addr': http.peer,
        'zato.http.channel_item': {'name': message.channel.name, 'data_format': message.channel.data_format},
    }
    for name, value in http.headers.items():
        key = name.decode('latin-1').upper().replace('-', '_')
        prefix = '' if key in ('CONTENT_TYPE', 'CONTENT_LENGTH') else 'HTTP_'
        environ[prefix + key] = value.decode('latin-1')
    return environ
