"""The access log: one line per request, in Zato's format.

    address cid/seconds "channel" [timestamp] "METHOD target HTTP/x.y" status bytes "-" "User-Agent"

If the log is configured for JSON, it writes one JSON object per line instead. Text sent by a client cannot leave its
field: characters that could end the field or the line are escaped. Values of query parameters that carry keys are
masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from math import floor, inf
from time import gmtime, time

import msgspec

from zatotx.interfaces.connector_kind import ILineSink
from zatotx.plugins.http.server.request_context import RequestContext
from zatotx.wire.http1.response_writer import HeadEndings
from zatotx.wire.url_masking import KEY_PARAMETERS, mask_request_target

_MONTHS = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')  # in any locale
CLIENT_GONE = 499  # logged, never sent: the client disconnected before its response was complete (nginx's number)

_PLAIN = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\\\')


class DateCache:
    """Caches the texts that change once per second. `date_stamp` contains the last lines of every response head, and
    `log_timestamp` is the timestamp of the access log."""

    __slots__ = ('_wall', 'date_stamp', 'log_timestamp', 'valid_until')

    def __init__(self, wall_clock: Callable[[], float] = time) -> None:
        self._wall = wall_clock
        self.valid_until = -inf  # in seconds of the clock that `refresh` gets the time of
        self.refresh(0.0)

    def refresh(self, now: float) -> None:
        """Update the texts to `now`, seconds of any clock that runs as fast as the wall clock."""
        if now >= self.valid_until:
            self.valid_until = floor(now) + 1.0
            wall = self._wall()
            self.date_stamp = HeadEndings(wall)
            t = gmtime(wall)
            self.log_timestamp = (
                f'{t.tm_mday:02d}/{_MONTHS[t.tm_mon - 1]}/{t.tm_year:04d}'
                f':{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} +0000'
            )  # as web servers log it: 24/Nov/2026:08:30:00 +0000


def escape_text(text: str) -> str:
    """Escape text so that it cannot end a quoted field or a line of the log. The characters `"` and `\\` and all
    non-printable characters are escaped."""
    if text.isprintable() and '"' not in text and '\\' not in text:
        return text
    return ''.join(c if c.isprintable() and c not in '"\\' else _escape_character(c) for c in text)


def escape_bytes(raw: bytes) -> str:
    """Escape bytes of an unknown encoding: every byte that is not printable ASCII becomes `\\xNN`."""
    text = raw.decode('latin-1')
    if not raw.translate(None, _PLAIN):
        return text
    return ''.join(escape_text(c) if c.isascii() else _escape_character(c) for c in text)


def _escape_character(character: str) -> str:
    code = ord(character)
    return f'\\x{code:02x}' if code < 0x100 else f'\\u{code:04x}' if code < 0x10000 else f'\\U{code:08x}'


@lru_cache(maxsize=1024)
def _seconds_text(ticks: int) -> str:
    """Return a time in units of 0.1 ms as text in seconds. Cached: most requests take a few of these, and the format
    takes 1,100 of the 103,500 instructions of an echo."""
    return f'{ticks / 10_000:.4f}'


class QueryKeyNames:
    """The names of query parameters that contain API keys, in lower case. They consist of well-known names and of the
    names in the current API key definitions."""

    __slots__ = ('names',)

    def __init__(self) -> None:
        self.names = KEY_PARAMETERS

    def update(self, queries: Iterable[str]) -> bool:
        """Replace the parameters of the API key definitions. Returns whether the set of names has changed."""
        names = KEY_PARAMETERS.union(query.strip().lower() for query in queries)
        changed, self.names = names != self.names, names
        return changed


def describe_request(method: str, target: bytes, names: frozenset[str] = KEY_PARAMETERS) -> str:
    """Return the method and target of a request, with secrets masked, for the access log."""
    return f'{method} {escape_bytes(mask_request_target(target, names))}'


class AccessLogLine(msgspec.Struct):
    """An access log line as JSON. Text sent by the client is escaped as in the plain format."""

    ts: str
    cid: str
    remote: str
    method: str
    path: str  # as sent, with keys masked
    status: int
    bytes: int
    seconds: float
    channel: str = '-'
    agent: str = '-'
    principal: str = ''


class AccessLog:
    """Formats and writes the lines of the access log."""

    __slots__ = ('_date_cache', '_encode', '_keys', '_line', '_sink')

    def __init__(self, sink: ILineSink, date_cache: DateCache, key_names: QueryKeyNames) -> None:
        self._keys = key_names
        self._sink = sink
        self._line = sink.write_line
        self._date_cache = date_cache
        self._encode = msgspec.json.Encoder().encode

    def log_request(
        self, request_context: RequestContext, peer_address: str, now: float, status: int, size: int
    ) -> None:
        """Log a finished request. `status` and `size` are what was sent: the response's status and the bytes of its
        body. `peer_address` is the connection's peer address, for a request whose client is not known."""
        resolved = request_context.resolved
        if resolved is not None:
            label, request = resolved.channel_label, resolved.request_line
            agent, peer_address = resolved.user_agent, resolved.peer_address
        else:  # rejected before its head was complete, or abandoned by the client before it was routed
            label, agent = '-', '-'
            names = self._keys.names
            parts = request_context.request_line.split(b' ')
            request = escape_bytes(b' '.join(mask_request_target(part, names) for part in parts)) or '-'
        if self._sink.json:
            self._record_json(request_context, (label, request, agent), AccessLogLine(
                '', request_context.cid, peer_address, '', '', status, size, round(now - request_context.started_at, 6)
            ))  # fmt: skip
            return
        date_cache, elapsed = self._date_cache, now - request_context.started_at
        if now >= date_cache.valid_until:
            date_cache.refresh(now)
        self._line(
            f'{peer_address} {request_context.cid}/{_seconds_text(int(elapsed * 10_000 + 0.5))} "{label}" '
            f'[{date_cache.log_timestamp}] "{request}" {status} {size} "-" "{agent}"'
        )

    def _record_json(self, turn: RequestContext, texts: tuple[str, str, str], line: AccessLogLine) -> None:
        line.channel, request, line.agent = texts
        line.method, _, rest = request.partition(' ')
        line.path = rest.rpartition(' ')[0] or rest
        # By the wall clock: `now` is the reactor's, which may differ.
        line.ts = datetime.now(UTC).isoformat(timespec='milliseconds').replace('+00:00', 'Z')
        principal = turn.message.principal if turn.message is not None else None
        if principal is not None:
            line.principal = escape_text(principal.name)
        self._line(self._encode(line).decode())
