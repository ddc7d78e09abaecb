"""Percent-encoded octets to text (RFC 3986 §2.1), for paths and forms."""

from __future__ import annotations

from zatotx.wire.malformed import Malformed

__all__ = ['Malformed', 'decode_path', 'decode_segment', 'percent_decode']

_HEX = b'0123456789abcdefABCDEF'
_OCTETS = {bytes((high, low)): bytes((int(bytes((high, low)), 16),)) for high in _HEX for low in _HEX}


def percent_decode(data: bytes) -> bytes:
    """`data` with each %XX as the octet it stands for. Raises Malformed where a % is followed by anything else."""
    if b'%' not in data:
        return data
    first, *escapes = data.split(b'%')
    try:
        return first + b''.join([_OCTETS[piece[:2]] + piece[2:] for piece in escapes])
    except KeyError:
        raise Malformed('a % is not followed by two hex digits') from None


def decode_segment(segment: bytes) -> str:
    """One segment of a path as text; an encoded slash is a slash within it. Raises Malformed: bad escapes, octets that
    are not UTF-8, NUL."""
    try:
        text = percent_decode(segment).decode('utf-8')
    except UnicodeDecodeError:
        raise Malformed('the path is not UTF-8') from None
    if '\0' in text:
        raise Malformed('the path has a NUL')
    return text


def decode_path(path: bytes) -> str:
    """A whole raw path as text, for people and logs. Routes are looked up by the raw path (`rules.routing`), as an
    encoded slash must not make a new segment. Raises Malformed as `decode_segment` does."""
    if b'%' not in path and path.isascii():
        return path.decode('ascii')
    return decode_segment(path)
