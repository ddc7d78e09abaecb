"""Limits of the content of a JSON text, checked cheaply: for free for small texts, by counting bytes for most others.

A few megabytes of `[],[],[]` become hundreds of megabytes of Python objects. So keys and elements are counted in the
text before it is decoded; nesting depth, which is cheap, is checked in the decoded value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SLICE_SIZE = 64 * 1024
_BACKSLASHES = re.compile(rb'\\*')
_OBJECT_SIZE = 64  # bytes of memory
_STRUCTURAL = (b',', b'{', b'[')


def has_more_keys(body: bytes, max_keys: int) -> bool:
    """Returns whether a JSON text has more than `max_keys` keys and elements, counted by commas and opening brackets
    outside strings. Linear; invalid JSON gets some result."""
    if len(body) <= max_keys or sum(map(body.count, _STRUCTURAL)) <= max_keys:
        return False
    count, in_string = 0, False
    for piece in _slices(body):
        # Without escaped quotes, quotes delimit strings.
        parts = piece.replace(b'\\\\', b'').replace(b'\\"', b'').split(b'"')
        outside = b' '.join(parts[in_string::2])
        in_string ^= not len(parts) % 2
        count += sum(map(outside.count, _STRUCTURAL))
        if count > max_keys:
            return True
    return False


def estimate_memory(body: bytes) -> int:
    """Estimates the bytes of memory of a decoded JSON text or form: its strings, of which those with a non-ASCII
    character may take four bytes per character, and one object per comma and bracket."""
    texts = len(body) if body.isascii() else 4 * len(body)
    return texts + _OBJECT_SIZE * sum(map(body.count, _STRUCTURAL))


def exceeds_depth(body: bytes, value: object, max_depth: int) -> bool:
    """Returns whether the decoded value nests more than `max_depth` objects and lists."""
    if len(body) <= max_depth or body.count(b'{') + body.count(b'[') <= max_depth:
        return False
    level = [value] if type(value) in (dict, list) else []
    for _ in range(max_depth):
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
    """Yields pieces of the body, none of which ends between a backslash and the escaped character."""
    start = 0
    while start < len(body):
        end = start + _SLICE_SIZE
        if body[end - 1 : end] == b'\\':
            run = _BACKSLASHES.match(body, end)
            end = 1 + (end if run is None else run.end())  # includes the character after the last one
        yield body[start:end]
        start = end
