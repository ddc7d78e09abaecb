"""Values that services see on `self`: channel, deadline, WSGI environ, logger, `time` and `user_config`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from configparser import ConfigParser
from configparser import Error as ParserError
from pathlib import Path
from typing import Any

from zatotx.model.message import ChannelSpec, Message
from zatotx.service.compat.bunch import Bunch


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


class ServiceLogger(logging.LoggerAdapter[logging.Logger]):
    """A LoggerAdapter that adds the attributes `service` and `cid` to each record, for the log format."""

    def __init__(self, service: str, cid: str) -> None:
        super().__init__(logging.getLogger(service), {'service': service, 'cid': cid})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        extra = kwargs.get('extra')
        kwargs['extra'] = {**self.extra, **extra} if extra and self.extra else self.extra
        return msg, kwargs


DATETIME_FORMAT = 'YYYY-MM-DD HH:mm:ss'
DATE_FORMAT = 'YYYY-MM-DD'


class TimeUtil:
    """Current and other times as text. The formats are Arrow's: https://arrow.readthedocs.io, *Supported tokens*."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now  # seconds since 1970, UTC

    def _at(self, tz: str) -> Any:
        import arrow  # imported on demand, as it takes tens of milliseconds

        return arrow.get(self._now(), tzinfo=tz)

    def now(self, format: str = DATETIME_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the current time in a time zone; an Arrow object with `needs_format=False`."""
        return self._at(tz).format(_check_format(format)) if needs_format else self._at(tz)

    def utcnow(self, format: str = DATETIME_FORMAT, needs_format: bool = True) -> Any:
        """Return the current time in UTC; an Arrow object with `needs_format=False`."""
        return self.now(format, 'UTC', needs_format)

    def today(self, format: str = DATE_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the current date in a time zone; its midnight as an Arrow object with `needs_format=False`."""
        midnight = self._at(tz).floor('day')
        return midnight.format(_check_format(format)) if needs_format else midnight

    def yesterday(self, format: str = DATE_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the previous date in a time zone; its midnight as an Arrow object with `needs_format=False`."""
        midnight = self._at(tz).floor('day').shift(days=-1)
        return midnight.format(_check_format(format)) if needs_format else midnight

    def reformat(self, value: str, from_: str, to: str) -> str:
        """Convert a time from one format to another. Raises ValueError if `value` does not match `from_`."""
        import arrow

        text: str = arrow.get(value, _check_format(from_)).format(_check_format(to))
        return text


def _check_format(format: str) -> str:
    """Reject Zato's `kvdb:<name>`, a format stored in Redis, because reading it would block."""
    if format.startswith('kvdb:'):
        raise ValueError(f'The time format {format!r} is kept in Redis, which self.time does not read: give it in full')
    return format


def load_user_config(files: Mapping[str, Path]) -> Bunch:
    """Load INI files by name, accessible as `self.user_config.<name>.<section>.<key>`.

    Values are text; keys keep their case. Blocks: call it outside the reactor's thread. Raises ValueError naming every
    file that cannot be read and the reason.
    """
    config = Bunch()
    errors: list[str] = []
    for name, path in files.items():
        parser = ConfigParser(interpolation=None, strict=True)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # keeps the case of keys
        try:
            parser.read_string(path.read_text('utf-8'), str(path))
        except OSError as error:
            errors.append(f'{path}: {error.strerror}')
            continue
        except (UnicodeDecodeError, ParserError) as error:
            errors.append(f'{path}: {" ".join(str(error).split())}')
            continue
        config[name] = Bunch((section, Bunch(parser.items(section))) for section in parser.sections())
    if errors:
        raise ValueError('User configuration cannot be read: ' + '; '.join(errors))
    return config
