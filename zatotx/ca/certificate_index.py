"""Parses and formats the index of issued certificates. The format is that of `openssl ca` (index.txt), so that
OpenSSL's tools can read the index. Pure functions.

A line has six columns, separated by tabs: the status (V valid, R revoked, E expired), the end of validity, the time of
revocation with its reason, the serial number in hexadecimal, the name of the certificate's file, and the subject.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography.x509 import Name, ReasonFlags
from cryptography.x509.oid import NameOID

VALID, REVOKED, EXPIRED = 'V', 'R', 'E'
REASONS = {
    'unspecified': ReasonFlags.unspecified,
    'keyCompromise': ReasonFlags.key_compromise,
    'affiliationChanged': ReasonFlags.affiliation_changed,
    'superseded': ReasonFlags.superseded,
    'cessationOfOperation': ReasonFlags.cessation_of_operation,
    'privilegeWithdrawn': ReasonFlags.privilege_withdrawn,
}  # by OpenSSL's names

_HEX = re.compile('[0-9A-F]+')
_SHORT_YEARS_END = 2050  # RFC 5280 §4.1.2.5: years until then have two digits
_ABBREVIATIONS = {
    NameOID.COUNTRY_NAME: 'C', NameOID.STATE_OR_PROVINCE_NAME: 'ST', NameOID.LOCALITY_NAME: 'L',
    NameOID.ORGANIZATION_NAME: 'O', NameOID.ORGANIZATIONAL_UNIT_NAME: 'OU', NameOID.COMMON_NAME: 'CN',
}  # fmt: skip


class IndexEntry(NamedTuple):
    """An issued certificate in the index."""

    serial: int
    not_after: datetime
    file: str  # name of its file in out-cert/
    subject: str  # /C=US/CN=name
    revoked_at: datetime | None = None
    reason: str = ''  # a key of REASONS

    def status(self, now: datetime) -> str:
        """Return VALID, REVOKED or EXPIRED."""
        if self.revoked_at is not None:
            return REVOKED
        return VALID if now < self.not_after else EXPIRED


class InvalidIndexError(ValueError):
    """The index is damaged. `line` is the line number."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f'line {line}: {reason}')
        self.line = line


def parse_index(text: str) -> list[IndexEntry]:
    """Parse an index and return its entries. Raises InvalidIndexError."""
    entries: list[IndexEntry] = []
    serials: set[int] = set()
    if text and not text.endswith('\n'):
        raise InvalidIndexError(text.count('\n') + 1, 'it ends in the middle of a line')
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = _parse_line(line)
        except ValueError as error:
            raise InvalidIndexError(number, str(error)) from None
        if entry.serial in serials:
            raise InvalidIndexError(number, f'the serial number {format_serial(entry.serial)} is there twice')
        serials.add(entry.serial)
        entries.append(entry)
    return entries


def _parse_line(line: str) -> IndexEntry:
    columns = line.split('\t')
    if len(columns) != 6:
        raise ValueError(f'it has {len(columns)} columns instead of 6')
    status, not_after, revocation, serial, file, subject = columns
    if status not in (VALID, REVOKED, EXPIRED):
        raise ValueError(f'its status is {status!r} instead of V, R or E')
    if not _HEX.fullmatch(serial):
        raise ValueError(f'{serial!r} is not a serial number')
    if (status == REVOKED) != bool(revocation):
        raise ValueError('its status does not agree with its time of revocation')
    time, _, reason = revocation.partition(',')
    if reason and reason not in REASONS:
        raise ValueError(f'{reason!r} is not a reason of revocation')
    revoked_at = _parse_time(time) if revocation else None
    return IndexEntry(int(serial, 16), _parse_time(not_after), file, subject, revoked_at, reason)


def _parse_time(text: str) -> datetime:
    form = '%y%m%d%H%M%SZ' if len(text) == 13 else '%Y%m%d%H%M%SZ'
    try:
        time = datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f'{text!r} is not a time') from None
    if len(text) == 13:
        # Python reads the years 69 to 99 as 1969 to 1999, ASN.1 the years 50 to 99 as 1950 to 1999.
        return time.replace(year=time.year - 100) if time.year >= _SHORT_YEARS_END else time
    if time.year < _SHORT_YEARS_END:
        raise ValueError(f'the year of {text!r} must have two digits')
    return time


def format_index(entries: Iterable[IndexEntry]) -> str:
    """Format entries as the text of an index file."""
    return ''.join(map(_format_line, entries))


def _format_line(entry: IndexEntry) -> str:
    revocation = ''
    if entry.revoked_at is not None:
        revocation = _format_time(entry.revoked_at) + (f',{entry.reason}' if entry.reason else '')
    status = VALID if entry.revoked_at is None else REVOKED
    columns = status, _format_time(entry.not_after), revocation, format_serial(entry.serial), entry.file, entry.subject
    return '\t'.join(columns) + '\n'


def _format_time(time: datetime) -> str:
    return time.strftime('%y%m%d%H%M%SZ' if time.year < _SHORT_YEARS_END else '%Y%m%d%H%M%SZ')


def format_serial(serial: int) -> str:
    """Format a serial number in the same way as OpenSSL, with an even number of hexadecimal digits."""
    digits = f'{serial:X}'
    return digits if len(digits) % 2 == 0 else f'0{digits}'


def format_subject(name: Name) -> str:
    """Format a subject as `/C=US/CN=name`. Bytes that are not printable ASCII become \\xHH, as OpenSSL writes them."""
    pairs = (f'/{_ABBREVIATIONS.get(each.oid, each.oid.dotted_string)}={each.value!s}' for each in name)
    text = ''.join(pairs).encode('utf-8')
    return ''.join(chr(byte) if 0x20 <= byte < 0x7F else f'\\x{byte:02X}' for byte in text)
