"""Formats directory listings: LIST in the format of `ls -l`, NLST, and MLSD and MLST (RFC 3659). Pure: no I/O.

Names may have been made by programs other than this one: control characters, which would forge lines, become '?'.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from attrs import frozen

_RECENT = timedelta(days=180)


@frozen(kw_only=True)
class FileEntry:
    """A file or directory in a listing. `modified` is in seconds since the epoch."""

    name: str  # surrogate escapes where it is not UTF-8
    is_directory: bool
    size: int
    modified: float
    mode: int  # permission bits
    unique: str = ''  # device and inode


def safe_name(name: str) -> bytes:
    """Encode a file name as bytes, without control characters."""
    encoded = os.fsencode(name)
    return bytes(byte if byte >= 0x20 and byte != 0x7F else 0x3F for byte in encoded)


def format_utc_time(modified: float) -> str:
    """Format a modification time for MDTM and MLSD: YYYYMMDDHHMMSS in UTC."""
    return f'{_moment(modified):%Y%m%d%H%M%S}'


def format_list(entry: FileEntry, now: float) -> bytes:
    """Format an entry as a line of LIST, without a line ending."""
    moment = _moment(entry.modified)
    is_recent = timedelta(days=-1) < _moment(now) - moment < _RECENT
    when = f'{moment:%b %d %H:%M}' if is_recent else f'{moment:%b %d  %Y}'
    letters = ''.join(letter if entry.mode >> (8 - bit) & 1 else '-' for bit, letter in enumerate('rwxrwxrwx'))
    line = f'{"d" if entry.is_directory else "-"}{letters} 1 ftp ftp {entry.size:>12} {when} '
    return line.encode() + safe_name(entry.name)


def format_name(entry: FileEntry, now: float) -> bytes:
    """Format an entry as a line of NLST."""
    return safe_name(entry.name)


def format_facts(entry: FileEntry, now: float, *, can_read: bool = False) -> bytes:
    """Format an entry as a line of MLSD and MLST."""
    kind, perm = ('dir', 'cdeflmp') if entry.is_directory else ('file', 'adfrw' if can_read else 'adfw')
    size = '' if entry.is_directory else f'size={entry.size};'
    facts = f'type={kind};{size}modify={format_utc_time(entry.modified)};perm={perm};unique={entry.unique}; '
    return facts.encode() + safe_name(entry.name)


Format = Callable[[FileEntry, float], bytes]


def _moment(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # a file of another program may have any time
        return datetime.fromtimestamp(0, UTC)
