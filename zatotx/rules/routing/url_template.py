"""The targets of outgoing calls: a path with holes that parameters fill, and a query of those that are left. Pure.

What a caller gives can only ever be a value: it is percent-encoded, and no `..` or empty text takes a call to another
resource than the one that is configured.
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

_HOLE = re.compile(r'\{([^{}]*)\}')
_WRITTEN = "%/?:@!$&'()*+,;=~"  # what people may write in a path and a query, their escapes included
_SPANS = ':path'
_UPWARDS = frozenset(('.', '..'))  # segments that a peer resolves (RFC 3986 §5.2.4)
_NOTHING: Mapping[str, Any] = {}


def template_error(text: str) -> str:
    """What is wrong with a path for a Template, '' for nothing. Empty text is none."""
    path, question, query = text.partition('?')
    wrong = parse_pattern(path)[1] if path else []
    if question and not path:
        wrong.append('it must begin with /')
    if '#' in query:
        wrong.append('it must be without #')
    names = [hole.removesuffix(_SPANS) for hole in _HOLE.findall(text)]
    wrong += [f'{{{name}}} stands twice' for name in dict.fromkeys(names)
              if names.count(name) > 1 and f'{{{name}}} stands twice' not in wrong]
    if _HOLE.sub('', query).strip('{}') != _HOLE.sub('', query) or '{}' in query:
        wrong.append(f'the braces of {query!r} are not in pairs around names')
    if any(c.isspace() or ord(c) < 32 or ord(c) == 127 for c in text):
        wrong.append('it must have neither blanks nor control characters')
    return '; '.join(wrong)


class UrlTemplate:
    """`/customers/{id}`, `/files/{name:path}?version={version}`: a path, perhaps with a query, and holes in them.

    `{name}` takes a text without its slashes, which are percent-encoded, `{name:path}` any number of segments.
    """

    __slots__ = ('_holes', '_literals', '_whole', 'text')

    def __init__(self, text: str) -> None:
        self.text = text
        path, question, query = (text or '/').partition('?')
        in_path, in_query = _HOLE.split(path), _HOLE.split(query)
        self._holes = [_Hole.of(one) for one in in_path[1::2]] + [_Hole.of(one, loose=True) for one in in_query[1::2]]
        joined = [*in_path[:-1], in_path[-1] + question + in_query[0], *in_query[1:]]
        self._literals = [quote(piece, safe=_WRITTEN).encode('ascii') for piece in joined[::2]]
        self._whole = self._literals[0]  # where there is no hole

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters it takes."""
        return tuple(hole.name for hole in self._holes)

    @property
    def fixed(self) -> bytes:
        """The path up to the segment that has the first hole: a resource that is there whatever fills it."""
        path = self._whole.partition(b'?')[0]
        return path[: path.rindex(b'/') + 1] if self._holes else path

    def fill(self, params: Mapping[str, Any] | None) -> tuple[bytes, Mapping[str, Any]]:
        """The target with its holes filled, and the parameters that are left for the query. Raises ValueError, naming
        all parameters that are missing, empty, or would lead elsewhere."""
        if not self._holes:
            return self._whole, _NOTHING if params is None else params
        left = {} if params is None else dict(params)
        target, wrong = self._whole, []
        for hole, literal in zip(self._holes, self._literals[1:], strict=True):
            value = left.pop(hole.name, None)
            why = '' if type(value) is int else hole.mistake(value)
            if why:
                wrong.append(why)
            else:
                target += _quoted(value, hole.safe) + literal
        if wrong:
            raise ValueError(f'The URL path {self.text} cannot be filled: {", ".join(wrong)}')
        return target, left


@frozen
class _Hole:
    """Where a parameter goes. One in a path must not be empty; one in a query may be, and lead anywhere."""

    name: str
    safe: str  # what of its value is not percent-encoded
    loose: bool

    @classmethod
    def of(cls, text: str, *, loose: bool = False) -> _Hole:
        name = text.removesuffix(_SPANS)
        return cls(name, '' if name == text else '/', loose)

    def mistake(self, value: Any) -> str:
        """Why a value cannot stand here, '' where it can."""
        if value is None:
            return f'params has no {self.name}'
        if self.loose:
            return ''
        text = format_value(value)
        if not text:
            return f'{self.name} is empty'
        leads_out = not _UPWARDS.isdisjoint(text.split('/') if self.safe else (text,))
        return f'{self.name} leads out of its place' if leads_out else ''


def encode_query(params: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> bytes:
    """A query string: pairs in their order, of a list a pair for each member, of None none. Raises ValueError for a
    text that has no UTF-8."""
    pairs: list[bytes] = []
    for name, value in params.items() if isinstance(params, Mapping) else params:
        key = _quoted(name)
        if isinstance(value, list | tuple | set | frozenset):
            pairs += [b'%b=%b' % (key, _quoted(one)) for one in value if one is not None]
        elif value is not None:
            pairs.append(b'%b=%b' % (key, _quoted(value)))
    return b'&'.join(pairs)


def format_value(value: Any) -> str:
    """A value as text in a URL or a form: true and false as JSON has them, dates in ISO 8601. Raises ValueError for
    bytes that are not UTF-8."""
    if type(value) is str:
        return value
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, date | time):
        return value.isoformat()
    return value.decode('utf-8') if isinstance(value, bytes) else str(value)


def _quoted(value: Any, safe: str = '') -> bytes:
    text = format_value(value)
    if text.isalnum() and text.isascii():
        return text.encode('ascii')
    return quote(text, safe=safe).encode('ascii')
