"""What a route's pattern says, taken apart: literal segments, and holes that capture.

`/orders/{id}` captures one segment, `/files/{name}.json` the part of a segment between literal text,
`/tree/{rest:path}` whatever is left, slashes included. A pattern is text as people write it, not percent-encoded.
"""

from __future__ import annotations

import re

import msgspec

MOST_SEGMENTS = 100
_HOLE = re.compile(r'\{([^{}]*)\}')
_NAME = re.compile(r'[^\W\d][\w.\-]*\Z')


class Placeholder(msgspec.Struct, frozen=True):
    """A segment that captures: `prefix`, a value, then (literal, value) for each of `middles`, `suffix`. Where it
    `spans`, it has one value, which may go on over any number of segments."""

    prefix: str
    middles: tuple[str, ...]
    suffix: str
    spans: bool

    @property
    def plain(self) -> bool:
        """`{name}` and nothing else."""
        return not (self.prefix or self.middles or self.suffix or self.spans)

    def values(self, text: str) -> tuple[str, ...] | None:
        """What a text that begins with `prefix` and ends with `suffix` has in the holes, none of them empty; None where
        it does not fit. Every value but the last is as short as it can be."""
        start, end = len(self.prefix), len(text) - len(self.suffix)
        values = []
        for middle in self.middles:
            at = text.find(middle, start + 1, end)
            if at < 0:
                return None
            values.append(text[start:at])
            start = at + len(middle)
        return (*values, text[start:end]) if start < end else None


class RoutePattern(msgspec.Struct, frozen=True):
    """A pattern taken apart. `names` are of the captured values in order; `literal` is how many characters stand before
    the first hole."""

    segments: tuple[str | Placeholder, ...]
    names: tuple[str, ...]
    literal: int


def parse_pattern(text: str, *, match_slash: bool = False) -> tuple[RoutePattern, list[str]]:
    """Take a pattern apart. With `match_slash` every hole that is alone in its segment, literal text aside, spans.

    Beside the pattern comes what is wrong with it, all of it, a phrase each; the pattern is worth something only where
    there is nothing.
    """
    wrong = _wrong_as_a_whole(text)
    segments: list[str | Placeholder] = []
    names: list[str] = []
    for segment in text[1:].split('/'):
        literals, found = _pieces(segment)
        segments.append(_segment(literals, found, match_slash))
        names += [name.partition(':')[0] for name in found]
        wrong += _wrong_in(segment, literals, found)
    wrong += [f'{{{name}}} stands twice' for name in dict.fromkeys(names) if names.count(name) > 1]
    return RoutePattern(tuple(segments), tuple(names), len(text.partition('{')[0])), wrong


def _pieces(segment: str) -> tuple[list[str], list[str]]:
    """The literal texts and, between them, what stands in braces."""
    pieces = _HOLE.split(segment)
    return pieces[::2], pieces[1::2]


def _segment(literals: list[str], found: list[str], match_slash: bool) -> str | Placeholder:
    if not found:
        return literals[0]
    spans = len(found) == 1 and (match_slash or found[0].endswith(':path'))
    return Placeholder(literals[0], tuple(literals[1:-1]), literals[-1], spans)


def _wrong_as_a_whole(text: str) -> list[str]:
    wrong = []
    if not text.startswith('/'):
        wrong.append('it must begin with /')
    if '?' in text or '#' in text:
        wrong.append('it must be a path, without ? and #')
    if text.count('/') > MOST_SEGMENTS:
        wrong.append(f'it has more than {MOST_SEGMENTS} segments')
    return wrong


def _wrong_in(segment: str, literals: list[str], found: list[str]) -> list[str]:
    if any('{' in literal or '}' in literal for literal in literals):
        return [f'the braces of {segment!r} are not in pairs']
    wrong = []
    for hole in found:
        name, colon, kind = hole.partition(':')
        if not _NAME.match(name):
            wrong.append(f'{{{hole}}} needs a name of letters, digits, _, - and ., beginning with a letter or _')
        if colon and kind != 'path':
            wrong.append(f'{{{hole}}} must be {{{name}}} or {{{name}:path}}')
    if '' in literals[1:-1]:
        wrong.append(f'two names of {segment!r} need literal text between them')
    if len(found) > 1 and any(hole.endswith(':path') for hole in found):
        wrong.append(f'{{…:path}} must be the only name of its segment, unlike in {segment!r}')
    return wrong
