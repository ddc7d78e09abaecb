"""Builds the URLs of outgoing calls from a path template with placeholders and from parameters. Parameters without a
placeholder are appended as the query. Pure functions.

Parameters are always values: they are percent-encoded, and neither `..` nor empty text can direct a call to another
resource than the configured one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from enum import Enum
from typing import Any
from urllib.parse import quote

from attrs import frozen

from zatotx.rules.routing.route_pattern import parse_pattern

_PLACEHOLDER = re.compile(r'\{([^{}]*)\}')
_URL_CHARACTERS = "%/?:@!$&'()*+,;=~"  # characters allowed in a configured path and query, escapes included
_SPANNING_SUFFIX = ':path'
_DOT_SEGMENTS = frozenset(('.', '..'))  # segments that servers resolve (RFC 3986 §5.2.4)
_NO_PARAMS: Mapping[str, Any] = {}


def url_template_error(text: str) -> str:
    """Return an error message if a path template is invalid, or '' if it is valid or empty."""
    path, question, query = text.partition('?')
    errors = parse_pattern(path)[1] if path else []
    if question and not path:
        errors.append('it must begin with /')
    if '#' in query:
        errors.append('it must be without #')
    names = [placeholder.removesuffix(_SPANNING_SUFFIX) for placeholder in _PLACEHOLDER.findall(text)]
    errors += [f'{{{name}}} stands twice' for name in dict.fromkeys(names)
              if names.count(name) > 1 and f'{{{name}}} stands twice' not in errors]
    if _PLACEHOLDER.sub('', query).strip('{}') != _PLACEHOLDER.sub('', query) or '{}' in query:
        errors.append(f'the braces of {query!r} are not in pairs around names')
    if any(c.isspace() or ord(c) < 32 or ord(c) == 127 for c in text):
        errors.append('it must have neither blanks nor control characters')
    return '; '.join(errors)


class UrlTemplate:
    """A path with placeholders, optionally with a query, such as `/customers/{id}` or
    `/files/{name:path}?version={version}`.

    `{name}` inserts a value with slashes percent-encoded, `{name:path}` a value of any number of segments.
    """

    __slots__ = ('_literals', '_placeholders', '_whole', 'text')

    def __init__(self, text: str) -> None:
        self.text = text
        path, question, query = (text or '/').partition('?')
        in_path, in_query = _PLACEHOLDER.split(path), _PLACEHOLDER.split(query)
        self._placeholders = [_UrlPlaceholder.of(text_in_braces) for text_in_braces in in_path[1::2]]
        self._placeholders += [_UrlPlaceholder.of(text_in_braces, loose=True) for text_in_braces in in_query[1::2]]
        pieces = [*in_path[:-1], in_path[-1] + question + in_query[0], *in_query[1:]]
        self._literals = [quote(piece, safe=_URL_CHARACTERS).encode('ascii') for piece in pieces[::2]]
        self._whole = self._literals[0]  # the whole target if there are no placeholders

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its parameters."""
        return tuple(placeholder.name for placeholder in self._placeholders)

    @property
    def fixed_path(self) -> bytes:
        """The path up to the segment with the first placeholder, which is the same for all parameters."""
        path = self._whole.partition(b'?')[0]
        return path[: path.rindex(b'/') + 1] if self._placeholders else path

    def fill(self, params: Mapping[str, Any] | None) -> tuple[bytes, Mapping[str, Any]]:
        """Return the target with inserted values, and the remaining parameters for the query. Raises ValueError naming
        all parameters that are missing, empty or contain dot segments."""
        if not self._placeholders:
            return self._whole, _NO_PARAMS if params is None else params
        remaining = {} if params is None else dict(params)
        target, errors = self._whole, []
        for placeholder, literal in zip(self._placeholders, self._literals[1:], strict=True):
            value = remaining.pop(placeholder.name, None)
            error = '' if type(value) is int else placeholder.error(value)
            if error:
                errors.append(error)
            else:
                target += _quote(value, placeholder.safe) + literal
        if errors:
            raise ValueError(f'The URL path {self.text} cannot be filled: {", ".join(errors)}')
        return target, remaining


@frozen
class _UrlPlaceholder:
    """A placeholder. In a path its value must be neither empty nor a dot segment; in a query it may be anything."""

    name: str
    safe: str  # characters of its value that are not percent-encoded
    loose: bool

    @classmethod
    def of(cls, text: str, *, loose: bool = False) -> _UrlPlaceholder:
        name = text.removesuffix(_SPANNING_SUFFIX)
        return cls(name, '' if name == text else '/', loose)

    def error(self, value: Any) -> str:
        """Return the error of a value, '' if it is valid."""
        if value is None:
            return f'params has no {self.name}'
        if self.loose:
            return ''
        text = format_url_value(value)
        if not text:
            return f'{self.name} is empty'
        has_dot_segment = not _DOT_SEGMENTS.isdisjoint(text.split('/') if self.safe else (text,))
        return f'{self.name} leads out of its place' if has_dot_segment else ''


def encode_query(params: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> bytes:
    """Encode parameters as a query string: one pair for each parameter, or for each item of a list. Omits None. Raises
    ValueError for text that cannot be encoded as UTF-8."""
    pairs: list[bytes] = []
    for name, value in params.items() if isinstance(params, Mapping) else params:
        key = _quote(name)
        if isinstance(value, list | tuple | set | frozenset):
            pairs += [b'%b=%b' % (key, _quote(item)) for item in value if item is not None]
        elif value is not None:
            pairs.append(b'%b=%b' % (key, _quote(value)))
    return b'&'.join(pairs)


def format_url_value(value: Any) -> str:
    """Format a value for a URL or a form: booleans as in JSON, dates in ISO 8601. Raises ValueError for bytes that are
    not UTF-8."""
    if type(value) is str:
        return value
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, date | time):
        return value.isoformat()
    return value.decode('utf-8') if isinstance(value, bytes) else str(value)


def _quote(value: Any, safe: str = '') -> bytes:
    text = format_url_value(value)
    if text.isalnum() and text.isascii():
        return text.encode('ascii')
    return quote(text, safe=safe).encode('ascii')
