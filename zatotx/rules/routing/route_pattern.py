"""Parses route patterns into literal segments and placeholders.

`/orders/{id}` captures one segment, `/files/{name}.json` the part of a segment between literal text,
`/tree/{rest:path}` the rest of the path including slashes. Patterns are not percent-encoded.
"""

from __future__ import annotations

import re

import msgspec

MAX_SEGMENTS = 100
_PLACEHOLDER = re.compile(r'\{([^{}]*)\}')
_NAME = re.compile(r'[^\W\d][\w.\-]*\Z')


class Placeholder(msgspec.Struct, frozen=True):
    """A placeholder in a path segment, which captures values. The segment consists of `prefix`, a value, then a literal
    and a value for each of `separators`, then `suffix`. If `spans_segments` is set, the placeholder captures one value,
    which may extend over several segments."""

    prefix: str
    separators: tuple[str, ...]
    suffix: str
    spans_segments: bool

    @property
    def is_plain(self) -> bool:
        """Whether it is just `{name}`."""
        return not (self.prefix or self.separators or self.suffix or self.spans_segments)

    def match(self, text: str) -> tuple[str, ...] | None:
        """Return the captured values of a text that begins with `prefix` and ends with `suffix`, none of them empty;
        None if it does not match. Every value but the last is as short as possible."""
        start, end = len(self.prefix), len(text) - len(self.suffix)
        values = []
        for middle in self.separators:
            position = text.find(middle, start + 1, end)
            if position < 0:
                return None
            values.append(text[start:position])
            start = position + len(middle)
        return (*values, text[start:end]) if start < end else None


class RoutePattern(msgspec.Struct, frozen=True):
    """A parsed route pattern. `names` are the names of the captured values in order; `literal_length` is the number of
    characters before the first placeholder."""

    segments: tuple[str | Placeholder, ...]
    names: tuple[str, ...]
    literal_length: int


def parse_pattern(text: str, *, match_slash: bool = False) -> tuple[RoutePattern, list[str]]:
    """Parse a route pattern. With `match_slash`, each placeholder that is alone in its segment may span several
    segments.

    Returns the pattern and all its errors, a phrase each; the pattern is usable only if there are none.
    """
    errors = _path_errors(text)
    segments: list[str | Placeholder] = []
    names: list[str] = []
    for segment in text[1:].split('/'):
        literals, placeholders = _split_segment(segment)
        segments.append(_make_segment(literals, placeholders, match_slash))
        names += [name.partition(':')[0] for name in placeholders]
        errors += _segment_errors(segment, literals, placeholders)
    errors += [f'{{{name}}} stands twice' for name in dict.fromkeys(names) if names.count(name) > 1]
    return RoutePattern(tuple(segments), tuple(names), len(text.partition('{')[0])), errors


def _split_segment(segment: str) -> tuple[list[str], list[str]]:
    """Return the literal texts and, between them, the contents of the braces."""
    pieces = _PLACEHOLDER.split(segment)
    return pieces[::2], pieces[1::2]


def _make_segment(literals: list[str], placeholders: list[str], match_slash: bool) -> str | Placeholder:
    if not placeholders:
        return literals[0]
    spans = len(placeholders) == 1 and (match_slash or placeholders[0].endswith(':path'))
    return Placeholder(literals[0], tuple(literals[1:-1]), literals[-1], spans)


def _path_errors(text: str) -> list[str]:
    errors = []
    if not text.startswith('/'):
        errors.append('it must begin with /')
    if '?' in text or '#' in text:
        errors.append('it must be a path, without ? and #')
    if text.count('/') > MAX_SEGMENTS:
        errors.append(f'it has more than {MAX_SEGMENTS} segments')
    return errors


def _segment_errors(segment: str, literals: list[str], placeholders: list[str]) -> list[str]:
    if any('{' in literal or '}' in literal for literal in literals):
        return [f'the braces of {segment!r} are not in pairs']
    errors = []
    for placeholder in placeholders:
        name, colon, kind = placeholder.partition(':')
        if not _NAME.match(name):
            errors.append(
                f'{{{placeholder}}} needs a name of letters, digits, _, - and ., beginning with a letter or _'
            )
        if colon and kind != 'path':
            errors.append(f'{{{placeholder}}} must be {{{name}}} or {{{name}:path}}')
    if '' in literals[1:-1]:
        errors.append(f'two names of {segment!r} need literal text between them')
    if len(placeholders) > 1 and any(placeholder.endswith(':path') for placeholder in placeholders):
        errors.append(f'{{…:path}} must be the only name of its segment, unlike in {segment!r}')
    return errors
