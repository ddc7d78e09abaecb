"""Where Redis is: the URL of `[kvdb] url` and `--redis-url` as a value."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import field, frozen

from zatotx.model.faults import StartError

FORMS = 'redis://[user:password@]host:port/db or unix://path'


@frozen(kw_only=True)
class RedisAddress:
    """A Redis or Valkey server, on TCP (`host`) or on a Unix socket (`path`)."""

    host: str = ''
    port: int = 6379
    path: str = ''
    username: str = ''
    password: str = field(default='', repr=False)
    db: int = 0

    def __str__(self) -> str:
        """For people: names the server, never the password."""
        where = f'unix:{self.path}' if self.path else f'{_bracketed(self.host)}:{self.port}'
        return f'Redis at {where}, db {self.db}' if self.db else f'Redis at {where}'


def parse_address(url: str, directory: Path) -> RedisAddress:
    """The address a URL names. `unix://` takes a path, absolute or relative to `directory`, and `?db=N`. Raises
    StartError."""
    if url.startswith('unix://'):
        return _unix(url.removeprefix('unix://'), directory)
    if url.startswith('redis://'):
        return _tcp(url)
    raise StartError(f'The Redis URL starts with {url.partition("://")[0][:20]!r}: write {FORMS}')


def _unix(rest: str, directory: Path) -> RedisAddress:
    path, _, query = rest.partition('?')
    options = {name: values[-1] for name, values in parse_qs(query).items()}
    unknown = sorted(options.keys() - {'db', 'username', 'password'})
    if unknown:
        raise StartError(f'The Redis URL has options that are not known here: {", ".join(unknown)}; known is db')
    if not path:
        raise StartError(f'The Redis URL names no socket: write {FORMS}')
    return RedisAddress(
        path=str((directory / unquote(path)).resolve()),
        username=options.get('username', ''),
        password=options.get('password', ''),
        db=_db(options.get('db', '')),
    )


def _tcp(url: str) -> RedisAddress:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # urllib's own words may quote the part that holds the password.
        raise StartError(f'The Redis URL has a host or port that cannot be read: write {FORMS}') from None
    if not parts.hostname:
        raise StartError(f'The Redis URL names no host: write {FORMS}')
    if parts.query or parts.fragment:
        raise StartError(f'The Redis URL goes on after its database number: write {FORMS}')
    return RedisAddress(
        host=parts.hostname,
        port=6379 if port is None else port,
        username=unquote(parts.username or ''),
        password=unquote(parts.password or ''),
        db=_db(parts.path.removeprefix('/')),
    )


def _db(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) < 6):
        raise StartError('The Redis URL has a database that is not a number: write …/0 or ?db=0')
    return int(text or 0)


def _bracketed(host: str) -> str:
    return f'[{host}]' if ':' in host else host
