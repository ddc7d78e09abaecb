"""Parses the Authorization header field: the schemes Basic (RFC 7617) and Bearer (RFC 6750)."""

from __future__ import annotations

from binascii import Error, a2b_base64

from zatotx.wire.malformed import Malformed

__all__ = ['Malformed', 'parse_basic', 'parse_bearer']

_MAX_LENGTH = 8_192  # maximum size in bytes; request heads are limited elsewhere, other callers may not be
_CONTROLS = frozenset(map(chr, (*range(0x20), 0x7F)))


def parse_basic(value: bytes) -> tuple[str, str]:
    """Returns (username, password) of Basic credentials in UTF-8. The user name ends at the first colon.

    Raises Malformed, without the input in its message: another scheme, invalid base64, invalid UTF-8, no colon, control
    characters (RFC 7617 §2).
    """
    if len(value) > _MAX_LENGTH:
        raise Malformed(f'the credentials are longer than {_MAX_LENGTH} bytes')
    scheme, _, token = value.partition(b' ')
    if scheme.lower() != b'basic':
        raise Malformed('the credentials are not of the scheme Basic')
    token = token.strip(b' ')
    try:
        if len(token) % 4:
            raise Error  # strict_mode accepts one superfluous '='
        text = a2b_base64(token, strict_mode=True).decode('utf-8')
    except (Error, UnicodeDecodeError):
        raise Malformed('the credentials are not base64 of UTF-8') from None
    username, colon, password = text.partition(':')
    if not colon or not _CONTROLS.isdisjoint(text):
        raise Malformed('the credentials are not a username, a colon and a password without control characters')
    return username, password


def parse_bearer(value: bytes) -> bytes:
    """Returns the token of Bearer credentials (RFC 6750 §2.1). Raises Malformed for another scheme."""
    scheme, _, token = value.partition(b' ')
    if scheme.lower() != b'bearer':
        raise Malformed('the credentials are not of the scheme Bearer')
    return token.strip(b' ')
