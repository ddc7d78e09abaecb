"""Parses Redis URLs, which are given in the setting `[kvdb] url` and in the option `--redis-url`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from attrs import evolve, field, frozen

from zatotx.model.errors import StartError

URL_FORMS = (
    'redis://[user:password@]host[:port][/db], rediss:// for TLS, unix://path, or'
    ' redis+sentinel://[user:password@]host1[:port],host2/master[/db]'
)
DEFAULT_PORT, DEFAULT_SENTINEL_PORT = 6379, 26379

_TLS_OPTIONS = ('ca', 'cert', 'key')
_SENTINEL_OPTIONS = ('sentinel_username', 'sentinel_password')
# options of other clients that disable verification
_UNVERIFIED_OPTIONS = ('verify', 'ssl_cert_reqs', 'ssl_check_hostname', 'insecure')
_SCHEMES = ('redis', 'rediss', 'redis+sentinel', 'rediss+sentinel', 'unix')


@frozen(kw_only=True)
class RedisTlsFiles:
    """The absolute paths of TLS files. '' selects the CA certificates of the system, or no client certificate. The
    certificate of the server is always verified."""

    ca: str = ''
    cert: str = ''
    key: str = ''  # '' = the key is in the file of `cert`


@frozen(kw_only=True)
class Sentinels:
    """The addresses of the Redis Sentinels to query, and the name of the master."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    username: str = ''
    password: str = field(default='', repr=False)


@frozen(kw_only=True)
class RedisAddress:
    """The address of a Redis or Valkey server. It is a TCP address (`host`), a Unix socket (`path`), or a list of
    sentinels."""

    host: str = ''
    port: int = DEFAULT_PORT
    path: str = ''
    username: str = ''
    password: str = field(default='', repr=False)
    db: int = 0
    tls: RedisTlsFiles | None = None
    sentinels: Sentinels | None = None

    def __str__(self) -> str:
        """Describe the server to users, without the password."""
        where = self._describe_server()
        return f'{where}, db {self.db}' if self.db else where

    def _describe_server(self) -> str:
        if self.path:
            return f'Redis at unix:{self.path}'
        if self.sentinels is not None:
            hosts = ','.join(format_host_port(*host) for host in self.sentinels.hosts)
            return f'Redis master {self.sentinels.master!r} of {hosts}'
        return f'Redis at {format_host_port(self.host, self.port)}'

    def at_server(self, host: str, port: int) -> RedisAddress:
        """Return the address of a server with the same user, database and TLS options."""
        return evolve(self, host=host, port=port, sentinels=None)

    def sentinel_address(self, host: str, port: int) -> RedisAddress:
        """Return the address of one of the sentinels."""
        assert self.sentinels is not None
        sentinels = self.sentinels
        return RedisAddress(
            host=host, port=port, username=sentinels.username, password=sentinels.password, tls=self.tls
        )


def parse_redis_url(url: str, directory: Path, tls: RedisTlsFiles | None = None) -> RedisAddress:
    """Parse a Redis URL. Relative paths in it are resolved against `directory`. `tls` contains the files from the
    settings; options in the URL override them. Raises StartError, whose message is one sentence without secrets."""
    scheme, colon, rest = url.partition('://')
    if scheme not in _SCHEMES or not colon:
        raise StartError(f'The Redis URL starts with {scheme[:20] if colon else "no scheme"!r}: write {URL_FORMS}')
    if any(letter < ' ' or letter == '\x7f' for letter in unquote(url)):
        raise StartError('The Redis URL contains a control character, such as a line end: remove it')
    # Options are looked for after the first '?' only: a password with an unescaped '?' causes a wrong host.
    rest, _, query = rest.partition('?')
    if scheme == 'unix':
        return _parse_unix(rest, _parse_options(query, ('db', 'username', 'password')), directory, tls)
    return _parse_network(scheme, rest, query, directory, tls or RedisTlsFiles())


def resolve_url_paths(url: str, directory: Path) -> str:
    """Return the URL with its paths made absolute. Raises StartError like `parse_redis_url`."""
    parse_redis_url(url, directory)
    head, _, query = url.partition('?')
    if head.startswith('unix://'):
        path = (directory / unquote(head.removeprefix('unix://'))).resolve()
        head = f'unix://{quote(str(path))}'
    options = [
        (name, str((directory / value).resolve()) if name in _TLS_OPTIONS and value else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return f'{head}?{urlencode(options, safe="/")}' if options else head


def _parse_network(scheme: str, rest: str, query: str, directory: Path, tls: RedisTlsFiles) -> RedisAddress:
    secure, sentinel = scheme.startswith('rediss'), scheme.endswith('sentinel')
    authority, _, path = rest.partition('/')
    userinfo, _, hosts = authority.rpartition('@')
    hosts_and_ports = _parse_hosts(hosts, DEFAULT_SENTINEL_PORT if sentinel else DEFAULT_PORT, many=sentinel)
    master, _, db = path.partition('/') if sentinel else ('', '', path)
    known_options = (*(_TLS_OPTIONS if secure else ()), *(_SENTINEL_OPTIONS if sentinel else ()))
    db_number = _parse_db(db)
    if not secure:
        _reject_tls_files(tls)
    options = _parse_options(query, known_options)
    username, _, password = userinfo.partition(':')
    address = RedisAddress(
        username=unquote(username), password=unquote(password), db=db_number,
        tls=_tls_options(options, directory, tls) if secure else None,
    )
    if not sentinel:
        return evolve(address, host=hosts_and_ports[0][0], port=hosts_and_ports[0][1])
    if not master:
        raise StartError(f'The Redis URL does not name a master after its sentinels: write {URL_FORMS}')
    return evolve(address, sentinels=Sentinels(
        hosts=hosts_and_ports, master=unquote(master),
        username=options.get('sentinel_username', ''), password=options.get('sentinel_password', ''),
    ))


def _parse_unix(path: str, options: dict[str, str], directory: Path, tls: RedisTlsFiles | None) -> RedisAddress:
    if not path:
        raise StartError(f'The Redis URL does not name a socket: write {URL_FORMS}')
    _reject_tls_files(tls)
    return RedisAddress(
        path=str((directory / unquote(path)).resolve()),
        username=options.get('username', ''),
        password=options.get('password', ''),
        db=_parse_db(options.get('db', '')),
    )


def _parse_hosts(text: str, port: int, *, many: bool) -> tuple[tuple[str, int], ...]:
    hosts = text.split(',') if many else [text]
    return tuple(_parse_host(host, port) for host in hosts)


def _parse_host(text: str, default: int) -> tuple[str, int]:
    """Parse a host and port. Errors do not quote the text: if an '@' is missing it contains the password."""
    host, bracket, rest = text.rpartition(']')
    if bracket:
        host, port = host.removeprefix('['), rest.removeprefix(':')
        is_invalid = not text.startswith('[') or ':' not in host or (bool(rest) and not rest.startswith(':'))
    else:
        host, _, port = text.partition(':')
        is_invalid = any(letter in ', \t\r\n' for letter in host)
    if is_invalid or (port and not _is_number(port, 65535)) or port == '0':
        raise StartError(f'The Redis URL has a host or port that cannot be read: write {URL_FORMS}')
    if not host:
        raise StartError(f'The Redis URL does not name a host: write {URL_FORMS}')
    return unquote(host).lower(), int(port or default)


def _parse_options(query: str, known: tuple[str, ...]) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name in _UNVERIFIED_OPTIONS:
            raise StartError(
                f'The Redis URL has the option {name}, but the certificate of Redis is always verified: name its CA'
                ' with ?ca=, or use redis:// where no TLS is needed'
            )
    # Only names, and only if known names are missing: a password with an unescaped '?' must not be shown.
    if unknown := sorted(options.keys() - set(known)):
        hint = f'known {"is" if len(known) == 1 else "are"} {", ".join(known)}' if known else 'it takes none'
        raise StartError(f'The Redis URL has unknown options: {", ".join(unknown)}; {hint}')
    return options


def _tls_options(options: dict[str, str], directory: Path, settings: RedisTlsFiles) -> RedisTlsFiles:
    ca, cert, key = (
        str((directory / path).resolve()) if path else ''
        for path in (options.get(name, getattr(settings, name)) for name in _TLS_OPTIONS)
    )
    if key and not cert:
        raise StartError('The Redis URL has a key, but no certificate for it: name it with cert in [kvdb] or ?cert=')
    return RedisTlsFiles(ca=ca, cert=cert, key=key)


def _reject_tls_files(tls: RedisTlsFiles | None) -> None:
    """Reject TLS files with a URL without TLS, whose author believes that the connection is secure."""
    if tls is not None and tls != RedisTlsFiles():
        raise StartError(
            '[kvdb] names files for TLS, but the Redis URL does not use TLS: write rediss:// or remove them'
        )


def _parse_db(text: str) -> int:
    if text and not _is_number(text, 99_999):
        raise StartError('The Redis URL has a database that is not a number: write …/0 or ?db=0')
    return int(text or 0)


def _is_number(text: str, maximum: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= maximum


def format_host_port(host: str, port: int) -> str:
    """Format a host and a port as `host:port`. IPv6 addresses are enclosed in brackets."""
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'
