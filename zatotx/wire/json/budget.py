"""How much a JSON text holds, found out for what it costs: nothing for small texts, a count of bytes for most others.

A few megabytes of `[],[],[]` become hundreds of megabytes of Python objects. So keys and elements are counted in the
text, before it is decoded; depth, which costs nothing by itself, is looked at in the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SLICE = 64 * 1024
_BACKSLASHES = re.compile(rb'\\*')
_OBJECT = 64  # bytes of memory
_OPENING = (b',', b'{', b'[')


def has_more_keys(body: bytes, most: int) -> bool:
    """Whether a JSON text holds more than `most` keys and elements, counted as its commas and opening brackets. Texts
    in quotes count for nothing. Linear; a body that is no JSON gets an answer too, whatever it is."""
    if len(body) <= most or sum(map(body.count, _OPENING)) <= most:
        return False
    found, inside = 0, False
    for piece in _slices(body):
        # Without escaped quotes, quotes are the borders between what is text and what is not.
        parts = piece.replace(b'\\\\', b'').replace(b'\\"', b'').split(b'"')
        outside = b' '.join(parts[inside::2])
        inside ^= not len(parts) % 2
        found += sum(map(outside.count, _OPENING))
        if found > most:
            return True
    return False


def value_size(body: bytes) -> int:
    """About how many bytes a JSON text, or a form, takes once it is decoded: its texts, of which one with a character
    beyond ASCII may take four bytes for each, and an object for each of its commas and brackets."""
    texts = len(body) if body.isascii() else 4 * len(body)
    return texts + _OBJECT * sum(map(body.count, _OPENING))


def exceeds_depth(body: bytes, value: object, most: int) -> bool:
    """Whether the value of that text has more than `most` objects and lists within each other."""
    if len(body) <= most or body.count(b'{') + body.count(b'[') <= most:
        return False
    level = [value] if type(value) in (dict, list) else []
    for _ in range(most):
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)  # type: ignore[attr-defined]
            if type(child) in (dict, list)
        ]
        if not level:
            break
    return bool(level)


def _slices(body: bytes) -> Iterator[bytes]:
    """Pieces of the body, none of which ends between a backslash and what it escapes."""
    start = 0
    while start < len(body):
        end = start + _SLICE
        if body[end - 1 : end] == b'\\':
            run = _BACKSLASHES.match(body, end)
            end = 1 + (end if run is None else run.end())  # with the character after the last one
        yield body[start:end]
        start = end
