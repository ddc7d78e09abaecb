"""The header X-Zato-Msg-TS: the time of sending in Zato's format, ISO 8601 in UTC without a zone."""

from __future__ import annotations

from time import gmtime, strftime

_SECOND = '%Y-%m-%dT%H:%M:%S'


class TimestampFormatter:
    """Formats timestamps; those within one second share a cached text."""

    __slots__ = ('_second', '_text')

    def __init__(self) -> None:
        self._second = -1
        self._text = b''

    def format(self, now: float) -> bytes:
        """Format `now`, seconds since the epoch, to the microsecond: b'2026-11-26T17:46:10.000123'."""
        second = int(now)
        if second != self._second:
            self._second, self._text = second, strftime(_SECOND, gmtime(second)).encode('ascii')
        return b'%b.%06d' % (self._text, int((now - second) * 1_000_000))
