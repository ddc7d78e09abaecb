"""Parses WWW-Authenticate and Authentication-Info header fields (RFC 9110 §11)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_PARAM = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:{_QUOTED}|({_TOKEN}))[ \t]*(?:,|\Z)')
_SCHEME = re.compile(rf'({_TOKEN})(?:[ \t]+|,|\Z)')
_TOKEN68 = re.compile(r'[A-Za-z0-9._~+/-]+=*[ \t]*(?:,|\Z)')
_ESCAPED = re.compile(r'\\(.)')
_SEPARATORS = re.compile(r'[ \t,]*')
_MAX_LENGTH = 8_192  # maximum number of bytes of a field that are parsed


class Challenge(msgspec.Struct, frozen=True):
    """One authentication challenge."""

    scheme: str  # lower-case: 'basic', 'digest', 'bearer' …
    params: Mapping[str, str] = {}  # by lower-case name


def parse_challenges(values: Iterable[bytes]) -> list[Challenge]:
    """Returns all challenges of WWW-Authenticate fields, in order. Of a malformed or overlong field, returns those
    before the error."""
    return [challenge for value in values for challenge in _parse_field(value[:_MAX_LENGTH].decode('latin-1'))]


def parse_parameters(value: bytes) -> dict[str, str]:
    """Returns the parameters of a field that is a list of parameters, by lower-case name, up to the first error."""
    text = value[:_MAX_LENGTH].decode('latin-1')
    return _parse_params(text, _skip_separators(text, 0))[0]


def quote_string(text: str) -> str:
    """Returns the text as a quoted string."""
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
    """Returns the parameters from a position on, and the position after them."""
    params: dict[str, str] = {}
    while (match := _PARAM.match(text, position)) is not None:
        name, quoted, token = match.groups()
        params.setdefault(name.lower(), token if quoted is None else _ESCAPED.sub(r'\1', quoted))
        position = _skip_separators(text, match.end())
    return params, position


def _skip_separators(text: str, position: int) -> int:
    separators = _SEPARATORS.match(text, position)
    return position if separators is None else separators.end()
