"""Lines of the log in HAProxy's formats `httplog` and `tcplog`, chapters 8.2.2 and 8.2.3 of its manual. Pure.

10.0.1.2:33317 [06/Feb/2026:12:14:14.655] front bck/server1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 "GET / …"
10.0.1.2:33320 [06/Feb/2026:12:12:51.443] front bck/server1 0/0/5007 212 -- 0/0/0/0/3 0/0
"""

from __future__ import annotations

import time
from typing import NamedTuple

from zatotx.interfaces.load_balancer import ExchangeRecord

_MAX_REQUEST_LINE = 1024  # characters, as HAProxy's
_ESCAPED = {code: f'#{code:02X}' for code in (*range(32), *range(127, 256), ord('"'), ord('#'))}


class Loads(NamedTuple):
    """The open connections and requests when a line is written."""

    process: int = 0  # connections of all frontends
    frontend: int = 0
    backend: int = 0  # requests of the backend that servers are processing
    server: int = 0
    queue: int = 0  # requests that wait in the queue of the backend


class LineFormatter:
    """Formats lines; keeps the text of the current second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ''

    def format_exchange(self, record: ExchangeRecord, started: float, loads: Loads) -> str:
        """Return the line of a finished exchange that started at this unix time."""
        target = f'{record.backend or record.frontend}/{record.server or "<NOSRV>"}'
        who = f'{record.client_address}:{record.client_port} [{self._timestamp(started)}] {record.frontend} {target}'
        counts = f'{loads.process}/{loads.frontend}/{loads.backend}/{loads.server}/{record.retries} 0/{loads.queue}'
        if not record.request_line and not record.status:
            times = '/'.join(map(_milliseconds, (record.queue_time, record.connect_time, record.total_time)))
            return f'{who} {times} {record.sent_bytes} {record.termination} {counts}'
        times = '/'.join(map(_milliseconds, (record.head_time, record.queue_time, record.connect_time,
                                             record.response_time, record.total_time)))  # fmt: skip
        request = record.request_line.decode('latin-1')[:_MAX_REQUEST_LINE].translate(_ESCAPED) or '<BADREQ>'
        return (f'{who} {times} {record.status or -1} {record.sent_bytes} - - {record.termination}-- {counts} '
                f'"{request}"')  # fmt: skip

    def _timestamp(self, moment: float) -> str:
        second = int(moment)
        if second != self._second:
            self._second, self._text = second, time.strftime('%d/%b/%Y:%H:%M:%S', time.localtime(second))
        return f'{self._text}.{int((moment - second) * 1000):03d}'


def _milliseconds(seconds: float) -> str:
    return '-1' if seconds < 0 else str(round(seconds * 1000))
