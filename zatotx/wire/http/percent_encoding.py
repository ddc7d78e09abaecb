"""Decodes percent-encoding (RFC 3986 §2.1) of paths and forms."""

from __future__ import annotations

from zatotx.wire.malformed import Malformed

__all__ = ['Malformed', 'decode_path', 'decode_segment', 'percent_decode']

_HEX = b'0123456789abcdefABCDEF'
_OCTETS = {bytes((high, low)): bytes((int(bytes((high, low)), 16),)) for high in _HEX for low in _HEX}


def percent_decode(data: bytes) -> bytes:
    """Returns the data with each %XX decoded. Raises Malformed for a % without two hex digits."""
    if b'%' not in data:
        return data
    first, *escapes = data.split(b'%')
    try:
        return first + b''.join([_OCTETS[piece[:2]] + piece[2:] for piece in escapes])
    except KeyError:
        raise Malformed('a % is not followed by two hex digits') from None


def decode_segment(segment: bytes) -> str:
    """Decodes one path segment to text; an encoded slash becomes part of it. Raises Malformed: invalid escapes, invalid
    UTF-8, NUL."""
    try:
        text = percent_decode(segment).decode('utf-8')
    except UnicodeDecodeError:
        raise Malformed('the path is not UTF-8') from None
    if '\0' in text:
        raise Malformed('the path has a NUL')
    return text


def decode_path(path: bytes) -> str:
    """Decodes a whole raw path to text, for display and logs. Routes are looked up by the raw path (see rules.routing),
    since an encoded slash must not separate segments. Raises Malformed like `decode_segment`."""
    if b'%' not in path and path.isascii():
        return path.decode('ascii')
    return decode_segment(path)
