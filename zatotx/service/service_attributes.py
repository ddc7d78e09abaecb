"""Defines attributes of `self` in services: the channel, the deadline, the WSGI environ, the logger, `time` and
`user_config`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from zatotx.model.message import ChannelSpec, Message
from zatotx.service.compat.bunch import Bunch
from zatotx.service.redis_coroutine_runner import RedisCoroutineRunner


class Channel(str):
    """The channel of a request. The object is a string that equals Zato's constant for the type of the channel
    ('http-soap', 'invoke' and others)."""

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
    """The time by which the response to a request must be ready."""

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
    """Convert the HTTP attributes of a message to a WSGI environ, as in Zato. Returns {} for messages that did not
    arrive over HTTP."""
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
    """A LoggerAdapter that adds the attributes `service` and `cid` to each record, for use in the log format."""

    def __init__(self, service: str, cid: str) -> None:
        super().__init__(logging.getLogger(service), {'service': service, 'cid': cid})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        extra = kwargs.get('extra')
        kwargs['extra'] = {**self.extra, **extra} if extra and self.extra else self.extra
        return msg, kwargs


DATETIME_FORMAT = 'YYYY-MM-DD HH:mm:ss'
DATE_FORMAT = 'YYYY-MM-DD'
STORED = 'kvdb:'  # begins the name of a format that is stored in Redis
STORED_KEY = 'kvdb:date-format:{}'


class TimeUtil:
    """Formats the current time and other times as text. The formats consist of the tokens of Arrow:
    https://arrow.readthedocs.io, *Supported tokens*.

    A format `kvdb:<name>` is stored in Redis under the key `kvdb:date-format:<name>`, as in Zato: with such a format,
    a call must be awaited in async services, and raises Timeout or ServiceUnavailable if Redis is unavailable.
    """

    def __init__(self, now: Callable[[], float], access: RedisCoroutineRunner | None = None) -> None:
        """`now` returns seconds since 1970, UTC. `access`: for stored formats."""
        self._now = now
        self._access = access

    def _at(self, tz: str) -> Any:
        import arrow  # imported on demand, as it takes tens of milliseconds

        return arrow.get(self._now(), tzinfo=tz)

    def now(self, format: str = DATETIME_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the current time in a time zone; an Arrow object with `needs_format=False`."""
        return self._apply(lambda text: self._at(tz).format(text), format) if needs_format else self._at(tz)

    def utcnow(self, format: str = DATETIME_FORMAT, needs_format: bool = True) -> Any:
        """Return the current time in UTC; an Arrow object with `needs_format=False`."""
        return self.now(format, 'UTC', needs_format)

    def today(self, format: str = DATE_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the current date in a time zone; its midnight as an Arrow object with `needs_format=False`."""
        midnight = self._at(tz).floor('day')
        return self._apply(midnight.format, format) if needs_format else midnight

    def yesterday(self, format: str = DATE_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the previous date in a time zone; its midnight as an Arrow object with `needs_format=False`."""
        midnight = self._at(tz).floor('day').shift(days=-1)
        return self._apply(midnight.format, format) if needs_format else midnight

    def reformat(self, value: str, from_: str, to: str) -> Any:
        """Convert a time from one format to another. Raises ValueError if `value` does not match `from_`."""
        import arrow

        return self._apply(lambda source, target: arrow.get(value, source).format(target), from_, to)

    def _apply(self, function: Callable[..., str], *formats: str) -> Any:
        """Call a function with formats, those stored in Redis after reading them."""
        if not any(one.startswith(STORED) for one in formats):
            return function(*formats)
        access = self._access
        if access is None:
            raise ValueError(f'The time formats {formats!r} are stored in Redis, which is not available here')

        async def read_and_apply() -> str:
            return function(*[await _read(access, one) for one in formats])

        return access.run(read_and_apply)


async def _read(access: RedisCoroutineRunner, format: str) -> str:
    """Return a format, read from Redis if it is stored there. Raises ValueError if it is not."""
    if not format.startswith(STORED):
        return format
    key = STORED_KEY.format(format.removeprefix(STORED))
    stored = await access.redis.commands.execute('GET', key)
    if not isinstance(stored, str):
        raise ValueError(f'The time format {format!r} is not in Redis: set the key {key}')
    return stored


def load_user_config(files: Mapping[str, Path]) -> Bunch:
    """Load INI files by name. Services access their values as `self.user_config.<name>.<section>.<key>`.

    Values are text; keys keep their case. Blocks: call it outside the reactor's thread. Raises ValueError naming every
    file that cannot be read and the reason.
    """
    config = Bunch()
    if not files:
        return config
    from configparser import ConfigParser  # few nodes have such files
    from configparser import Error as ParserError

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
