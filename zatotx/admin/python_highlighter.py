"""Splits Python source code into lines of classified tokens, so that pages can show it with syntax highlighting. Pure
functions."""

from __future__ import annotations

import builtins
import io
import keyword
import token
import tokenize
from collections.abc import Iterator

MAX_SIZE = 200_000  # characters; longer sources are shown without colors
COMMENT, STRING, NUMBER, KEYWORD, BUILTIN, NAME = 'comment', 'string', 'number', 'keyword', 'builtin', 'definition'
_BUILTINS = frozenset(dir(builtins)) - {'_'}
_STRINGS = frozenset({
    number for name, number in vars(token).items() if name == 'STRING' or name.startswith(('FSTRING', 'TSTRING'))
})  # fmt: skip

Line = list[tuple[str, str]]  # (CSS class, or '' for none; text)


def highlight(source: str) -> list[Line]:
    """Return the lines of a source text as classified parts. If the text cannot be tokenized, for example because of a
    syntax error, the rest of the text is returned without classes."""
    lines = source.splitlines()
    if len(source) > MAX_SIZE:
        return [[('', line)] for line in lines]
    marks: list[list[tuple[int, int, str]]] = [[] for _ in lines]  # of each line: start, end, class
    for kind, start, end in _classified(source):
        for row in range(start[0] - 1, min(end[0], len(lines))):
            first = start[1] if row == start[0] - 1 else 0
            last = end[1] if row == end[0] - 1 else len(lines[row])
            marks[row].append((first, last, kind))
    return [_split(line, row_marks) for line, row_marks in zip(lines, marks, strict=True)]


def _classified(source: str) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Yield class, start and end, as tokenize has them, of the tokens that have a class."""
    last = ''
    try:
        for each in tokenize.generate_tokens(io.StringIO('\n'.join(source.splitlines()) + '\n').readline):
            kind = _class_of(each.type, each.string, last)
            if kind:
                yield kind, each.start, each.end
            if each.type not in (token.NEWLINE, tokenize.NL, token.INDENT, token.DEDENT):
                last = each.string
    except (tokenize.TokenError, SyntaxError):
        return


def _class_of(type_: int, text: str, last: str) -> str:
    if type_ == tokenize.COMMENT:
        return COMMENT
    if type_ in _STRINGS:
        return STRING
    if type_ == token.NUMBER:
        return NUMBER
    if type_ != token.NAME:
        return ''
    if keyword.iskeyword(text):
        return KEYWORD
    if last in ('def', 'class'):
        return NAME
    return BUILTIN if last != '.' and (text in _BUILTINS or text == 'self') else ''


def _split(line: str, marks: list[tuple[int, int, str]]) -> Line:
    parts: Line = []
    at = 0
    for start, end, kind in marks:
        if start > at:
            parts.append(('', line[at:start]))
        if end > max(at, start):
            parts.append((kind, line[max(at, start):end]))
        at = max(at, end)
    if at < len(line) or not parts:
        parts.append(('', line[at:]))
    return parts
