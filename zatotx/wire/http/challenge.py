"""The fields WWW-Authenticate and Authentication-Info (RFC 9110 §11): what a peer says of how to log in. No I/O."""

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
_BETWEEN = re.compile(r'[ \t,]*')
_LONGEST = 8_192  # bytes of a field that is looked at


class Challenge(msgspec.Struct, frozen=True):
    """One way to log in."""

    scheme: str  # lower-case: 'basic', 'digest', 'bearer' …
    params: Mapping[str, str] = {}  # by lower-case name


def parse_challenges(values: Iterable[bytes]) -> list[Challenge]:
    """All challenges of fields WWW-Authenticate, in order. Of a field that is malformed or endless, those before the
    mistake."""
    return [challenge for value in values for challenge in _challenges(value[:_LONGEST].decode('latin-1'))]


def parse_parameters(value: bytes) -> dict[str, str]:
    """The parameters of a field that is a list of them, by lower-case name; up to the first mistake."""
    text = value[:_LONGEST].decode('latin-1')
    return _params(text, _after_commas(text, 0))[0]


def quote_string(text: str) -> str:
    """As a quoted string."""
    return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'


def _challenges(text: str) -> Iterator[Challenge]:
    at = _after_commas(text, 0)
    while (scheme := _SCHEME.match(text, at)) is not None:
        at = scheme.end()
        if (token := _TOKEN68.match(text, at)) is not None:
            yield Challenge(scheme[1].lower())
            at = _after_commas(text, token.end())
            continue
        params, at = _params(text, _after_commas(text, at))
        yield Challenge(scheme[1].lower(), params)


def _params(text: str, at: int) -> tuple[dict[str, str], int]:
    """The parameters from there on, and where what follows them begins."""
    found: dict[str, str] = {}
    while (param := _PARAM.match(text, at)) is not None:
        name, in_quotes, token = param.groups()
        found.setdefault(name.lower(), token if in_quotes is None else _ESCAPED.sub(r'\1', in_quotes))
        at = _after_commas(text, param.end())
    return found, at


def _after_commas(text: str, at: int) -> int:
    between = _BETWEEN.match(text, at)
    return at if between is None else between.end()
