"""The formats of log entries: text (a line followed by an indented traceback), or JSON (one object per line)."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from time import localtime, strftime
from typing import Any

import msgspec
from attrs import frozen

from zatotx.logs.line_writer import escape_line

TEXT, JSON = FORMATS = ('text', 'json')

# Characters that JSON does not escape, but that viewers may treat as line ends or terminals as commands.
_RAW = (0x7F, *range(0x80, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ESCAPED = {code: f'\\u{code:04x}' for code in _RAW}


@frozen
class LogEntry:
    """A log entry before it is formatted."""

    timestamp: float  # seconds of Unix time
    level: int
    logger: str
    message: str
    service: str = ''
    cid: str = ''
    is_from_context: bool = False  # whether service and cid are those of the current request, not given with the entry
    traceback: str = ''
    extras: Mapping[str, Any] = {}


def format_as_text(entry: LogEntry) -> str:
    """Format an entry as text, in the same way as Zato: `time - LEVEL - service:cid (or logger) - message`, then the
    traceback."""
    line = (
        f'{_local_time(entry.timestamp)} - {logging.getLevelName(entry.level)} - {escape_line(_source(entry))} - '
        + escape_line(entry.message)
    )
    if entry.traceback:
        line += ''.join(f'\n    {escape_line(part)}' for part in entry.traceback.rstrip('\n').split('\n'))
    return line


def format_as_json(entry: LogEntry) -> str:
    """Format an entry as a JSON object on one line. A `_` is appended to the names of extra fields that collide with
    standard fields."""
    fields: dict[str, Any] = {
        'ts': format_rfc3339(entry.timestamp),
        'level': logging.getLevelName(entry.level),
        'pid': os.getpid(),  # several workers may write to the same file
        'logger': entry.logger,
        'message': entry.message,
    }
    if entry.service:
        fields['service'] = entry.service
    if entry.cid:
        fields['cid'] = entry.cid
    if entry.traceback:
        fields['traceback'] = entry.traceback
    for name, value in entry.extras.items():
        fields[f'{name}_' if name in fields else name] = value
    return encode_json(fields)


def missing_lines_as_json(count: int, reason: str) -> str:
    """Return the JSON line that reports that entries are missing."""
    return encode_json(
        {'level': 'WARNING', 'message': f'Lines of this log missing here: {count} ({reason})', 'lost': count}
    )


def encode_json(fields: Mapping[str, Any]) -> str:
    """Encode fields as JSON on a single line. Characters that some viewers treat as line ends are escaped."""
    try:
        text = msgspec.json.encode(fields, enc_hook=_to_str).decode()
    except Exception:  # an extra whose conversion fails
        text = msgspec.json.encode({name: _to_plain(value) for name, value in fields.items()}).decode()
    return text if text.isprintable() else text.translate(_ESCAPED)


def format_rfc3339(when: float) -> str:
    """Format a time as RFC 3339, in UTC with milliseconds."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec='milliseconds').replace('+00:00', 'Z')


def _to_str(value: Any) -> str:
    return str(value)


def _to_plain(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float):
        return value if type(value) is not int or abs(value) < 1 << 63 else str(value)
    try:
        return str(value).encode('utf-8', 'backslashreplace').decode()
    except Exception as error:
        return f'<{type(value).__name__} that cannot be written: {type(error).__name__}>'


def _source(entry: LogEntry) -> str:
    if not entry.service and not entry.cid:
        return entry.logger
    source = f'{entry.service or "-"}:{entry.cid or "-"}'
    return f'{source} ({entry.logger})' if entry.is_from_context else source


def _local_time(when: float) -> str:
    """Format a time as `logging` does: local time with milliseconds."""
    return f'{strftime("%Y-%m-%d %H:%M:%S", localtime(when))},{int(when % 1 * 1000):03d}'
