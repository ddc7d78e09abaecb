"""Parses directory listings: the facts of MLSD and MLST (RFC 3659), and the common formats of LIST (Unix, DOS,
EPLF)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from zatotx.connectors.remote_files import DIRECTORY, FILE, LINK, OTHER, FileInfo

_UNIX = re.compile(
    r'(?P<type>[-dlbcps])(?P<mode>[-rwxsStT]{9})[.+@]?\s+'
    r'(?:\d+\s+)?(?:\S+\s+){1,3}?'
    r'(?P<size>\d+)(?:,\s*\d+)?\s+'
    r'(?P<month>[A-Za-z]{3})\s+(?P<day>\d{1,2})\s+(?:(?P<hour>\d{1,2}):(?P<minute>\d{2})|(?P<year>\d{4})) '
    r'(?P<name>.+)'
)
_DOS = re.compile(
    r'(?P<month>\d{2})-(?P<day>\d{2})-(?P<year>\d{4}|\d{2})\s+(?P<hour>\d{2}):(?P<minute>\d{2})\s*(?P<half>[AaPp][Mm])?\s+'
    r'(?:(?P<directory><(?:DIR|JUNCTION|SYMLINKD?)>)|(?P<size>[\d.,]+))\s+(?P<name>.+)'
)
_MONTHS = {name: number for number, name in enumerate(
    ('jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'), 1)}  # fmt: skip
_UNIX_TYPES = {'-': FILE, 'd': DIRECTORY, 'l': LINK}
_FACT_TYPES = {'file': FILE, 'dir': DIRECTORY, 'cdir': DIRECTORY, 'pdir': DIRECTORY}
_LINK_FACTS = ('os.unix=slink', 'os.unix=symlink')
_SELF = ('.', '..')


def is_plain_name(name: str) -> bool:
    """Return whether a listed name is that of a direct entry of the directory. A hostile server may list paths outside
    of the directory, so that a client would read, write or remove other files."""
    return bool(name) and name not in _SELF and not any(character in name for character in '/\0\r\n')


def parse_machine_listing(lines: Iterable[str]) -> Iterator[FileInfo]:
    """Parse the reply to MLSD and yield its entries. Lines in another format, and names that contain a path, are
    skipped."""
    for line in lines:
        info = parse_facts(line)
        if info is not None and is_plain_name(info.name):
            yield info


def parse_facts(line: str) -> FileInfo | None:
    """Parse one line of MLSD or MLST. Returns the entry, or None for a line in another format and for the directory
    itself."""
    text, separator, name = line.lstrip(' ').partition(' ')
    if not separator or (text and not text.endswith(';')):
        return None
    facts = {key.lower(): value for fact in text.split(';') if fact for key, _, value in [fact.partition('=')]}
    kind = facts.get('type', '').lower()
    if kind in ('cdir', 'pdir') and name in _SELF:
        return None
    return FileInfo(name=name, type=_type_of_facts(kind), size=_size_of_facts(facts),
                    modified=parse_time(facts.get('modify', '')))  # fmt: skip


def parse_time(text: str) -> datetime | None:
    """Parse a time of MLSD or MDTM (YYYYMMDDHHMMSS[.sss], UTC). Returns None for other text."""
    digits, _, fraction = text.strip().partition('.')
    if len(digits) != 14 or not digits.isascii() or not digits.isdigit():
        return None
    try:
        moment = datetime(int(digits[:4]), int(digits[4:6]), int(digits[6:8]), int(digits[8:10]), int(digits[10:12]),
                          int(digits[12:14]), tzinfo=UTC)  # fmt: skip
    except ValueError:
        return None
    return moment + timedelta(seconds=float(f'0.{fraction}')) if fraction.isascii() and fraction.isdigit() else moment


def parse_listing(lines: Iterable[str], now: datetime) -> Iterator[FileInfo]:
    """Parse the reply to LIST and yield its entries. The format is not standardized: lines in an unknown format, and
    names that contain a path, are skipped. `now` supplies the year of times that have none. Times in LIST have no time
    zone, and are interpreted as UTC."""
    for line in lines:
        info = _unix_entry(line, now) or _dos_entry(line) or _eplf_entry(line)
        if info is not None and is_plain_name(info.name):
            yield info


def _unix_entry(line: str, now: datetime) -> FileInfo | None:
    match = _UNIX.fullmatch(line)
    if match is None:
        return None
    month = _MONTHS.get(match['month'].lower())
    if month is None:
        return None
    kind = _UNIX_TYPES.get(match['type'], OTHER)
    name = match['name'].partition(' -> ')[0] if kind == LINK else match['name']
    return FileInfo(name=name, type=kind, size=int(match['size']) if kind == FILE else None,
                    modified=_unix_time(match, month, now))  # fmt: skip


def _unix_time(match: re.Match[str], month: int, now: datetime) -> datetime | None:
    """Return the time of a line. Without a year it is the latest one that is not in the future, but for clocks and
    zones that differ by a day."""
    try:
        if match['year']:
            return datetime(int(match['year']), month, int(match['day']), tzinfo=UTC)
        hour, minute, day = int(match['hour']), int(match['minute']), int(match['day'])
        for year in (now.year + 1, now.year, now.year - 1, now.year - 2, now.year - 3, now.year - 4):
            if (month, day) == (2, 29) and (year % 4 or (not year % 100 and year % 400)):
                continue
            moment = datetime(year, month, day, hour, minute, tzinfo=UTC)
            if moment <= now + timedelta(days=1):
                return moment
    except ValueError:
        return None
    return None


def _dos_entry(line: str) -> FileInfo | None:
    match = _DOS.fullmatch(line)
    if match is None:
        return None
    year = int(match['year'])
    year += 0 if year > 99 else 2000 if year < 70 else 1900
    hour = int(match['hour'])
    if match['half']:
        hour = hour % 12 + (12 if match['half'].lower() == 'pm' else 0)
    try:
        modified = datetime(year, int(match['month']), int(match['day']), hour, int(match['minute']), tzinfo=UTC)
    except ValueError:
        modified = None
    marker = match['directory']
    if marker:
        kind = LINK if 'SYMLINK' in marker else DIRECTORY
        return FileInfo(name=match['name'], type=kind, size=None, modified=modified)
    size = match['size'].replace(',', '').replace('.', '')
    return FileInfo(name=match['name'], type=FILE, size=int(size), modified=modified) if size else None


def _eplf_entry(line: str) -> FileInfo | None:
    """Return the entry of a line in Easily Parsed LIST Format: +facts,\\tname."""
    if not line.startswith('+'):
        return None
    text, separator, name = line[1:].partition('\t')
    if not separator:
        return None
    kind, size, modified = OTHER, None, None
    for fact in text.split(','):
        if fact == '/':
            kind = DIRECTORY
        elif fact == 'r':
            kind = FILE
        elif fact.startswith('s') and _is_number(fact[1:]):
            size = int(fact[1:])
        elif fact.startswith('m') and _is_number(fact[1:]) and len(fact) < 13:
            modified = datetime.fromtimestamp(int(fact[1:]), UTC)
    return FileInfo(name=name, type=kind, size=size, modified=modified)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _type_of_facts(kind: str) -> str:
    if kind in _FACT_TYPES:
        return _FACT_TYPES[kind]
    return LINK if kind.startswith(_LINK_FACTS) else OTHER


def _size_of_facts(facts: Mapping[str, str]) -> int | None:
    size = facts.get('size', '')
    return int(size) if _is_number(size) and len(size) < 20 else None
