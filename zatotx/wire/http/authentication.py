"""Parses the header fields of HTTP authentication (RFC 9110 §11), such as Authorization and WWW-Authenticate."""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from zatotx.wire.malformed import Malformed

__all__ = [
    'Challenge',
    'Malformed',
    'parse_basic',
    'parse_bearer',
    'parse_challenges',
    'parse_parameters',
    'quote_string',
]


_MAX_LENGTH = 8_192  # maximum size in bytes; request heads are limited elsewhere, other callers may not be
_CONTROLS = frozenset(map(chr, (*range(0x20), 0x7F)))


def parse_basic(value: bytes) -> tuple[str, str]:
    """Parse Basic credentials in UTF-8 and return (username, password). The user name ends at the first colon.

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
    """Return the token of Bearer credentials (RFC 6750 §2.1). Raises Malformed for another scheme."""
    scheme, _, token = value.partition(b' ')
    if scheme.lower() != b'bearer':
        raise Malformed('the credentials are not of the scheme Bearer')
    return token.strip(b' ')


_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_PARAM = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:{_QUOTED}|({_TOKEN}))[ \t]*(?:,|\Z)')
_SCHEME = re.compile(rf'({_TOKEN})(?:[ \t]+|,|\Z)')
_TOKEN68 = re.compile(r'[A-Za-z0-9._~+/-]+=*[ \t]*(?:,|\Z)')
_ESCAPED = re.compile(r'\\(.)')
_SEPARATORS = re.compile(r'[ \t,]*')


class Challenge(msgspec.Struct, frozen=True):
    """One authentication challenge of a WWW-Authenticate field: a scheme and its parameters."""

    scheme: str  # lower-case: 'basic', 'digest', 'bearer' …
    params: Mapping[str, str] = {}  # by lower-case name


def parse_challenges(values: Iterable[bytes]) -> list[Challenge]:
    """Parse the challenges of WWW-Authenticate fields and return them in order. If a field is malformed or too long,
    only the challenges before the error are returned."""
    return [challenge for value in values for challenge in _parse_field(value[:_MAX_LENGTH].decode('latin-1'))]


def parse_parameters(value: bytes) -> dict[str, str]:
    """Parse a field value that is a list of parameters. Returns the parameters by lower-case name, up to the first
    error."""
    text = value[:_MAX_LENGTH].decode('latin-1')
    return _parse_params(text, _skip_separators(text, 0))[0]


def quote_string(text: str) -> str:
    """Returns the text as a quoted string (RFC 9110 §5.6.4), with `"` and `\\` escaped."""
    return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'


def _parse_field(text: str) -> Iterator[Challenge]:
    position = _skip_separators(text, 0)
    while (scheme := _SCHEME.match(text, position)) is not None:
        position = scheme.end()
        if (token := _TOKEN68.match(text, position)) is not None:
            yield Challenge(scheme[1].lower())
            position = _skip_separators(text, token.end())
            continue
        params, position = _parse_params(text, _skip_separators(text, position))
        yield Challenge(scheme[1].lower(), params)


def _parse_params(text: str, position: int) -> tuple[dict[str, str], int]:
    """Return the parameters from a position on, and the position after them."""
    params: dict[str, str] = {}
    while (match := _PARAM.match(text, position)) is not None:
        name, quoted, token = match.groups()
        params.setdefault(name.lower(), token if quoted is None else _ESCAPED.sub(r'\1', quoted))
        position = _skip_separators(text, match.end())
    return params, position


def _skip_separators(text: str, position: int) -> int:
    separators = _SEPARATORS.match(text, position)
    return position if separators is None else separators.end()
