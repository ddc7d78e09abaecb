"""The access log: one line a request, in Zato's form.

    address cid/seconds "channel" [timestamp] "METHOD target HTTP/x.y" status bytes "-" "User-Agent"

Or, where the log is set to that, one JSON object a line. Whatever a client sends stays inside its own field: characters
that could end it or the line are written escaped. Values of query parameters that carry keys are masked.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import unquote_plus

import msgspec

from zatotx.interfaces.kind import ILineSink
from zatotx.plugins.http.server.date_cache import DateCache
from zatotx.plugins.http.server.request_context import RequestContext

CLIENT_GONE = 499  # logged, never sent: the client went away before its answer was out (nginx's number)

MASKED = frozenset({
    'access_token', 'api-key', 'api_key', 'apikey', 'auth', 'auth_token', 'authorization', 'client_secret', 'id_token',
    'jwt', 'key', 'pass', 'passwd', 'password', 'pwd', 'refresh_token', 'secret', 'session', 'sig', 'signature',
    'token', 'x-api-key',
})  # fmt: skip
_PLAIN = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\\\')


def escape_text(text: str) -> str:
    """Text that cannot end a quoted field or a line: `"`, `\\` and whatever is not printable become escapes."""
    if text.isprintable() and '"' not in text and '\\' not in text:
        return text
    return ''.join(c if c.isprintable() and c not in '"\\' else _escaped(c) for c in text)


def escape_bytes(raw: bytes) -> str:
    """The same for bytes of no known encoding: all that is not printable ASCII becomes `\\xNN`."""
    text = raw.decode('latin-1')
    if not raw.translate(None, _PLAIN):
        return text
    return ''.join(escape_text(c) if c.isascii() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f'\\x{code:02x}' if code < 0x100 else f'\\u{code:04x}' if code < 0x10000 else f'\\U{code:08x}'


class QueryKeyNames:
    """Names of query parameters that carry keys, in lower case: those that always do, and those of the API key
    definitions in force."""

    __slots__ = ('names',)

    def __init__(self) -> None:
        self.names = MASKED

    def follow(self, queries: Iterable[str]) -> bool:
        """These are the parameters of the definitions from now on; whether anything changes by that."""
        names = MASKED.union(query.strip().lower() for query in queries)
        changed, self.names = names != self.names, names
        return changed


def mask_query(target: bytes, names: frozenset[str] = MASKED) -> bytes:
    """The target with the values of key-carrying query parameters, and user and password of an absolute URL, replaced
    by `***`."""
    path, mark, query = target.partition(b'?')
    if b'@' in path:
        path = _without_user(path)
    return path + mark + b'&'.join(_masked_pair(pair, names) for pair in query.split(b'&'))


def _without_user(url: bytes) -> bytes:
    scheme, separator, rest = url.partition(b'://')
    authority, slash, path = rest.partition(b'/')
    if not separator or b'@' not in authority:
        return url
    return b''.join((scheme, separator, b'***@', authority.rpartition(b'@')[2], slash, path))


def _masked_pair(pair: bytes, names: frozenset[str]) -> bytes:
    """Some clients separate parameters by `;`. To the server that is part of a value, so that a key goes on after it:
    all from the first key's value to the end of the pair is replaced."""
    start = 0
    for part in pair.split(b';'):
        name, _, value = part.partition(b'=')
        # A name that is not ASCII may come unescaped: such a request is refused, but its key may be a good one.
        if value and unquote_plus(name.decode('utf-8', 'replace')).strip().lower() in names:
            return pair[: start + len(name)] + b'=***'
        start += len(part) + 1
    return pair


def describe_request(method: str, target: bytes, names: frozenset[str] = MASKED) -> str:
    """What a line says of a request's method and target."""
    return f'{method} {escape_bytes(mask_query(target, names))}'


class AccessLogLine(msgspec.Struct):
    """A line as JSON. Texts of the client's are as in the other form: printable, all else escaped."""

    ts: str
    cid: str
    remote: str
    method: str
    path: str  # as sent, keys masked
    status: int
    bytes: int
    seconds: float
    channel: str = '-'
    agent: str = '-'
    principal: str = ''


class AccessLog:
    """Writes the lines."""

    __slots__ = ('_encode', '_keys', '_line', '_sink', '_stamps')

    def __init__(self, sink: ILineSink, stamps: DateCache, keys: QueryKeyNames) -> None:
        self._keys = keys
        self._sink = sink
        self._line = sink.line
        self._stamps = stamps
        self._encode = msgspec.json.Encoder().encode

    def record(self, turn: RequestContext, peer: str, now: float, status: int, size: int) -> None:
        """One line about a turn that is over: `status` and `size` of its answer's body are what was sent. `peer` is of
        the connection, for a turn whose client is not known."""
        place = turn.place
        if place is not None:
            label, request, agent, peer = place.label, place.request, place.agent, place.peer
        else:  # refused before its head was whole, or left by the client before it was looked at
            label, agent = '-', '-'
            names = self._keys.names
            request = escape_bytes(b' '.join(mask_query(part, names) for part in turn.request_line.split(b' '))) or '-'
        if self._sink.json:
            self._record_json(turn, (label, request, agent), AccessLogLine(
                '', turn.cid, peer, '', '', status, size, round(now - turn.began, 6)
            ))  # fmt: skip
            return
        stamps = self._stamps
        if int(now) != stamps.second:
            stamps.refresh(now)
        self._line(f'{peer} {turn.cid}/{now - turn.began:.4f} "{label}" [{stamps.logged}] "{request}" {status}'
                   f' {size} "-" "{agent}"')  # fmt: skip

    def _record_json(self, turn: RequestContext, said: tuple[str, str, str], line: AccessLogLine) -> None:
        line.channel, request, line.agent = said
        line.method, _, rest = request.partition(' ')
        line.path = rest.rpartition(' ')[0] or rest
        # By the wall's clock: `now` is the reactor's, which may be another.
        line.ts = datetime.now(UTC).isoformat(timespec='milliseconds').replace('+00:00', 'Z')
        principal = turn.inbound.principal if turn.inbound is not None else None
        if principal is not None:
            line.principal = escape_text(principal.name)
        self._line(self._encode(line).decode())
