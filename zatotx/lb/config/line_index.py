"""Finds the line numbers of tables and keys in a TOML document, for use in error messages. tomllib reports line numbers
for syntax errors only. Pure functions.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

KeyPath = tuple[str, ...]  # keys and, for elements of arrays of tables, their index as text

_HEADER = re.compile(r'\s*\[(?P<array>\[)?\s*(?P<key>[^\[\]]+?)\s*\]')
_KEY = re.compile(r"""\s*(?P<key>(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
                  r"""(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'))*)\s*=\s*(?P<value>.*)""")  # fmt: skip


def index_lines(source: str) -> dict[KeyPath, int]:
    """Return the line number of each table and key of a valid document, by path."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    for number, line in _statements(source):
        header, key = _HEADER.match(line), _KEY.match(line)
        if key is not None:
            lines.setdefault(table + _split(key['key']), number)
        elif header is not None:
            table = _resolve(_split(header['key']), counts)
            if header['array']:
                counts[table] = counts.get(table, -1) + 1
                table = (*table, str(counts[table]))
            lines.setdefault(table, number)
    return lines


def find_line(lines: dict[KeyPath, int], path: Sequence[str]) -> int:
    """Return the line number of a path. If the document lacks the path, return the line of the innermost table that
    would contain it, or 1 if there is none."""
    for length in range(len(path), 0, -1):
        found = lines.get(tuple(path[:length]))
        if found is not None:
            return found
    return 1


def _resolve(keys: KeyPath, counts: dict[KeyPath, int]) -> KeyPath:
    """Insert the indexes of the arrays of tables that a header of a table inside of them refers to."""
    path: KeyPath = ()
    for number, key in enumerate(keys):
        path = (*path, key)
        if path in counts and number < len(keys) - 1:
            path = (*path, str(counts[path]))
    return path


def _split(dotted: str) -> KeyPath:
    """Return the parts of a dotted key."""
    parts: list[str] = []
    nested: Any = tomllib.loads(f'{dotted} = 0')
    while isinstance(nested, dict):
        key, nested = next(iter(nested.items()))
        parts.append(key)
    return tuple(parts)


def _statements(source: str) -> Iterator[tuple[int, str]]:
    """Yield the lines on which statements begin: those inside of multi-line strings and arrays are skipped."""
    lines = source.splitlines()
    number = 0
    while number < len(lines):
        line, start = lines[number], number
        yield start + 1, line
        key = _KEY.match(line)
        number += 1
        while key is not None and number < len(lines) and not _is_complete('\n'.join(lines[start:number])):
            number += 1


def _is_complete(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True
