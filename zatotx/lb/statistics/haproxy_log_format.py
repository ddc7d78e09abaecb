"""Formats lines of the request log in HAProxy's formats `httplog` and `tcplog` (chapters 8.2.2 and 8.2.3 of its
manual). Pure: no I/O.

10.0.1.2:33317 [06/Feb/2026:12:14:14.655] front bck/server1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 "GET / …"
10.0.1.2:33320 [06/Feb/2026:12:12:51.443] front bck/server1 0/0/5007 212 -- 0/0/0/0/3 0/0
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import NamedTuple

from zatotx.interfaces.load_balancer import ExchangeRecord

_MAX_REQUEST_LINE = 1024  # characters, as HAProxy's
_START = '%s:%d [%s.%03d] %s %s/%s '
_HTTP_LINE = f'{_START}%d/%d/%d/%d/%d %d %d - - %s-- %d/%d/%d/%d/%d 0/%d "%s"'
_TCP_LINE = f'{_START}%d/%d/%d %d %s %d/%d/%d/%d/%d 0/%d'
_ESCAPED = {code: f'#{code:02X}' for code in (*range(32), *range(127, 256), ord('"'), ord('#'))}


class OpenConnectionCounts(NamedTuple):
    """The numbers of open connections and requests at the time when a log line is written."""

    process: int = 0  # connections of all frontends
    frontend: int = 0
    backend: int = 0  # requests of the backend that servers are processing
    server: int = 0
    queue: int = 0  # requests that wait in the queue of the backend


class RequestLogFormatter:
    """Formats log lines. The text of the current second is cached."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ''

    def format_exchange(self, record: ExchangeRecord, started: float, loads: OpenConnectionCounts) -> str:
        """Return the line of a finished exchange that started at this unix time."""
        second = int(started)
        if second != self._second:
            self._second, self._text = second, time.strftime('%d/%b/%Y:%H:%M:%S', time.localtime(second))
        process, frontend, backend, in_flight, queue = loads
        start = (record.client_address, record.client_port, self._text, int((started - second) * 1000),
                 record.frontend, record.backend or record.frontend, record.server or '<NOSRV>')  # fmt: skip
        end = (record.termination, process, frontend, backend, in_flight, record.retries, queue)
        queue_time, connect_time = _milliseconds(record.queue_time), _milliseconds(record.connect_time)
        total_time = _milliseconds(record.total_time)
        if not record.request_line and not record.status:
            return _TCP_LINE % (*start, queue_time, connect_time, total_time, record.sent_bytes, *end)
        return _HTTP_LINE % (
            *start, _milliseconds(record.head_time), queue_time, connect_time, _milliseconds(record.response_time),
            total_time, record.status or -1, record.sent_bytes, *end, escape_request_line(record.request_line),
        )  # fmt: skip


def _milliseconds(seconds: float) -> int:
    return -1 if seconds < 0 else int(seconds * 1000 + 0.5)


@lru_cache(maxsize=1024)  # clients repeat their requests
def escape_request_line(line: bytes) -> str:
    """Escape a request line in the same way as HAProxy does in its log."""
    text = line.decode('latin-1')[:_MAX_REQUEST_LINE]
    if not text.isascii() or not text.isprintable() or '"' in text or '#' in text:
        text = text.translate(_ESCAPED)
    return text or '<BADREQ>'
