"""Where Redis is: the URL of `[kvdb] url` and `--redis-url` as a value."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from attrs import evolve, field, frozen

from zatotx.model.errors import StartError

FORMS = (
    'redis://[user:password@]host[:port][/db], rediss:// for TLS, unix://path, or'
    ' redis+sentinel://[user:password@]host1[:port],host2/master[/db]'
)
PORT, SENTINEL_PORT = 6379, 26379

_TLS_OPTIONS = ('ca', 'cert', 'key')
_SENTINEL_OPTIONS = ('sentinel_username', 'sentinel_password')
_UNCHECKED = ('verify', 'ssl_cert_reqs', 'ssl_check_hostname', 'insecure')  # what others call it
_SCHEMES = ('redis', 'rediss', 'redis+sentinel', 'rediss+sentinel', 'unix')


@frozen(kw_only=True)
class TlsOptions:
    """Files for TLS, absolute; '' = the system's CAs, and no client certificate. The server is always verified."""

    ca: str = ''
    cert: str = ''
    key: str = ''  # '' = in the file of `cert`


@frozen(kw_only=True)
class Sentinels:
    """Whom to ask for the master of that name."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    username: str = ''
    password: str = field(default='', repr=False)


@frozen(kw_only=True)
class RedisAddress:
    """A Redis or Valkey server, on TCP (`host`), on a Unix socket (`path`) or behind sentinels."""

    host: str = ''
    port: int = PORT
    path: str = ''
    username: str = ''
    password: str = field(default='', repr=False)
    db: int = 0
    tls: TlsOptions | None = None
    sentinels: Sentinels | None = None

    def __str__(self) -> str:
        """For people: names the server, never the password."""
        where = self._where()
        return f'{where}, db {self.db}' if self.db else where

    def _where(self) -> str:
        if self.path:
            return f'Redis at unix:{self.path}'
        if self.sentinels is not None:
            return f'Redis master {self.sentinels.master!r} of {",".join(with_hosts(*h) for h in self.sentinels.hosts)}'
        return f'Redis at {with_hosts(self.host, self.port)}'

    def at(self, host: str, port: int) -> RedisAddress:
        """The server there, of the same user, database and TLS."""
        return evolve(self, host=host, port=port, sentinels=None)

    def sentinel(self, host: str, port: int) -> RedisAddress:
        """One of the sentinels."""
        assert self.sentinels is not None
        known = self.sentinels
        return RedisAddress(host=host, port=port, username=known.username, password=known.password, tls=self.tls)


def parse_address(url: str, directory: Path, tls: TlsOptions | None = None) -> RedisAddress:
    """The address a URL names. Paths in it are absolute or relative to `directory`; `tls` has the files of settings
    beside it, which options of the URL go before. Raises StartError, one sentence, without any secret."""
    scheme, colon, rest = url.partition('://')
    if scheme not in _SCHEMES or not colon:
        raise StartError(f'The Redis URL starts with {scheme[:20] if colon else "no scheme"!r}: write {FORMS}')
    if any(letter < ' ' or letter == '\x7f' for letter in unquote(url)):
        raise StartError('The Redis URL has a control character in it, such as a line end: write it without')
    # What stands before '?' is not looked for options: a password with a bare '?' in it ends as a wrong host.
    rest, _, query = rest.partition('?')
    if scheme == 'unix':
        return _unix(rest, _options(query, ('db', 'username', 'password')), directory, tls)
    return _network(scheme, rest, query, directory, tls or TlsOptions())


def resolve_paths(url: str, directory: Path) -> str:
    """The URL with its paths made absolute, from this directory. Raises StartError as `parse_address`."""
    parse_address(url, directory)
    head, _, query = url.partition('?')
    if head.startswith('unix://'):
        path = (directory / unquote(head.removeprefix('unix://'))).resolve()
        head = f'unix://{quote(str(path))}'
    options = [
        (name, str((directory / value).resolve()) if name in _TLS_OPTIONS and value else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return f'{head}?{urlencode(options, safe="/")}' if options else head


def _network(scheme: str, rest: str, query: str, directory: Path, tls: TlsOptions) -> RedisAddress:
    secure, sentinel = scheme.startswith('rediss'), scheme.endswith('sentinel')
    authority, _, path = rest.partition('/')
    userinfo, _, hosts = authority.rpartition('@')
    found = _hosts(hosts, SENTINEL_PORT if sentinel else PORT, many=sentinel)
    master, _, db = path.partition('/') if sentinel else ('', '', path)
    known = (*(_TLS_OPTIONS if secure else ()), *(_SENTINEL_OPTIONS if sentinel else ()))
    number = _db(db)
    if not secure:
        _refuse_files(tls)
    options = _options(query, known)
    username, _, password = userinfo.partition(':')
    address = RedisAddress(
        username=unquote(username), password=unquote(password), db=number,
        tls=_tls(options, directory, tls) if secure else None,
    )
    if not sentinel:
        return evolve(address, host=found[0][0], port=found[0][1])
    if not master:
        raise StartError(f'The Redis URL names no master after its sentinels: write {FORMS}')
    return evolve(address, sentinels=Sentinels(
        hosts=found, master=unquote(master),
        username=options.get('sentinel_username', ''), password=options.get('sentinel_password', ''),
    ))


def _unix(path: str, options: dict[str, str], directory: Path, tls: TlsOptions | None) -> RedisAddress:
    if not path:
        raise StartError(f'The Redis URL names no socket: write {FORMS}')
    _refuse_files(tls)
    return RedisAddress(
        path=str((directory / unquote(path)).resolve()),
        username=options.get('username', ''),
        password=options.get('password', ''),
        db=_db(options.get('db', '')),
    )


def _hosts(text: str, port: int, *, many: bool) -> tuple[tuple[str, int], ...]:
    hosts = text.split(',') if many else [text]
    return tuple(_host(host, port) for host in hosts)


def _host(text: str, default: int) -> tuple[str, int]:
    """Host and port. The text is quoted nowhere: where an '@' was forgotten it holds the password."""
    host, bracket, rest = text.rpartition(']')
    if bracket:
        host, port = host.removeprefix('['), rest.removeprefix(':')
        wrong = not text.startswith('[') or ':' not in host or (bool(rest) and not rest.startswith(':'))
    else:
        host, _, port = text.partition(':')
        wrong = any(letter in ', \t\r\n' for letter in host)
    if wrong or (port and not _is_number(port, 65535)) or port == '0':
        raise StartError(f'The Redis URL has a host or port that cannot be read: write {FORMS}')
    if not host:
        raise StartError(f'The Redis URL names no host: write {FORMS}')
    return unquote(host).lower(), int(port or default)


def _options(query: str, known: tuple[str, ...]) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name in _UNCHECKED:
            raise StartError(
                f'The Redis URL has the option {name}, but the certificate of Redis is always verified: name its CA'
                ' with ?ca=, or use redis:// where no TLS is needed'
            )
    # Names only, and no long ones: a password with a bare '?' in it must not be shown.
    if unknown := sorted(options.keys() - set(known)):
        told = f'known {"is" if len(known) == 1 else "are"} {", ".join(known)}' if known else 'it takes none'
        raise StartError(f'The Redis URL has options that are not known here: {", ".join(unknown)}; {told}')
    return options


def _tls(options: dict[str, str], directory: Path, settings: TlsOptions) -> TlsOptions:
    ca, cert, key = (
        str((directory / path).resolve()) if path else ''
        for path in (options.get(name, getattr(settings, name)) for name in _TLS_OPTIONS)
    )
    if key and not cert:
        raise StartError('The Redis URL has a key, but no certificate for it: name it with cert in [kvdb] or ?cert=')
    return TlsOptions(ca=ca, cert=cert, key=key)


def _refuse_files(tls: TlsOptions | None) -> None:
    """Files for TLS beside a URL without it: somebody believes the connection to be secure."""
    if tls is not None and tls != TlsOptions():
        raise StartError('[kvdb] names files for TLS, but the Redis URL is without: write rediss://, or remove them')


def _db(text: str) -> int:
    if text and not _is_number(text, 99_999):
        raise StartError('The Redis URL has a database that is not a number: write …/0 or ?db=0')
    return int(text or 0)


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= most


def with_hosts(host: str, port: int) -> str:
    """`host:port`, brackets around IPv6."""
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'
